//! Our process in the simulation: it calls what the real tasks call, in steps that the seed puts into any order, and may die at any
//! write. Between two steps of one task, all others may move.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use fake_network::offline;

use super::world::{AtFutureCursor, World};
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::crawl::get_repo::{self, Failure, Found, StatusAsked};
use crate::crawl::list_repos::Walk;
use crate::host::{HostError, ListReposPage, ListedRepo, RepoStatus};
use crate::identity::{Identity, IdentityError};
use crate::index::{self, Event, Replaced, Suspect, Verdict};
use crate::metrics::Metrics;
use crate::repo::commit::CommitError;
use crate::repo::{DagCid, PublicKey, RepoError, Snapshot};
use crate::store::{Direct, HostId, HostJob, JobKind, RepoId, RepoJob, Tx, TxResult};
use crate::subscribe::connection::{commit_batch, end_connection, is_outdated};
use crate::subscribe::verify::{self, Batch, Judge, Notice};
use crate::subscribe::watermark::{Step, Watermark};
use crate::syntax::Rev;

const COMPARE_EVERY: Duration = Duration::from_secs(12 * 3600);

/// The host's side of a connection, and what was read of it.
struct Connection {
    open: Option<Open>,
    restarts: i64,
}

struct Open {
    epoch: u64,
    /// The seq of the last event that was sent.
    sent: i64,
    /// Frames that come before the events.
    greeting: Vec<Bytes>,
    watermark: Watermark,
    /// A batch that was verified and is not committed yet, with the seqs that its frames really have.
    pending: Option<(Batch, Step, Vec<i64>)>,
}

enum RepoStage {
    Begun,
    Named(PublicKey),
    Fetched(Bytes, PublicKey),
    Opened(Box<Snapshot>, String),
    Asked(StatusAsked),
    Found(Found),
    Failed(Failure),
}

impl RepoStage {
    fn name(&self) -> String {
        match self {
            RepoStage::Begun => "begun".to_owned(),
            RepoStage::Named(_) => "named".to_owned(),
            RepoStage::Fetched(..) => "fetched".to_owned(),
            RepoStage::Opened(snapshot, _) => format!("opened at {} {}", snapshot.commit.rev, snapshot.commit.cid),
            RepoStage::Asked(_) => "asked".to_owned(),
            RepoStage::Found(found) => format!("found {}", found.label()),
            RepoStage::Failed(failure) => format!("failed: {failure}"),
        }
    }
}

enum HostStage {
    Begun,
    Reached,
    Listing(Walk),
    Differ(Walk, Vec<Suspect>),
    Missing(HashSet<RepoId>, RepoId),
    Listed,
}

/// What was read of the held events of a repo, to be taken in next.
type HeldRead = (RepoId, HostId, Vec<Event>, Option<i64>);

pub(super) struct Process {
    pub world: World,
    db: Option<Direct>,
    config: StoreConfig,
    pub ids: Vec<HostId>,
    clock: Clock,
    metrics: Metrics,
    connections: BTreeMap<HostId, Connection>,
    held: Option<HeldRead>,
    repo_jobs: Vec<(RepoJob, RepoStage)>,
    host_jobs: Vec<(HostJob, HostStage)>,
    died: bool,
    /// Whether something was written since the cursors were checked.
    pub wrote: bool,
    pub restarts: u64,
}

impl Process {
    pub fn new(world: World, config: StoreConfig) -> Process {
        let db = Direct::open(&config).expect("a database");
        let mut process = Process {
            world,
            db: Some(db),
            config,
            ids: Vec::new(),
            clock: Clock::default(),
            metrics: Metrics::new(),
            connections: BTreeMap::new(),
            held: None,
            repo_jobs: Vec::new(),
            host_jobs: Vec::new(),
            died: false,
            wrote: false,
            restarts: 0,
        };
        process.ids = (0..process.world.hosts.len()).map(|n| HostId(n as i64 + 1)).collect();
        process.request_crawl();
        process
    }

    fn host_of(&self, id: HostId) -> usize {
        self.ids.iter().position(|known| *known == id).expect("a host of the world")
    }

