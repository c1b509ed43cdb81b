//! A repo's job: look whether anything in it matches, resolve the identity, require that it names this host, fetch
//! (`com.atproto.sync.getRepo`, or parts), verify. The other kinds of job are single steps of it. A repo of which nothing matches
//! needs no identity: its hashes show it, whoever signed them. Nothing is written here: see `outcome`.

use std::time::Instant;

use bytes::Bytes;

use super::Crawler;
use super::get_record::{self, Part};
use super::long_fetches::LongFetches;
use super::outcome::{Failure, Found, FoundRepo, Settled};
use super::spent::{Spent, Step};
use super::ways::Ways;
use crate::clock::Clock;
use crate::host::{HostError, RepoCar, RepoRefusal, RepoStatus};
use crate::identity::{Asker, Identity, IdentityError};
use crate::index;
use crate::repo::commit::CommitError;
use crate::repo::{self, PublicKey, RepoError, Snapshot, Trust};
use crate::store::{HostId, JobKind, Owner, RepoJob, Status, Tx, TxResult, Urgency};
use crate::syntax::Rev;

/// So many bytes are hashed in less time than it takes to hand them to another thread and back, some times over.
const SHORT_WORK_BYTES: usize = 64 << 10;

/// Does a repo's job, but for its end: that is to be written down.
pub(super) async fn work(crawler: &Crawler, ways: &Ways, long_fetches: &LongFetches, job: RepoJob) -> Settled {
    let mut spent = Spent::new();
    let came = attempt(crawler, ways, long_fetches, &job, &mut spent).await;
    spent.settle();
    Settled { job, came, spent }
}

async fn attempt(
    crawler: &Crawler,
    ways: &Ways,
    long_fetches: &LongFetches,
    job: &RepoJob,
    spent: &mut Spent,
) -> Result<Found, Failure> {
    if job.kind == JobKind::Status {
        return ask_status(crawler, job).await;
    }
    let mut part = None;
    if job.kind == JobKind::Repo && ways.asks_first(job, Instant::now()) {
        let probed = spent.on(Step::Asking, long_fetches.run(Box::pin(get_record::probe(crawler, ways, job)))).await;
        part = probed.ok_or(Failure::Crowded)??;
    }
    if let Some(Part { sight, .. }) = &part
        && !sight.has_match
        && job.owner == Owner::Hearsay
    {
        // Its chain can be followed from now on, and whose it is need not be asked.
        crawler.metrics.repo_taken("unmatched");
        return Ok(Found::Unmatched(sight.commit.clone()));
    }
    let resolved = spent.on(Step::Identity, crawler.look_ups.resolve(&job.did, asker(job))).await;
    let Some(key) = signing_key(job, resolved)? else { return Ok(Found::Gone) };
    if job.kind == JobKind::Identity {
        return Ok(Found::Identity(key.to_did_key()));
    }
    let fetched = spent.on(Step::Waiting, long_fetches.run(Box::pin(fetch(crawler, ways, job, part)))).await;
    match fetched.ok_or(Failure::Crowded)?? {
        Fetched::Refused(found) => Ok(found),
        Fetched::Repo(way, car) => {
            spent.downloaded(car.downloaded_in, car.bytes.len());
            verified(crawler, ways, job, way, car, key, spent).await
        }
    }
}

enum Fetched {
    Repo(Way, RepoCar),
    Refused(Found),
}

/// What an archive has of a repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// All of it.
    Whole,
    /// What the filter's ranges need.
    Part,
}

/// Fetches the repo in part, where that is the lesser cost and it comes to its end, else whole.
async fn fetch(crawler: &Crawler, ways: &Ways, job: &RepoJob, part: Option<Part>) -> Result<Fetched, Failure> {
    if let Some(part) = part.filter(|part| ways.takes_part(job, &part.sight, Instant::now()))
        && let Some(archive) = get_record::complete(crawler, ways, job, part).await?
    {
        return Ok(Fetched::Repo(Way::Part, RepoCar::part(archive.into_bytes())));
    }
    let answer = crawler.client.get_repo(&job.host, &job.did).await;
    crawler.metrics.repo_call("getRepo", answer.as_ref().map_or(0, |car| car.bytes.len() as u64));
    match answer {
        Ok(car) => Ok(Fetched::Repo(Way::Whole, car)),
        Err(error) => refusal(&error).map(Fetched::Refused).ok_or(error.into()),
    }
}

