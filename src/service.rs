//! The composition root: builds the parts from the configuration, runs them together, and drains them.
//! Every task lives in one set and watches one token; when any of them fails, all stop and the process says why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, Phase, Readiness};
use crate::clock::Clock;
use crate::config::Config;
use crate::crawl::{self, Crawler};
use crate::host::{Client, Outbound};
use crate::identity::Resolver;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::subscribe::{self, Subscriber};

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
}

/// Runs signpost until `shutdown`, or until a part of it fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let service = Service::open(config).await?;
    service.announce()?;
    service.run(Timing::default(), shutdown).await
}

impl Service {
    /// Opens the database and listens; connections wait until [`Service::run`].
    pub async fn open(config: Config) -> anyhow::Result<Service> {
        let failed = CancellationToken::new();
        let store = Store::open(&config.store, failed.clone())?;
        let public = bind(config.http.addr).await?;
        let internal = match config.http.internal {
            Some(addr) => Some(bind(addr).await?),
            None => None,
        };
        Ok(Service { config, store, failed, public, internal })
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
        let Service { config, store, failed, public, internal } = self;
        let metrics = Metrics::new();
        let readiness = Readiness::new();
        let outbound = Outbound::new(config.outbound.policy, config.outbound.user_agent.clone());
        let client = Arc::new(Client::new(outbound).context("cannot make an HTTP client")?);
        let resolver = Arc::new(Resolver::new(client.clone(), config.outbound.plc_url.parse()?));
        let clock = Clock::default();
        let crawler = Crawler {
            store: store.clone(),
            client: client.clone(),
            resolver,
            metrics: metrics.clone(),
            clock: clock.clone(),
            compare_every: timing.crawl.compare_every.unwrap_or(config.crawl.interval),
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
        let api = Api::new(store.clone(), metrics, &config);

        // Readiness is asked for until the end, so the internal listener outlives the rest.
        let last = CancellationToken::new();
        let mut internal_task = JoinSet::new();
        if let Some(listener) = internal {
            let router = api::internal_router(api.clone(), readiness.clone(), clock);
            internal_task.spawn(api::serve(listener, router, last.clone()));
        }
        // Not a child of `shutdown`: a part that ends by itself must be told from one that was asked to.
        let stop = CancellationToken::new();
        let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
        parts.spawn(serve(public, api::public_router(api), stop.clone()));
        parts.spawn(part("crawl", crawl::run(crawler.clone(), stop.clone())));
        parts.spawn(part("forget", crawl::run_forget(crawler, stop.clone())));
        parts.spawn(part("subscribe", subscribe::run(subscriber.clone(), stop.clone())));
        parts.spawn(part("held events", subscribe::run_held(subscriber, stop.clone())));
        readiness.set(Phase::Running);

        let ended = tokio::select! {
            // At a shutdown the parts end as well: that is not a fault.
            biased;
            () = shutdown.cancelled() => Ok(()),
            () = failed.cancelled() => Err(anyhow::anyhow!("a write to the database failed")),
            Some(ended) = parts.join_next() => flatten(ended).and(Err(anyhow::anyhow!("a part of signpost ended by itself"))),
        };
        readiness.set(Phase::Stopping);
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
        Ok(())
    }
}

async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

async fn serve(listener: TcpListener, router: axum::Router, stop: CancellationToken) -> anyhow::Result<()> {
    api::serve(listener, router, stop).await;
    Ok(())
}

async fn part<E>(name: &'static str, work: impl Future<Output = Result<(), E>>) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    work.await.context(name)
}

/// A panic is a fault of ours: it stops the process like an error.
fn flatten(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
