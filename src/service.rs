//! The composition root: builds the parts from the configuration, runs them together, and drains them.
//! Every task lives in one set and watches one token; when any of them fails, all stop and the process says why.
//! A full disk is no failure: see `ingest`.

mod ingest;

mod supervisor;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::supervisor::Supervisor;
use crate::api::{self, Api, ConnectionLimits, Phase, Readiness};
use crate::clock::Clock;
use crate::config::{Config, LogFormat};
use crate::crawl::{self, Crawler};
use crate::host::{Client, Outbound};
use crate::identity::LookUps;
use crate::metrics::Metrics;
use crate::repo::KeepLimits;
use crate::store::Store;
use crate::subscribe::{self, Subscriber};
use crate::syntax::HostPolicy;

const DIALS_AT_ONCE: usize = 32;
/// For everything after the signal: a supervisor gives us 10 s.
const DRAIN: Duration = Duration::from_secs(8);

/// How patient signpost is with hosts; tests are less.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// With their answers.
    pub crawl: crawl::Timing,
    /// With their firehoses.
    pub subscribe: subscribe::Timing,
}

/// A signpost that holds its database and its addresses, and does not work yet.
pub struct Service {
    config: Config,
    store: Store,
    failed: CancellationToken,
    public: TcpListener,
    internal: Option<TcpListener>,
    supervisor: Supervisor,
}

/// Runs signpost until `shutdown`, or until a part of it fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut service = Service::open(config).await?;
    service.supervisor = Supervisor::of(|name| std::env::var_os(name));
    service.announce()?;
    service.run(Timing::default(), shutdown).await
}

impl Service {
    /// Opens the database and listens; connections wait until [`Service::run`].
    pub async fn open(config: Config) -> anyhow::Result<Service> {
        let failed = CancellationToken::new();
        let store = Store::open_with(&config.store, config.min_free_bytes, failed.clone())?;
        let public = bind(config.http.addr).await?;
        let internal = match config.http.internal {
            Some(addr) => Some(bind(addr).await?),
            None => None,
        };
        Ok(Service { config, store, failed, public, internal, supervisor: Supervisor::default() })
    }