    pub fn read<T>(&mut self, work: impl FnOnce(&Tx) -> TxResult<T>) -> T {
        self.db.as_mut().expect("open").read(self.world.now(), work)
    }

    /// None: the process died before the commit. It may also die right after it.
    fn write<T>(&mut self, work: impl FnOnce(&Tx) -> TxResult<T>) -> Option<T> {
        let now = self.world.now();
        if self.died || self.world.strikes("killed before a commit", 300) {
            self.died = true;
            self.db.as_mut().expect("open").die_in(now, work);
            return None;
        }
        self.wrote = true;
        self.died = self.world.strikes("killed after a commit", 300);
        Some(self.db.as_mut().expect("open").write(now, work))
    }

    fn restart(&mut self) {
        self.restarts += 1;
        self.died = false;
        self.connections.clear();
        self.held = None;
        self.repo_jobs.clear();
        self.host_jobs.clear();
        self.clock = Clock::default();
        self.db = None;
        self.db = Some(Direct::open(&self.config).expect("a database"));
    }

    /// Hosts ask to be crawled, in their order: their ids are known then.
    fn request_crawl(&mut self) {
        let Some(next) = self.world.hosts.iter().position(|host| !host.is_requested) else { return };
        let host = self.world.hosts[next].host.clone();
        if let Some(id) = self.write(|tx| tx.accept_host(&host)) {
            assert_eq!(id, self.ids[next]);
            self.world.hosts[next].is_requested = true;
        }
    }

    pub fn request_all(&mut self) {
        for _ in 0..self.world.hosts.len() {
            self.request_crawl();
        }
    }

    pub fn is_idle(&self) -> bool {
        self.repo_jobs.is_empty() && self.host_jobs.is_empty() && self.held.is_none()
    }

    /// One of the tasks moves.
    pub fn step(&mut self) {
        match self.world.rng.u8(0..100) {
            0..45 => {
                let at = self.world.rng.usize(0..self.ids.len());
                self.move_connection(self.ids[at]);
            }
            45..52 => self.move_held(),
            52..58 => self.claim(),
            58..82 if !self.repo_jobs.is_empty() => {
                let at = self.world.rng.usize(0..self.repo_jobs.len());
                self.move_repo_job(at);
            }
            82..92 if !self.host_jobs.is_empty() => {
                let at = self.world.rng.usize(0..self.host_jobs.len());
                self.move_host_job(at);
            }
            92..95 => self.manage(),
            95 if self.world.rng.u8(0..8) == 0 => self.request_crawl(),
            96 => {
                let wait = self.world.rng.u64(1..20_000);
                self.pass_time(Duration::from_millis(wait));
            }
            97 if !self.world.is_calm && self.world.rng.u8(0..20) == 0 => self.pass_time(COMPARE_EVERY),
            98 if self.world.strikes("killed", 40) => self.died = true,
            _ => {}
        }
        self.world.micros += 1000;
        if self.died {
            self.restart();
        }
    }

    /// Moves every task until nothing is left to do at this time. Answers after how many rounds.
    pub fn settle(&mut self) -> Option<usize> {
        for round in 0..400 {
            self.manage();
            for id in self.ids.clone() {
                for _ in 0..100 {
                    if !self.move_connection(id) {
                        break;
                    }
                }
            }
            self.move_held();
            self.move_held();
            self.claim();
            let was_idle = self.is_idle();
            for _ in 0..10 {
                (0..self.repo_jobs.len()).rev().for_each(|at| self.move_repo_job(at));
                (0..self.host_jobs.len()).rev().for_each(|at| self.move_host_job(at));
            }
            self.world.micros += 1_000_000;
            let behind = self.ids.clone().into_iter().any(|id| self.is_behind(id));
            let ready = self.read(|tx| tx.repos_with_ready_events());
            if was_idle && self.is_idle() && !behind && ready.is_empty() {
                return Some(round);
            }
        }
        None
    }

