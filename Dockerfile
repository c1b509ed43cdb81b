# signpost in a container: one binary, the system's certificates, and a user that is not root.
#
#   docker build -t signpost .
#   docker run -p 8080:8080 -v signpost:/data --stop-timeout 15 signpost
#
# The index is in the volume /data. The internal listener (metrics, readiness) stays on loopback inside the container: set
# SIGNPOST_INTERNAL_ADDR=:8081 to scrape it from a network of your own, and do not publish that port.

# To pin the bases for good, put the digests of your registry behind their tags (rust:..@sha256:..).
FROM rust:1.95.0-slim-bookworm AS build
# aws-lc, secp256k1 and SQLite are C, and are compiled from the sources that their crates carry.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin signpost \
 && cp target/release/signpost /usr/local/bin/signpost

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin signpost \
 && install -d -o signpost -g signpost -m 0750 /data
COPY --from=build /usr/local/bin/signpost /usr/local/bin/signpost
USER 10001:10001
WORKDIR /data
VOLUME /data
ENV SIGNPOST_DATABASE_PATH=/data/signpost.db \
    SIGNPOST_HTTP_ADDR=:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s --retries=3 CMD ["signpost", "health"]
ENTRYPOINT ["signpost"]
CMD ["serve"]
