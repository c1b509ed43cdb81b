//! Live firehoses: one connection per host that was reached. This part reads sockets, verifies what it reads and hands it to
//! `index`; it fetches nothing. What has to be fetched is a row in `crawl_queue`, which `crawl` works on.
//! Order per account holds because a connection takes in one batch after another.

pub(crate) mod connection;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gather;
mod held;
mod manager;
mod rate;
mod trouble;
pub(crate) mod verify;
pub(crate) mod watermark;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::host::Client;
use crate::metrics::Metrics;
use crate::store::Store;

pub use held::run as run_held;
pub use manager::run;

/// What a connection needs.
#[derive(Clone)]
pub struct Subscriber {
    /// Subscriptions and index.
    pub store: Store,
    /// For dialling.
    pub client: Arc<Client>,
    /// For counting.
    pub metrics: Metrics,
    /// For judging revs.
    pub clock: Clock,
    /// Dials at once: after a restart, a thousand hosts are not dialled in one moment.
    pub dials: Arc<Semaphore>,
    /// Batches verified at once: as many as there are cores.
    pub verifiers: Arc<Semaphore>,
    /// Times, for tests to shorten.
    pub timing: Timing,
}

/// How patient a connection is.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A ping goes out this often.
    pub ping_every: Duration,
    /// Without any frame, pong included, for this long, the connection is dead.
    pub dead_after: Duration,
    /// The first wait before dialling again (full jitter).
    pub retry_base: Duration,
    /// The longest.
    pub retry_cap: Duration,
    /// A connection that lasted this long starts again with the shortest wait.
    pub settled_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            ping_every: Duration::from_secs(30),
            dead_after: Duration::from_secs(75),
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(3600),
            settled_after: Duration::from_secs(60),
        }
    }
}