    pub fn pass_time(&mut self, time: Duration) {
        self.world.micros += time.as_micros() as u64;
        let running: Vec<_> = self.repo_jobs.iter().map(|(job, _)| job.job_id).collect();
        let listing = self.host_jobs.iter().map(|(job, _)| job.job_id);
        let running: Vec<_> = running.into_iter().chain(listing).collect();
        self.write(|tx| tx.renew_leases(&running));
    }

    /// As `subscribe::manager`: a connection per row, given up when it is asked to.
    fn manage(&mut self) {
        for row in self.read(|tx| tx.subscriptions()) {
            let connection =
                self.connections.entry(row.host_id).or_insert(Connection { open: None, restarts: row.restarts });
            if std::mem::replace(&mut connection.restarts, row.restarts) < row.restarts && connection.open.is_some() {
                self.world.count("silent connection given up");
                self.end(row.host_id, "silent", true, false);
            }
        }
    }

    fn is_behind(&self, id: HostId) -> bool {
        let host = &self.world.hosts[self.host_of(id)];
        match self.connections.get(&id) {
            None => false,
            Some(Connection { open: None, .. }) => true,
            Some(Connection { open: Some(open), .. }) => {
                open.epoch != host.epoch
                    || open.pending.is_some()
                    || host.history.last().is_some_and(|event| event.seq > open.sent)
            }
        }
    }

    fn end(&mut self, id: HostId, words: &str, connected: bool, future_cursor: bool) {
        self.connections.get_mut(&id).expect("known").open = None;
        self.write(|tx| end_connection(tx, id, words, connected, future_cursor));
    }

    /// Answers whether there was something to do.
    fn move_connection(&mut self, id: HostId) -> bool {
        let at = self.host_of(id);
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let Some(open) = &mut connection.open else { return self.dial(id) };
        if let Some((batch, step, seqs)) = open.pending.take() {
            self.commit(id, batch, step, &seqs);
            return true;
        }
        if open.epoch != self.world.hosts[at].epoch || self.world.strikes("connection lost", 150) {
            self.end(id, "closed", true, false);
            return true;
        }
        self.read_frames(id)
    }

    fn dial(&mut self, id: HostId) -> bool {
        let at = self.host_of(id);
        if !self.world.hosts[at].up {
            self.end(id, "no connection", false, false);
            return true;
        }
        let cursor = self.read(|tx| tx.host_cursor(id));
        let host = &mut self.world.hosts[at];
        let mut greeting = Vec::new();
        let sent = match cursor {
            None => {
                host.unsettled = Some(Default::default());
                host.seq
            }
            Some(cursor) if cursor > host.seq => match host.at_future_cursor {
                AtFutureCursor::Refuse => {
                    self.world.count("FutureCursor");
                    let frame = Bytes::from(offline::error_frame("FutureCursor"));
                    let batch = self.verify(id, &[frame]);
                    let future =
                        matches!(batch.notices.as_slice(), [Notice::Error { name, .. }] if name == "FutureCursor");
                    assert!(future);
                    self.write(|tx| tx.firehose_connected(id));
                    self.end(id, "FutureCursor", true, true);
                    return true;
                }
                AtFutureCursor::Wait => cursor,
                AtFutureCursor::Replay => host.forgotten,
            },
            Some(cursor) if cursor < host.forgotten => {
                greeting.push(Bytes::from(offline::info_frame("OutdatedCursor")));
                self.world.count("OutdatedCursor");
                self.world.hosts[at].forgotten
            }
            Some(cursor) => cursor,
        };
        let epoch = self.world.hosts[at].epoch;
        let open = Open { epoch, sent, greeting, watermark: Watermark::new(cursor), pending: None };
        self.connections.get_mut(&id).expect("known").open = Some(open);
        self.write(|tx| tx.firehose_connected(id));
        true
    }