    /// Where the public API is.
    pub fn public_addr(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where the internal listener is, unless it is off.
    pub fn internal_addr(&self) -> std::io::Result<Option<SocketAddr>> {
        self.internal.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Works until `shutdown`, or until a part of it fails.
    pub async fn run(self, timing: Timing, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Service { config, store, failed, public, internal, supervisor } = self;
        let supervisor = Arc::new(supervisor);
        let metrics = Metrics::new();
        let readiness = Readiness::new();
        let outbound = outbound(&config);
        let client = Arc::new(Client::new(outbound).context("cannot make an HTTP client")?);
        let plc_rate = config.store.limits.plc_requests_per_second;
        let look_ups = LookUps::new(client.clone(), config.outbound.plc_url.parse()?, plc_rate, timing.crawl.did_rest);
        let clock = Clock::default();
        let crawler = Crawler {
            store: store.clone(),
            client: client.clone(),
            look_ups: Arc::new(look_ups),
            metrics: metrics.clone(),
            clock: clock.clone(),
            compare_every: timing.crawl.compare_every.unwrap_or(config.crawl.interval),
            keep: KeepLimits::of_records(usize::try_from(config.store.limits.records_per_repo).unwrap_or(usize::MAX)),
            timing: timing.crawl,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let subscriber = Subscriber {
            store: store.clone(),
            client,
            metrics: metrics.clone(),
            clock: clock.clone(),
            dials: Arc::new(Semaphore::new(DIALS_AT_ONCE)),
            verifiers: Arc::new(Semaphore::new(cores)),
            timing: timing.subscribe,
        };
        let trusted = config.quotas.trusted_proxies.clone();
        let limits = ConnectionLimits {
            most: config.http.max_connections,
            most_per_client: config.http.max_connections_per_client,
            is_trusted: Arc::new(move |peer| trusted.iter().any(|block| block.contains(peer))),
        };
        let api = Api::new(store.clone(), metrics.clone(), &config);

        // Readiness is asked for until the end, so the internal listener outlives the rest.
        let last = CancellationToken::new();
        let mut internal_task = JoinSet::new();
        if let Some(listener) = internal {
            let (history, metrics) = (api::History::default(), metrics.clone());
            let router = api::internal_router(api.clone(), readiness.clone(), clock, history.clone());
            internal_task.spawn(async move { history.keep(&metrics).await });
            internal_task.spawn(api::serve(listener, router, ConnectionLimits::internal(), None, last.clone()));
        }
        // Not a child of `shutdown`: a part that ends by itself must be told from one that was asked to.
        let stop = CancellationToken::new();
        let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
        parts.spawn(serve(public, api::PublicService::new(api), limits, metrics, stop.clone()));
        parts.spawn(ingest::run(crawler, subscriber, stop.clone()));
        readiness.set(Phase::Running);
        supervisor.ready().await;
        parts.spawn(watch(supervisor.clone(), store.clone(), stop.clone()));

        let ended = tokio::select! {
            // At a shutdown the parts end as well: that is not a fault.
            biased;
            () = shutdown.cancelled() => Ok(()),
            // Nothing is finished on a database that cannot be believed: not even the answers under way.
            () = failed.cancelled() => anyhow::bail!("{}", store.failure().unwrap_or("the database failed")),
            Some(ended) = parts.join_next() => flatten(ended).and(Err(anyhow::anyhow!("a part of signpost ended by itself"))),
        };
        readiness.set(Phase::Stopping);
        supervisor.stopping().await;
        stop.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = parts.join_next().await {
                if let Err(error) = flatten(ended) {
                    tracing::warn!(%error, "while stopping");
                }
            }
            store.close().await;
        })
        .await;
        if drained.is_err() {
            tracing::warn!("not everything ended in time; what was in progress is taken up at the next start");
        }
        last.cancel();
        internal_task.shutdown().await;
        ended
    }

    /// The one line on stdout.
    fn announce(&self) -> anyhow::Result<()> {
        let internal = match self.internal_addr()? {
            Some(addr) => format!("http://{addr}"),
            None => "off".to_owned(),
        };
        println!(
            "signpost {} listens on http://{} (internal: {internal}), database {}",
            env!("CARGO_PKG_VERSION"),
            self.public_addr()?,
            self.config.store.path.display(),
        );
        if self.config.log_format == LogFormat::Json {
            // Who reads objects does not read that line.
            let (version, public) = (env!("CARGO_PKG_VERSION"), self.public_addr()?);
            tracing::info!(version, %public, internal, database = %self.config.store.path.display(), "listening");
        }
        if self.config.outbound.policy == HostPolicy::AllowPrivate {
            tracing::warn!(
                "--allow-private-hosts is on: whoever can call requestCrawl makes this machine connect to any address and port of \
                 its own network. It is for development only"
            );
        }
        Ok(())
    }
}

/// Repos too large for memory lie beside the database: that is on a disk.
fn outbound(config: &Config) -> Outbound {
    let directory = config.store.path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let mut outbound = Outbound::new(config.outbound.policy, config.outbound.user_agent.clone(), directory);
    outbound.limits.repo_bytes = config.repos.max_bytes;
    outbound.limits.repo_memory_bytes = config.repos.memory_bytes;
    outbound
}

async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

async fn serve(
    listener: TcpListener,
    public: api::PublicService,
    limits: ConnectionLimits,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    api::serve(listener, public, limits, Some(metrics), stop).await;
    Ok(())
}

async fn watch(supervisor: Arc<Supervisor>, store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    supervisor.watch(&store, &stop).await;
    Ok(())
}

/// A panic is a fault of ours: it stops the process like an error.
fn flatten(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