fn asker(job: &RepoJob) -> Asker<'_> {
    Asker { host: &job.host, is_referred: job.is_referred, is_fresh: job.kind == JobKind::Identity }
}

/// What the host says of the account by refusing its repo.
pub(crate) fn refusal(error: &HostError) -> Option<Found> {
    Some(match error.repo_refusal()? {
        RepoRefusal::NotFound => Found::Gone,
        RepoRefusal::Deactivated => Found::Inactive(Status::Deactivated),
        RepoRefusal::Suspended => Found::Inactive(Status::Suspended),
        RepoRefusal::Takendown => Found::Inactive(Status::Takendown),
    })
}

/// The host does not list the account any more: what does it say of it? Old holds that lack the method are asked for the repo.
async fn ask_status(crawler: &Crawler, job: &RepoJob) -> Result<Found, Failure> {
    status_answer(crawler.client.get_repo_status(&job.host, &job.did).await)
}

/// What getRepoStatus leaves to be done.
pub(crate) enum StatusAsked {
    /// The account is active, at this rev.
    Active(Option<Rev>),
    /// The host does not know the method.
    NoMethod,
}

/// Reads the answer of getRepoStatus.
pub(crate) fn status_answer(answer: Result<RepoStatus, HostError>) -> Result<Found, Failure> {
    match answer {
        Ok(status) if status.active => Ok(Found::Status(StatusAsked::Active(status.rev))),
        Ok(status) => Ok(match Status::parse(status.status.as_deref().unwrap_or_default()) {
            Status::Deleted => Found::Gone,
            status => Found::Inactive(status),
        }),
        Err(error) => match refusal(&error) {
            Some(found) => Ok(found),
            None if error.is_answer() => Ok(Found::Status(StatusAsked::NoMethod)),
            None => Err(error.into()),
        },
    }
}

impl StatusAsked {
    pub(crate) fn write(&self, tx: &Tx, job: &RepoJob) -> TxResult<()> {
        match self {
            StatusAsked::Active(rev) => index::fetched_status(tx, job, rev.as_ref()),
            // Its host, and the repo with it, may be forgotten by now.
            StatusAsked::NoMethod if !tx.is_claimed(job)? => Ok(()),
            StatusAsked::NoMethod => {
                tx.queue_repo(job.host_id, job.repo_id, JobKind::Repo, Urgency::First)?;
                tx.finish_repo_job(job.job_id)
            }
        }
    }
}