    fn read_frames(&mut self, id: HostId) -> bool {
        let at = self.host_of(id);
        let most = self.world.rng.usize(1..6);
        let open = self.connections.get_mut(&id).expect("known").open.as_mut().expect("open");
        let mut frames: Vec<(Option<i64>, String, Bytes)> =
            open.greeting.drain(..).map(|frame| (None, String::new(), frame)).collect();
        let history = &self.world.hosts[at].history;
        let next = history.iter().filter(|event| event.seq > open.sent).take(most);
        frames.extend(next.map(|event| (Some(event.seq), event.did.clone(), event.frame.clone())));
        if frames.is_empty() {
            return false;
        }
        open.sent = frames.iter().filter_map(|(seq, ..)| *seq).max().unwrap_or(open.sent);
        let sent = open.sent;
        if frames.len() > 1 && self.world.fires("events of two accounts swapped", 10) {
            let first = self.world.rng.usize(0..frames.len() - 1);
            if frames[first].1 != frames[first + 1].1 {
                frames.swap(first, first + 1);
            }
        }
        if self.world.fires("event sent twice", 15) {
            let old: Vec<_> = self.world.hosts[at].history.iter().filter(|event| event.seq <= sent).cloned().collect();
            if let Some(event) = self.world.rng.choice(&old).cloned() {
                let to = self.world.rng.usize(0..=frames.len());
                frames.insert(to, (Some(event.seq), event.did, event.frame));
            }
        }
        if self.world.fires("garbage between events", 60) {
            frames.insert(0, (None, String::new(), Bytes::from_static(b"\xff\xff\xff")));
        }
        let seqs: Vec<i64> = frames.iter().filter_map(|(seq, ..)| *seq).collect();
        let frames: Vec<Bytes> = frames.into_iter().map(|(.., frame)| frame).collect();
        let batch = self.verify(id, &frames);
        let open = self.connections.get_mut(&id).expect("known").open.as_mut().expect("open");
        let step = open.watermark.take_in(&batch.seqs);
        if step.restarted {
            self.world.count("sequence seen to begin anew");
        }
        let open = self.connections.get_mut(&id).expect("known").open.as_mut().expect("open");
        open.pending = Some((batch, step, seqs));
        true
    }

    fn verify(&mut self, id: HostId, frames: &[Bytes]) -> Batch {
        let messages = verify::decode(frames);
        let known = self.read(|tx| verify::look_up_all(tx, id, &messages));
        Judge { host_id: id, clock: &self.clock, filter: &self.world.filter }.check_all(messages, &known, &self.metrics)
    }

    fn commit(&mut self, id: HostId, batch: Batch, step: Step, seqs: &[i64]) {
        let at = self.host_of(id);
        let outdated = is_outdated(&batch.notices);
        let events = batch.events;
        let about: Vec<(i64, String)> = events.iter().map(|event| (event.seq, event.did.to_string())).collect();
        let Some(ingested) = self.write(|tx| commit_batch(tx, id, events, step, outdated)) else { return };
        for ((seq, did), verdict) in about.iter().zip(&ingested.verdicts) {
            self.world.tell(|| format!("event {seq} of host {at} about {did}: {}", verdict.label()));
        }
        if let Some(unsettled) = &mut self.world.hosts[at].unsettled {
            unsettled.retain(|seq| !seqs.contains(seq));
        }
        self.note(&ingested.verdicts);
    }

