//! Backfill and resync, driven by `crawl_queue`: one path for both. This part does all the fetching: hosts are probed and listed,
//! repos and identities are fetched, verified and handed to `index`. It owns no state that a restart would miss.
//! Fair between hosts: each gets its share of the workers in turn, however many jobs it has.

mod forget;
mod gate;
mod get_record;
pub(crate) mod get_repo;
pub(crate) mod list_repos;
mod long_fetches;
pub(crate) mod outcome;
mod spent;
mod ways;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, now_millis};
use crate::host::Client;
use crate::identity::LookUps;
use crate::metrics::Metrics;
use crate::repo::KeepLimits;
use crate::store::{Durability, HostId, HostJob, JobId, RepoJob, Store, StoreError};
use gate::Gate;
use long_fetches::LongFetches;
use ways::Ways;

pub use forget::run as run_forget;

/// Hosts probed and listed at once; one that waits for its firehose holds its place for up to 30 s.
const HOST_JOBS: usize = 32;
/// Repos fetched at once, those that take long not counted.
const REPO_JOBS: usize = 16;
/// Repos fetched at once from one host.
const REPO_JOBS_PER_HOST: usize = 4;
const RENEW_LEASES: Duration = Duration::from_secs(30);
/// Jobs that end within such a time are followed by others that are claimed together, fetched together and written together: a commit costs
/// as much as a small repo.
const TOGETHER: Duration = Duration::from_millis(2);
/// How long to sleep when nothing is known to become due; the bell rings earlier.
const IDLE: Duration = Duration::from_secs(60);

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

struct Running {
    job: JobId,
    host: HostId,
    kind: RunningKind,
    abort: AbortHandle,
}

enum RunningKind {
    Host,
    Repo {
        /// The time of its claim (Unix milliseconds).
        begun_at: i64,
        /// Whether it has given its worker back.
        is_aside: bool,
    },
}

/// Works on the queue until `shutdown`. What is in progress then is dropped: its claim comes back at the next start.
pub async fn run(crawler: Crawler, shutdown: CancellationToken) -> Result<(), StoreError> {
    let mut tasks: JoinSet<Result<Ended, StoreError>> = JoinSet::new();
    let mut running: HashMap<Id, Running> = HashMap::new();
    let mut gate = Gate::new(REPO_JOBS, REPO_JOBS_PER_HOST, crawler.timing.retry_base);
    let (long_fetches, mut stepped_aside) = LongFetches::new(crawler.timing.long_fetch);
    let ways = Arc::new(Ways::new(crawler.store.filter()));
    let mut leases = tokio::time::interval(RENEW_LEASES);
    leases.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next_at;
        (gate, next_at) = fill(&crawler, &ways, &long_fetches, gate, &mut tasks, &mut running).await?;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = crawler.store.signals().crawl.notified() => {}
            () = tokio::time::sleep_until(next_at) => {}
            () = crawler.store.signals().closed.notified() => stop_closed(&crawler, &running).await?,
            _ = leases.tick() => renew(&crawler, &running).await?,
            Some(task) = stepped_aside.recv() => {
                // A task that has ended meanwhile has returned its worker by that.
                if let Some(Running { kind: RunningKind::Repo { is_aside, .. }, .. }) = running.get_mut(&task) {
                    *is_aside = true;
                    gate.stepped_aside();
                }
            }
            Some(ended) = tasks.join_next_with_id() => {
                note_ended(ended, &mut gate, &mut running)?;
                let until = Instant::now() + TOGETHER;
                while let Ok(Some(ended)) = tokio::time::timeout_at(until, tasks.join_next_with_id()).await {
                    note_ended(ended, &mut gate, &mut running)?;
                }
            }
        }
    }
    tasks.shutdown().await;
    Ok(())
}

