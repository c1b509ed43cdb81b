//! The workers. Between two turns at the queue jobs end, and are followed by those at hand; a commit costs as much as a small repo, so that
//! many share one.
//! Invariant: what has ended and is not written down yet is claimed still, and little: a crash has it done once more.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::hand::Hand;
use super::long_fetches::LongFetches;
use super::outcome::Settled;
use super::turn::{Claimed, Turn, write_down};
use super::ways::Ways;
use super::{Crawler, Ended, get_repo, list_repos};
use crate::clock::now_millis;
use crate::store::{Durability, HostId, HostJob, JobId, StoreError};

/// Hosts probed and listed at once; one that waits for its firehose holds its place for up to 30 s.
const HOST_JOBS: usize = 32;
/// Repos fetched at once, those that take long not counted.
const REPO_JOBS: usize = 16;
/// Repos fetched at once from one host.
const REPO_JOBS_PER_HOST: usize = 4;
const RENEW_LEASES: Duration = Duration::from_secs(30);
/// What has ended is written down after such a time at most, ..
const TOGETHER: Duration = Duration::from_millis(20);
/// .. sooner when a worker waits for what is claimed next, ..
const SOON: Duration = Duration::from_millis(2);
/// .. and at once when it is so much, or nothing else is under way.
const MOST_SETTLED: usize = 32;
const MOST_SETTLED_BYTES: usize = 1 << 20;
/// How long to sleep when nothing is known to become due; the bell rings earlier.
const IDLE: Duration = Duration::from_secs(60);

/// Works on the queue until `shutdown`. What has ended by then is written down; what is in progress is dropped: its claim comes back at the
/// next start.
pub async fn run(crawler: Crawler, shutdown: CancellationToken) -> Result<(), StoreError> {
    let mut leases = tokio::time::interval(RENEW_LEASES);
    leases.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut workers, mut stepped_aside) = Workers::new(crawler.clone());
    let signals = crawler.store.signals();
    // One timer for all turns: a new one for each job that ends would wake the runtime each time.
    let mut next_turn = pin!(tokio::time::sleep_until(Instant::now()));
    loop {
        next_turn.as_mut().reset(workers.turn().await?);
        while !workers.is_time() {
            tokio::select! {
                () = shutdown.cancelled() => return workers.stop().await,
                () = signals.crawl.notified() => break,
                () = next_turn.as_mut() => break,
                () = signals.closed.notified() => workers.stop_closed().await?,
                _ = leases.tick() => workers.renew().await?,
                Some(task) = stepped_aside.recv() => {
                    workers.step_aside(task);
                    break;
                }
                Some(ended) = workers.tasks.join_next_with_id() => {
                    let turn_at = Instant::now() + workers.note_ended(ended)?;
                    if turn_at < next_turn.deadline() {
                        next_turn.as_mut().reset(turn_at);
                    }
                }
            }
        }
    }
}

struct Workers {
    crawler: Crawler,
    ways: Arc<Ways>,
    long_fetches: LongFetches,
    gate: Gate,
    hand: Hand,
    tasks: JoinSet<Done>,
    running: HashMap<Id, Running>,
    settled: Vec<Settled>,
    settled_bytes: usize,
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
        /// The time of its beginning (Unix milliseconds).
        begun_at: i64,
        /// Whether it has given its worker back.
        is_aside: bool,
    },
}

/// What a task has done.
enum Done {
    Host(Result<Ended, StoreError>),
    Repo(Box<Settled>),
}

impl Workers {
    /// With the tasks that step aside.
    fn new(crawler: Crawler) -> (Workers, mpsc::Receiver<Id>) {
        let (long_fetches, stepped_aside) = LongFetches::new(crawler.timing.long_fetch);
        let workers = Workers {
            ways: Arc::new(Ways::new(crawler.store.filter())),
            long_fetches,
            gate: Gate::new(REPO_JOBS, REPO_JOBS_PER_HOST, crawler.timing.retry_base),
            hand: Hand::default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            settled: Vec::new(),
            settled_bytes: 0,
            crawler,
        };
        (workers, stepped_aside)
    }

