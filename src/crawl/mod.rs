//! Backfill and resync, driven by `crawl_queue`: one path for both. This part does all the fetching: hosts are probed and listed,
//! repos and identities are fetched, verified and handed to `index`. It owns no state that a restart would miss.
//! Fair between hosts: each gets its share of the workers in turn, however many jobs it has.

mod forget;
mod gate;
mod get_record;
pub(crate) mod get_repo;
mod hand;
pub(crate) mod list_repos;
mod long_fetches;
pub(crate) mod outcome;
mod spent;
mod turn;
mod ways;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::host::Client;
use crate::identity::LookUps;
use crate::metrics::Metrics;
use crate::repo::KeepLimits;
use crate::store::Store;

pub use forget::run as run_forget;
pub use workers::run;

/// What the workers need.
#[derive(Clone)]
pub struct Crawler {
    /// Queue and index.
    pub store: Store,
    /// For hosts.
    pub client: Arc<Client>,
    /// For DID documents.
    pub look_ups: Arc<LookUps>,
    /// For counting.
    pub metrics: Metrics,
    /// For judging revs.
    pub clock: Clock,
    /// How often a host's repos are compared with the index.
    pub compare_every: Duration,
    /// How much of a repo is kept.
    pub keep: KeepLimits,
    /// Times, for tests to shorten.
    pub timing: Timing,
}

/// How patient the workers are.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a host's repos are not listed because its firehose does not connect.
    pub firehose_wait: Duration,
    /// How long a repo whose listed head differs is given for its event to arrive.
    pub grace: Duration,
    /// Instead of the configured interval between comparisons.
    pub compare_every: Option<Duration>,
    /// The first wait before trying again (full jitter).
    pub retry_base: Duration,
    /// How long a fetch of a repo may keep a worker.
    pub long_fetch: Duration,
    /// A repo that took longer has a line in the log.
    pub slow_after: Duration,
    /// How long a DID that gave no document is not asked for again, at first.
    pub did_rest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            firehose_wait: Duration::from_secs(30),
            grace: Duration::from_secs(3),
            compare_every: None,
            retry_base: Duration::from_secs(1),
            long_fetch: Duration::from_secs(60),
            slow_after: Duration::from_secs(30),
            did_rest: Duration::from_secs(120),
        }
    }
}

/// How a job ended, as far as the host's other jobs are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The host answered, whatever it said.
    Answered,
    /// The host could not be reached, or is in trouble.
    Unreachable,
    /// The host asked to wait this long.
    Wait(Duration),
}