fn note_ended(
    ended: Result<(Id, Result<Ended, StoreError>), JoinError>,
    gate: &mut Gate,
    running: &mut HashMap<Id, Running>,
) -> Result<(), StoreError> {
    let (task, ended) = match ended {
        Ok((task, ended)) => (task, ended?),
        // Its host was closed.
        Err(error) if error.is_cancelled() => (error.id(), Ended::Answered),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    if let Some(Running { host, kind: RunningKind::Repo { begun_at, is_aside }, .. }) = running.remove(&task) {
        if is_aside {
            gate.returned();
        }
        gate.ended(host, ended, begun_at, now_millis());
    }
    Ok(())
}

/// What was claimed at one time.
struct Claimed {
    hosts: Vec<HostJob>,
    repos: Vec<RepoJob>,
    now: i64,
    /// When something else becomes due.
    next_at: Option<i64>,
}

/// Claims what is due and free to be worked on; answers when there may be more.
async fn fill(
    crawler: &Crawler,
    ways: &Arc<Ways>,
    long_fetches: &LongFetches,
    mut gate: Gate,
    tasks: &mut JoinSet<Result<Ended, StoreError>>,
    running: &mut HashMap<Id, Running>,
) -> Result<(Gate, Instant), StoreError> {
    let listing = running.values().filter(|job| matches!(job.kind, RunningKind::Host)).count();
    let host_slots = HOST_JOBS.saturating_sub(listing);
    // One look at the queue and one clock for all: a job that became due after it must be waited for, not taken for one that waits
    // for a worker.
    let (mut gate, claimed) = crawler
        .store
        .write(Durability::Replayable, move |tx| {
            let (now, due, next_host_at) = (tx.now(), tx.due_repo_jobs()?, tx.next_host_job_at()?);
            let is_host_due = host_slots > 0 && next_host_at.is_some_and(|at| at <= now);
            let hosts = if is_host_due { tx.claim_host_jobs(host_slots)? } else { Vec::new() };
            let mut repos = Vec::new();
            for (host, jobs) in gate.share(&due.hosts, now) {
                repos.extend(tx.claim_repo_jobs(host, jobs)?);
            }
            let next_host_at = next_host_at.filter(|at| *at > now);
            let next_at = [due.next_at, next_host_at, gate.next_open(now)].into_iter().flatten().min();
            Ok((gate, Claimed { hosts, repos, now, next_at }))
        })
        .await?;
    let Claimed { hosts, repos, now, next_at } = claimed;
    for job in hosts {
        let (crawler, job_id, host) = (crawler.clone(), job.job_id, job.host_id);
        let abort = tasks.spawn(async move { list_repos::work(&crawler, job).await });
        running.insert(abort.id(), Running { job: job_id, host, kind: RunningKind::Host, abort });
    }
    for job in repos {
        gate.started(job.host_id);
        let (crawler, ways, long_fetches) = (crawler.clone(), ways.clone(), long_fetches.clone());
        let (job_id, host) = (job.job_id, job.host_id);
        let abort = tasks.spawn(async move { get_repo::work(&crawler, &ways, &long_fetches, job).await });
        let kind = RunningKind::Repo { begun_at: now, is_aside: false };
        running.insert(abort.id(), Running { job: job_id, host, kind, abort });
    }
    // A host that is due waits for a free worker, not for the clock; the worker's end wakes the loop. What became due since the
    // queue was read waits for neither.
    let wait = next_at.map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now).max(0) as u64).min(IDLE));
    Ok((gate, Instant::now() + wait))
}

/// Stops what is being done for hosts that were closed: their claims are given back already.
async fn stop_closed(crawler: &Crawler, running: &HashMap<Id, Running>) -> Result<(), StoreError> {
    let hosts: HashSet<HostId> = running.values().map(|job| job.host).collect();
    let closed = crawler
        .store
        .read(move |tx| {
            let mut closed = HashSet::new();
            for host in hosts {
                if !tx.is_open(host)? {
                    closed.insert(host);
                }
            }
            Ok(closed)
        })
        .await?;
    for job in running.values().filter(|job| closed.contains(&job.host)) {
        job.abort.abort();
    }
    Ok(())
}

async fn renew(crawler: &Crawler, running: &HashMap<Id, Running>) -> Result<(), StoreError> {
    let jobs: Vec<JobId> = running.values().map(|running| running.job).collect();
    crawler.store.write(Durability::Replayable, move |tx| tx.renew_leases(&jobs)).await
}