    /// Writes down what has ended, and claims what is due and free to be worked on; answers when the next turn is due.
    async fn turn(&mut self) -> Result<Instant, StoreError> {
        let listing = self.running.values().filter(|job| matches!(job.kind, RunningKind::Host)).count();
        let timing = self.crawler.timing;
        let turn = Turn {
            settled: std::mem::take(&mut self.settled),
            unwanted: self.hand.unwanted(),
            at_hand: self.hand.hosts(),
            host_slots: HOST_JOBS.saturating_sub(listing),
            gate: std::mem::take(&mut self.gate),
            retry_base: timing.retry_base,
        };
        self.settled_bytes = 0;
        let (gate, noted, claimed) = self.crawler.store.write(Durability::Replayable, move |tx| turn.take(tx)).await?;
        self.gate = gate;
        let Claimed { hosts, repos, now, next_at } = claimed;
        hosts.into_iter().for_each(|job| self.start_host(job));
        self.hand.take(repos);
        for host in self.hand.hosts().into_keys() {
            while self.start_next_of(host, now) {}
        }
        if !noted.is_empty() {
            noted.into_iter().for_each(|job| job.tell(&self.crawler.metrics, timing.slow_after));
            self.crawler.store.note_reindexed().await?;
        }
        // A host that is due waits for a free worker, not for the clock; the worker's end is followed by a turn. What became due since the
        // queue was read waits for neither.
        let wait = next_at.map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now).max(0) as u64).min(IDLE));
        Ok(Instant::now() + wait)
    }

    async fn stop(mut self) -> Result<(), StoreError> {
        // Nothing follows any more.
        self.hand = Hand::default();
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.note_ended(ended)?;
        }
        self.tasks.shutdown().await;
        let (settled, timing) = (std::mem::take(&mut self.settled), self.crawler.timing);
        let write =
            self.crawler.store.write(Durability::Replayable, move |tx| write_down(settled, tx, timing.retry_base));
        write.await?.into_iter().for_each(|job| job.tell(&self.crawler.metrics, timing.slow_after));
        Ok(())
    }

    /// Whether what has ended should be written down at once.
    fn is_time(&self) -> bool {
        let is_much = self.settled.len() >= MOST_SETTLED || self.settled_bytes >= MOST_SETTLED_BYTES;
        is_much || (!self.settled.is_empty() && self.gate.is_idle())
    }

    fn start_host(&mut self, job: HostJob) {
        let (crawler, job_id, host) = (self.crawler.clone(), job.job_id, job.host_id);
        let abort = self.tasks.spawn(async move { Done::Host(list_repos::work(&crawler, job).await) });
        self.running.insert(abort.id(), Running { job: job_id, host, kind: RunningKind::Host, abort });
    }

    /// Begins the host's next job at hand, if there is one and the host may have one more.
    fn start_next_of(&mut self, host: HostId, now: i64) -> bool {
        if !self.gate.may_start(host, now) {
            return false;
        }
        let Some(job) = self.hand.next_of(host) else { return false };
        self.gate.started(host);
        let (crawler, ways, long_fetches) = (self.crawler.clone(), self.ways.clone(), self.long_fetches.clone());
        let job_id = job.job_id;
        let work = async move { Done::Repo(Box::new(get_repo::work(&crawler, &ways, &long_fetches, job).await)) };
        // It is some kilobytes, and would be copied again and again on its way to the runtime.
        let abort = self.tasks.spawn(Box::pin(work));
        let kind = RunningKind::Repo { begun_at: now, is_aside: false };
        self.running.insert(abort.id(), Running { job: job_id, host, kind, abort });
        true
    }

    /// Lets a job that has ended be followed by the next one at hand. Answers how long the next turn may wait.
    fn note_ended(&mut self, ended: Result<(Id, Done), JoinError>) -> Result<Duration, StoreError> {
        let (task, ended) = match ended {
            Ok((task, Done::Host(ended))) => (task, ended?),
            Ok((task, Done::Repo(settled))) => {
                let ended = settled.ended();
                self.settled_bytes += settled.size_bytes();
                self.settled.push(*settled);
                (task, ended)
            }
            // Its host was closed.
            Err(error) if error.is_cancelled() => (error.id(), Ended::Answered),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let Some(Running { host, kind: RunningKind::Repo { begun_at, is_aside }, .. }) = self.running.remove(&task)
        else {
            return Ok(SOON);
        };
        if is_aside {
            self.gate.returned();
        }
        let now = now_millis();
        self.gate.ended(host, ended, begun_at, now);
        if ended != Ended::Answered {
            self.hand.give_back(host);
        }
        Ok(if self.start_next_of(host, now) { TOGETHER } else { SOON })
    }

    fn step_aside(&mut self, task: Id) {
        // A task that has ended meanwhile has returned its worker by that.
        if let Some(Running { kind: RunningKind::Repo { is_aside, .. }, .. }) = self.running.get_mut(&task) {
            *is_aside = true;
            self.gate.stepped_aside();
        }
    }

    /// Stops what is being done for hosts that were closed: their claims are given back already.
    async fn stop_closed(&mut self) -> Result<(), StoreError> {
        let running = self.running.values().map(|job| job.host);
        let hosts: HashSet<HostId> = running.chain(self.hand.hosts().into_keys()).collect();
        let closed = self
            .crawler
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
        closed.iter().for_each(|host| self.hand.forget(*host));
        for job in self.running.values().filter(|job| closed.contains(&job.host)) {
            job.abort.abort();
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let jobs: Vec<JobId> = self.running.values().map(|running| running.job).chain(self.hand.job_ids()).collect();
        self.crawler.store.write(Durability::Replayable, move |tx| tx.renew_leases(&jobs)).await
    }
}