/// The key that signs the repo, when its DID document names this host; None for a DID that is gone.
pub(crate) fn signing_key(
    job: &RepoJob,
    resolved: Result<Identity, IdentityError>,
) -> Result<Option<PublicKey>, Failure> {
    let Identity { pds, signing_key, .. } = match resolved {
        Ok(identity) => identity,
        Err(IdentityError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !pds.as_ref().is_some_and(|pds| pds.same_service(&job.host)) {
        return Err(Failure::NotAtThisHost(pds));
    }
    signing_key.map(Some).ok_or(Failure::NoSigningKey)
}

async fn verified(
    crawler: &Crawler,
    ways: &Ways,
    job: &RepoJob,
    way: Way,
    car: RepoCar,
    key: PublicKey,
    spent: &mut Spent,
) -> Result<Found, Failure> {
    let did_key = key.to_did_key();
    let rejected = |failure| rejected(crawler, failure);
    let mut car = spent.on(Step::Memory, make_room(crawler, way, car)).await.map_err(rejected)?;
    let verified = spent.on(Step::Verifying, verify(crawler, ways, job, way, &car.bytes, key)).await;
    let mut snapshot = verified.map_err(rejected)?;
    if way == Way::Whole {
        ways.note(job.host_id, car.bytes.len() as u64, snapshot.records().len() > 0 || snapshot.over_limit > 0);
    }
    crawler.metrics.repo_taken(if way == Way::Whole { "whole" } else { "part" });
    if let Some(release) = car.releaser() {
        snapshot.read_from_disk(release);
    }
    car.know_only(snapshot.kept_bytes());
    spent.records = snapshot.records().len();
    Ok(Found::Repo(Box::new(FoundRepo { snapshot, did_key, car })))
}

/// Waits for the memory that the verification takes, which the archive's lengths tell.
async fn make_room(crawler: &Crawler, way: Way, car: RepoCar) -> Result<RepoCar, Failure> {
    if way == Way::Whole {
        crawler.metrics.repo_fetched(if car.is_on_disk() { "disk" } else { "memory" });
    }
    let (bytes, keep) = (car.bytes.clone(), crawler.keep);
    let needed_bytes = work_on(car.bytes.len(), move || repo::memory_needed(&bytes, &keep)).await?;
    Ok(crawler.client.make_room(car, needed_bytes).await?)
}

fn rejected(crawler: &Crawler, failure: Failure) -> Failure {
    if let Failure::Repo(error) = &failure {
        crawler.metrics.repo_rejected(error.reason());
    }
    failure
}

/// Verifies a fetched repo. After a migration its head is still signed by an earlier key, until the first write: it is the account's own
/// when its tree was verified before, or when the PLC directory knows the key that signed it.
async fn verify(
    crawler: &Crawler,
    ways: &Ways,
    job: &RepoJob,
    way: Way,
    car: &Bytes,
    key: PublicKey,
) -> Result<Snapshot, Failure> {
    let refused = match open(crawler, ways, job, way, car.clone(), first_trust(job, key)).await {
        Err(error @ RepoError::Commit(CommitError::Signature(_))) => error,
        opened => return opened.map_err(Failure::from),
    };
    let trust = second_trust(refused, crawler.look_ups.earlier_keys(&job.did, asker(job)).await)?;
    open(crawler, ways, job, way, car.clone(), trust).await.map_err(Failure::from)
}

/// The current key, and the tree that was verified before.
pub(crate) fn first_trust(job: &RepoJob, key: PublicKey) -> Trust {
    let data = match job.owner {
        Owner::Hearsay => None,
        Owner::Known { data } => data,
    };
    Trust { keys: vec![key], data }
}

/// When the first trust refused the commit: the keys that the account had before, if there are any.
pub(crate) fn second_trust(
    refused: RepoError,
    earlier_keys: Result<Vec<PublicKey>, IdentityError>,
) -> Result<Trust, Failure> {
    match earlier_keys {
        Ok(keys) if keys.is_empty() => Err(refused.into()),
        Ok(keys) => Ok(Trust { keys, data: None }),
        Err(error) => Err(error.into()),
    }
}

async fn open(
    crawler: &Crawler,
    ways: &Ways,
    job: &RepoJob,
    way: Way,
    car: Bytes,
    trust: Trust,
) -> Result<Snapshot, RepoError> {
    let (did, filter, clock) = (job.did.clone(), crawler.store.filter().clone(), crawler.clock.clone());
    let (host_id, keep, size_bytes) = (job.host_id, crawler.keep, car.len());
    let ranges = if way == Way::Part { ways.ranges.clone() } else { Vec::new() };
    work_on(size_bytes, move || {
        let now_micros = clock.judging_micros();
        let opened = match way {
            Way::Whole => repo::open_repo(car, &did, &trust, now_micros, &filter, &keep),
            Way::Part => repo::open_sparse(car, &did, &trust, now_micros, &filter, &ranges, &keep),
        };
        note_clock(&clock, host_id, opened.as_ref().map(|snapshot| &snapshot.commit.rev));
        opened
    })
    .await
}

/// Runs at once what so many bytes make short; longer work goes where blocking harms nobody.
async fn work_on<T: Send + 'static>(size_bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if size_bytes <= SHORT_WORK_BYTES {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// A commit's rev is its host's vote on whether it is our clock that is wrong.
pub(crate) fn note_clock(clock: &Clock, host_id: HostId, opened: Result<&Rev, &RepoError>) {
    let rev = match opened {
        Ok(rev) => rev,
        Err(RepoError::Commit(CommitError::FutureRev(rev))) => rev,
        Err(_) => return,
    };
    clock.refuses(host_id.0, rev.timestamp_micros());
}