    fn note(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            self.world.count(verdict.label());
        }
    }

    /// As `subscribe::held`, with time between its read and its write.
    fn move_held(&mut self) {
        if let Some((repo, id, events, last)) = self.held.take() {
            if let Some(ingested) = self.write(|tx| index::ingest_held(tx, id, repo, events, last)) {
                self.world.count("held events drained");
                self.note(&ingested.verdicts);
            }
            return;
        }
        let ready = self.read(|tx| tx.repos_with_ready_events());
        let Some((repo, id)) = self.world.rng.choice(&ready).copied() else { return };
        let (clock, filter) = (self.clock.clone(), self.world.filter.clone());
        let (events, last) = self.read(|tx| {
            let held = tx.held_events(repo, id)?;
            let last = held.last().map(|event| event.seq);
            Ok((verify::held(tx, repo, id, held, &clock, &filter)?, last))
        });
        self.held = Some((repo, id, events, last));
    }

    /// As `crawl::fill`.
    fn claim(&mut self) {
        let now = self.world.now();
        let is_due = self.read(|tx| {
            let host_at = tx.next_host_job_at()?;
            Ok(host_at.is_some_and(|at| at <= now) || !tx.due_repo_jobs()?.hosts.is_empty())
        });
        if !is_due {
            return;
        }
        let claimed = self.write(|tx| {
            let hosts = tx.claim_host_jobs(4)?;
            let mut repos = Vec::new();
            for (host, _) in tx.due_repo_jobs()?.hosts {
                repos.extend(tx.claim_repo_jobs(host, 2)?);
            }
            Ok((hosts, repos))
        });
        let Some((hosts, repos)) = claimed else { return };
        self.host_jobs.extend(hosts.into_iter().map(|job| (job, HostStage::Begun)));
        self.repo_jobs.extend(repos.into_iter().map(|job| (job, RepoStage::Begun)));
    }

    /// As `crawl::get_repo`.
    fn move_repo_job(&mut self, at: usize) {
        let (job, stage) = self.repo_jobs.swap_remove(at);
        self.world.tell(|| format!("{:?} job of {} at {}: {}", job.kind, job.did, job.host.as_str(), stage.name()));
        let next = match stage {
            RepoStage::Begun if job.kind == JobKind::Status => {
                let answer = self.get_repo_status(&job);
                Some(match get_repo::status_answer(answer) {
                    Ok(asked) => RepoStage::Asked(asked),
                    Err(Ok(found)) => RepoStage::Found(found),
                    Err(Err(failure)) => RepoStage::Failed(failure),
                })
            }
            RepoStage::Begun => Some(match get_repo::signing_key(&job, self.resolve(&job)) {
                Ok(Some(key)) => RepoStage::Named(key),
                Ok(None) => RepoStage::Found(Found::Gone),
                Err(failure) => RepoStage::Failed(failure),
            }),
            RepoStage::Named(key) if job.kind == JobKind::Identity => {
                self.write(|tx| index::identity_resolved(tx, &job, &key.to_did_key()));
                None
            }
            RepoStage::Named(key) => Some(match self.get_repo(&job) {
                Ok(car) => RepoStage::Fetched(car, key),
                Err(error) => match get_repo::refusal(&error) {
                    Some(found) => RepoStage::Found(found),
                    None => RepoStage::Failed(error.into()),
                },
            }),
            RepoStage::Fetched(car, key) => {
                let did_key = key.to_did_key();
                Some(match self.open(&job, car, key) {
                    Ok(snapshot) => RepoStage::Opened(Box::new(snapshot), did_key),
                    Err(failure) => RepoStage::Failed(failure),
                })
            }
            RepoStage::Opened(snapshot, did_key) => {
                match self.write(|tx| index::replace_repo(tx, &job, &snapshot, &did_key)) {
                    Some(Replaced::Stale) => {
                        self.world.count("stale answer seen");
                        Some(RepoStage::Failed(Failure::Stale))
                    }
                    Some(Replaced::Done(_)) => {
                        self.world.count("repo replaced");
                        None
                    }
                    Some(Replaced::NoRoom) => unreachable!("no host of the world has so many accounts"),
                    Some(Replaced::Overtaken) => {
                        self.world.count("fetch overtaken");
                        None
                    }
                    None => None,
                }
            }
            RepoStage::Asked(asked) => {
                self.write(|tx| asked.write(tx, &job));
                None
            }
            RepoStage::Found(found) => {
                match found {
                    Found::Gone => drop(self.write(|tx| index::fetched_gone(tx, &job))),
                    Found::Inactive(status) => drop(self.write(|tx| index::fetched_inactive(tx, &job, status))),
                    _ => {}
                }
                None
            }
            RepoStage::Failed(failure) => {
                let retry_in = Duration::from_millis(self.world.rng.u64(100..60_000));
                self.write(|tx| failure.write(tx, &job, retry_in));
                None
            }
        };
        if let Some(stage) = next {
            self.repo_jobs.push((job, stage));
        }
    }

    fn open(&mut self, job: &RepoJob, car: Bytes, key: PublicKey) -> Result<Snapshot, Failure> {
        let trust = self.read(|tx| get_repo::first_trust(tx, &job.did, key));
        let (filter, clock) = (self.world.filter.clone(), self.clock.clone());
        let open = |trust| get_repo::open_noting_clock(car.clone(), &job.did, trust, job.host_id, &filter, &clock);
        let refused = match open(&trust) {
            Err(error @ RepoError::Commit(CommitError::Signature(_))) => error,
            opened => return Ok(opened?),
        };
        let trust = get_repo::second_trust(refused, self.earlier_keys(job))?;
        self.world.count("earlier keys tried");
        Ok(open(&trust)?)
    }

    fn resolve(&mut self, job: &RepoJob) -> Result<Identity, IdentityError> {
        if self.world.fires("identity look-up failed", 12) {
            return Err(IdentityError::Fetch(HostError::Status(500)));
        }
        let Some(person) = self.world.people.get(job.did.as_str()).filter(|person| !person.tombstone) else {
            return Err(IdentityError::NotFound);
        };
        Ok(Identity {
            did: job.did.clone(),
            pds: Some(self.world.hosts[person.pds].host.clone()),
            signing_key: Some(PublicKey::from_did_key(&person.key.did_key()).expect("a key")),
            handle: None,
        })
    }

    fn earlier_keys(&mut self, job: &RepoJob) -> Result<Vec<PublicKey>, IdentityError> {
        if job.did.as_str().starts_with("did:web") {
            return Ok(Vec::new());
        }
        let keys = self.world.people[job.did.as_str()].earlier.iter();
        Ok(keys.map(|key| PublicKey::from_did_key(&key.did_key()).expect("a key")).collect())
    }

    /// The account as its host answers for it, or how it refuses.
    fn served(&mut self, job: &RepoJob) -> Result<usize, HostError> {
        let at = self.host_of(job.host_id);
        if !self.world.hosts[at].up {
            return Err(HostError::Connect("refused".to_owned()));
        }
        let refuse =
            |error: &str| Err(HostError::Xrpc { status: 400, error: error.to_owned(), message: String::new() });
        match self.world.hosts[at].accounts.get(job.did.as_str()).map(|account| account.status) {
            None => refuse("RepoNotFound"),
            Some(Some("takendown")) => refuse("RepoTakendown"),
            Some(Some("suspended")) => refuse("RepoSuspended"),
            Some(Some(_)) => refuse("RepoDeactivated"),
            Some(None) => Ok(at),
        }
    }

    fn get_repo(&mut self, job: &RepoJob) -> Result<Bytes, HostError> {
        if self.world.fires("getRepo failed", 12) {
            return Err(HostError::Status(500));
        }
        if self.world.fires("getRepo limited", 40) {
            return Err(HostError::RateLimited { retry_after: Some(Duration::from_secs(7)) });
        }
        let at = self.served(job)?;
        Ok(Bytes::from(self.world.car(at, job.did.as_str())))
    }

    fn get_repo_status(&mut self, job: &RepoJob) -> Result<RepoStatus, HostError> {
        if self.world.fires("getRepoStatus not known", 6) {
            return Err(HostError::Status(501));
        }
        let at = self.host_of(job.host_id);
        if !self.world.hosts[at].up {
            return Err(HostError::Connect("refused".to_owned()));
        }
        let Some(account) = self.world.hosts[at].accounts.get(job.did.as_str()) else {
            self.served(job)?;
            return Err(HostError::Status(500));
        };
        let rev = Rev::parse(&account.told_rev).ok();
        let status = account.status.map(str::to_owned);
        Ok(RepoStatus { active: status.is_none(), status, rev })
    }

    /// As `crawl::list_repos`.
    fn move_host_job(&mut self, at: usize) {
        let (job, stage) = self.host_jobs.swap_remove(at);
        let (host_id, job_id) = (job.host_id, job.job_id);
        let host = self.host_of(host_id);
        let next = match stage {
            HostStage::Begun if !self.world.hosts[host].up => {
                self.fail_host(&job);
                None
            }
            HostStage::Begun => self.write(|tx| tx.host_reached(host_id)).map(|()| HostStage::Reached),
            HostStage::Reached => {
                let connected = self.read(|tx| tx.is_connected(host_id));
                if !connected && self.world.rng.u8(0..4) > 0 {
                    Some(HostStage::Reached)
                } else {
                    let begun = if connected { Some(()) } else { self.write(|tx| tx.relist_on_connect(host_id)) };
                    begun.map(|()| HostStage::Listing(Walk::from(self.read(|tx| tx.page_cursor(job_id)))))
                }
            }
            HostStage::Listing(mut walk) => match self.list_repos(host, walk.page_cursor()) {
                Err(_) => {
                    self.fail_host(&job);
                    None
                }
                Ok(page) => {
                    let repos = walk.pass(page);
                    let saved = walk.page_cursor().map(str::to_owned);
                    for repo in &repos {
                        self.world.tell(|| {
                            format!("host {host} lists {} {:?} {:?} {:?}", repo.did, repo.rev, repo.head, repo.status)
                        });
                    }
                    let listed = self.write(|tx| index::list_page(tx, host_id, job_id, &repos, saved.as_deref()));
                    listed.map(|listed| {
                        walk.note(&listed.own);
                        match listed.suspects {
                            suspects if suspects.is_empty() => after_page(walk),
                            suspects => HostStage::Differ(walk, suspects),
                        }
                    })
                }
            },
            HostStage::Differ(walk, suspects) => {
                let missed = self.write(|tx| index::settle_suspects(tx, host_id, &suspects));
                if missed.is_some_and(|missed| missed > 0) {
                    self.world.count("missed commit found by comparison");
                }
                missed.map(|_| after_page(walk))
            }
            HostStage::Missing(seen, after) => {
                let next = self.write(|tx| index::ask_after_missing(tx, host_id, after, |repo| seen.contains(&repo)));
                next.map(|next| next.map_or(HostStage::Listed, |after| HostStage::Missing(seen, after)))
            }
            HostStage::Listed => {
                self.world.count("comparison");
                self.write(|tx| tx.finish_host_job(job_id, COMPARE_EVERY));
                None
            }
        };
        if let Some(stage) = next {
            self.host_jobs.push((job, stage));
        }
    }

    fn fail_host(&mut self, job: &HostJob) {
        let retry_in = Duration::from_millis(self.world.rng.u64(100..60_000));
        self.write(|tx| {
            tx.host_unreachable(job.host_id)?;
            tx.fail_job(job.job_id, "no answer", retry_in)
        });
    }

    fn list_repos(&mut self, host: usize, cursor: Option<&str>) -> Result<ListReposPage, HostError> {
        if !self.world.hosts[host].up || self.world.fires("listRepos failed", 12) {
            return Err(HostError::Status(500));
        }
        let skipped = usize::from(self.world.fires("nonsense row", 20));
        let place = &self.world.hosts[host];
        let rest = place.accounts.iter().filter(|(did, _)| cursor.is_none_or(|cursor| did.as_str() > cursor));
        let page: Vec<_> = rest.take(place.page_size).collect();
        let cursor = page.last().filter(|_| page.len() == place.page_size).map(|(did, _)| (*did).clone());
        let repos = page.into_iter().map(|(did, account)| ListedRepo {
            did: crate::syntax::Did::parse(did).expect("a DID"),
            head: DagCid::parse(&account.repo.head()).ok(),
            rev: Rev::parse(&account.told_rev).ok(),
            active: account.status.is_none(),
            status: account.status.map(str::to_owned),
        });
        Ok(ListReposPage { repos: repos.collect(), skipped, cursor })
    }
}

fn after_page(walk: Walk) -> HostStage {
    if walk.page_cursor().is_some() {
        return HostStage::Listing(walk);
    }
    match walk.whole() {
        Some(seen) => HostStage::Missing(seen, RepoId(0)),
        None => HostStage::Listed,
    }
}
