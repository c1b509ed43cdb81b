//! A repo's job: resolve the identity, require that it names this host, fetch (`com.atproto.sync.getRepo`), verify, replace. The other kinds
//! of job are the first steps of it alone.

use std::time::Duration;

use bytes::Bytes;

use super::long_fetches::LongFetches;
use super::{Crawler, Ended};
use crate::clock::Clock;
use crate::host::{HostError, RepoCar, RepoRefusal, RepoStatus, full_jitter};
use crate::identity::{Asker, Identity, IdentityError, Spent};
use crate::index::{self, Replaced};
use crate::metrics;
use crate::repo::commit::CommitError;
use crate::repo::{self, KeepLimits, PublicKey, RepoError, Snapshot, Trust};
use crate::store::{Durability, HostId, JobKind, RepoJob, Status, StoreError, Tx, TxResult, Urgency};
use crate::syntax::{CollectionFilter, Did, Host, Rev};

/// For what a moment may heal: the network, a host in trouble, a stale answer.
const RETRY_CAP: Duration = Duration::from_secs(3600);
/// For what its owner has to mend: a broken repo is not fetched whole every hour.
const BROKEN_RETRY_CAP: Duration = Duration::from_secs(12 * 3600);

/// A host that names an account of another is not believed again at once.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Why a repo could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
    #[error("repo: {0}")]
    Repo(#[from] RepoError),
    #[error("the DID document names {} as its PDS", .0.as_ref().map_or("no host", |host| host.as_str()))]
    NotAtThisHost(Option<Host>),
    #[error("the DID document has no usable #atproto signing key")]
    NoSigningKey,
    #[error("it takes long to come, and too many others do at this time")]
    Crowded,
    #[error("the host answered with an older rev than it showed before")]
    Stale,
}

/// What was found, when nothing failed.
pub(crate) enum Found {
    Replaced(index::Replacement),
    Refreshed,
    StatusAsked,
    Inactive(Status),
    Gone,
    Overtaken,
    NoRoom,
}

pub(super) async fn work(crawler: &Crawler, long_fetches: &LongFetches, job: RepoJob) -> Result<Ended, StoreError> {
    match attempt(crawler, long_fetches, &job).await? {
        Ok(found) => {
            crawler.metrics.crawl_job(metrics::JobKind::Repo, found.label());
            finish(crawler, &job, found).await?;
            crawler.store.note_reindexed().await?;
            Ok(Ended::Answered)
        }
        Err(failure) => {
            crawler.metrics.crawl_job(metrics::JobKind::Repo, failure.reason());
            tracing::debug!(did = %job.did, host = %job.host, error = %failure, "repo was not fetched");
            let ended = fail(crawler, job, failure).await?;
            crawler.store.note_reindexed().await?;
            Ok(ended)
        }
    }
}

async fn attempt(
    crawler: &Crawler,
    long_fetches: &LongFetches,
    job: &RepoJob,
) -> Result<Result<Found, Failure>, StoreError> {
    if job.kind == JobKind::Status {
        return ask_status(crawler, job).await;
    }
    let key = match signing_key(job, crawler.look_ups.resolve(&job.did, asker(job)).await) {
        Ok(Some(key)) => key,
        Ok(None) => return Ok(Ok(Found::Gone)),
        Err(failure) => return Ok(Err(failure)),
    };
    if job.kind == JobKind::Identity {
        let (job, did_key) = (job.clone(), key.to_did_key());
        crawler.store.write(Durability::Replayable, move |tx| index::identity_resolved(tx, &job, &did_key)).await?;
        return Ok(Ok(Found::Refreshed));
    }
    let car = match long_fetches.run(crawler.client.get_repo(&job.host, &job.did)).await {
        Some(Ok(car)) => car,
        Some(Err(error)) => return Ok(refusal(&error).ok_or(error.into())),
        None => return Ok(Err(Failure::Crowded)),
    };
    replace(crawler, job, car, key).await
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
async fn ask_status(crawler: &Crawler, job: &RepoJob) -> Result<Result<Found, Failure>, StoreError> {
    let asked = match status_answer(crawler.client.get_repo_status(&job.host, &job.did).await) {
        Ok(asked) => asked,
        Err(settled) => return Ok(settled),
    };
    let job = job.clone();
    crawler.store.write(Durability::Replayable, move |tx| asked.write(tx, &job)).await?;
    Ok(Ok(Found::StatusAsked))
}

/// What getRepoStatus leaves to be done.
pub(crate) enum StatusAsked {
    /// The account is active, at this rev.
    Active(Option<Rev>),
    /// The host does not know the method.
    NoMethod,
}

/// Reads the answer of getRepoStatus; an error is what settles the job by itself.
pub(crate) fn status_answer(answer: Result<RepoStatus, HostError>) -> Result<StatusAsked, Result<Found, Failure>> {
    match answer {
        Ok(status) if status.active => Ok(StatusAsked::Active(status.rev)),
        Ok(status) => Err(Ok(match Status::parse(status.status.as_deref().unwrap_or_default()) {
            Status::Deleted => Found::Gone,
            status => Found::Inactive(status),
        })),
        Err(error) => match refusal(&error) {
            Some(found) => Err(Ok(found)),
            None if error.is_answer() => Ok(StatusAsked::NoMethod),
            None => Err(Err(error.into())),
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

async fn replace(
    crawler: &Crawler,
    job: &RepoJob,
    car: RepoCar,
    key: PublicKey,
) -> Result<Result<Found, Failure>, StoreError> {
    let did_key = key.to_did_key();
    let mut car = match make_room(crawler, car).await {
        Ok(car) => car,
        Err(failure) => return Ok(Err(rejected(crawler, failure))),
    };
    let snapshot = match verify(crawler, job, &car.bytes, key).await? {
        Ok(snapshot) => snapshot,
        Err(failure) => return Ok(Err(rejected(crawler, failure))),
    };
    car.know_only(snapshot.kept_bytes());
    let claimed = job.clone();
    let replaced = crawler
        .store
        .write(Durability::Replayable, move |tx| {
            let replaced = index::replace_repo(tx, &claimed, &snapshot, &did_key);
            // The bytes go before others take their place.
            drop(snapshot);
            drop(car);
            replaced
        })
        .await?;
    Ok(match replaced {
        Replaced::Done(changed) => Ok(Found::Replaced(changed)),
        Replaced::Overtaken => Ok(Found::Overtaken),
        Replaced::NoRoom => Ok(Found::NoRoom),
        Replaced::Stale => Err(Failure::Stale),
    })
}

/// Waits for the memory that the verification takes, which the archive's lengths tell.
async fn make_room(crawler: &Crawler, car: RepoCar) -> Result<RepoCar, Failure> {
    crawler.metrics.repo_fetched(if car.is_on_disk() { "disk" } else { "memory" });
    let (bytes, keep) = (car.bytes.clone(), crawler.keep);
    let needed_bytes = blocking(move || repo::memory_needed(&bytes, &keep)).await?;
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
    job: &RepoJob,
    car: &Bytes,
    key: PublicKey,
) -> Result<Result<Snapshot, Failure>, StoreError> {
    let did = job.did.clone();
    let trust = crawler.store.read(move |tx| first_trust(tx, &did, key)).await?;
    let refused = match open(crawler, job, car.clone(), trust).await {
        Err(error @ RepoError::Commit(CommitError::Signature(_))) => error,
        opened => return Ok(opened.map_err(Failure::from)),
    };
    let trust = match second_trust(refused, crawler.look_ups.earlier_keys(&job.did, asker(job)).await) {
        Ok(trust) => trust,
        Err(failure) => return Ok(Err(failure)),
    };
    Ok(open(crawler, job, car.clone(), trust).await.map_err(Failure::from))
}

/// The current key, and the tree that was verified before; that of a repo without an identity is nobody's word.
pub(crate) fn first_trust(tx: &Tx, did: &Did, key: PublicKey) -> TxResult<Trust> {
    let data = tx.repo(did)?.filter(|repo| repo.has_key).and_then(|repo| repo.verified).map(|(_, data)| data);
    Ok(Trust { keys: vec![key], data })
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

async fn open(crawler: &Crawler, job: &RepoJob, car: Bytes, trust: Trust) -> Result<Snapshot, RepoError> {
    let (did, filter, clock) = (job.did.clone(), crawler.store.filter().clone(), crawler.clock.clone());
    let (host_id, keep) = (job.host_id, crawler.keep);
    blocking(move || open_noting_clock(car, &did, &trust, host_id, &filter, &keep, &clock)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Opens a repo; its rev is its host's vote on whether it is our clock that is wrong.
pub(crate) fn open_noting_clock(
    car: Bytes,
    did: &Did,
    trust: &Trust,
    host_id: HostId,
    filter: &CollectionFilter,
    keep: &KeepLimits,
    clock: &Clock,
) -> Result<Snapshot, RepoError> {
    let opened = repo::open_repo(car, did, trust, clock.judging_micros(), filter, keep);
    let rev = match &opened {
        Ok(snapshot) => Some(&snapshot.commit.rev),
        Err(RepoError::Commit(CommitError::FutureRev(rev))) => Some(rev),
        Err(_) => None,
    };
    if let Some(rev) = rev {
        clock.refuses(host_id.0, rev.timestamp_micros());
    }
    opened
}

async fn finish(crawler: &Crawler, job: &RepoJob, found: Found) -> Result<(), StoreError> {
    let job = job.clone();
    match found {
        Found::Replaced(changed) => {
            crawler.metrics.records_written(changed.written);
            crawler.metrics.records_deleted(changed.deleted);
            crawler.metrics.records_skipped("undecodable", changed.skipped);
            crawler.metrics.records_skipped("indexed_uncanonical", changed.uncanonical);
            crawler.metrics.records_skipped("over_limit", changed.over_limit);
            Ok(())
        }
        Found::Refreshed | Found::StatusAsked | Found::Overtaken | Found::NoRoom => Ok(()),
        Found::Gone => {
            let deleted = crawler.store.write(Durability::Replayable, move |tx| index::fetched_gone(tx, &job)).await?;
            crawler.metrics.records_deleted(deleted);
            Ok(())
        }
        Found::Inactive(status) => {
            crawler.store.write(Durability::Replayable, move |tx| index::fetched_inactive(tx, &job, status)).await
        }
    }
}

async fn fail(crawler: &Crawler, job: RepoJob, failure: Failure) -> Result<Ended, StoreError> {
    let ended = failure.ended();
    let retry_in = full_jitter(job.attempts, crawler.timing.retry_base, failure.retry_cap());
    crawler.store.write(Durability::Replayable, move |tx| failure.write(tx, &job, retry_in)).await?;
    Ok(ended)
}

impl Found {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Found::Replaced(_) => "done",
            Found::Refreshed => "identity_refreshed",
            Found::StatusAsked => "status_asked",
            Found::Inactive(_) => "inactive",
            Found::Gone => "gone",
            Found::Overtaken => "overtaken",
            Found::NoRoom => "account_limit",
        }
    }
}

impl Failure {
    fn reason(&self) -> &'static str {
        match self {
            Failure::Host(error) => error.reason(),
            Failure::Identity(error) => error.reason(),
            Failure::Repo(error) => error.reason(),
            Failure::NotAtThisHost(_) => "not_at_this_host",
            Failure::NoSigningKey => "no_signing_key",
            Failure::Crowded => "crowded",
            Failure::Stale => "stale",
        }
    }

    /// How long the host, or whoever serves the DID document, wants or ought to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Host(error) | Failure::Identity(IdentityError::Fetch(error)) => error.retry_after(),
            Failure::Identity(IdentityError::Budget { retry_after, .. }) => Some(*retry_after),
            _ => None,
        }
    }

    /// Writes it down, with the time until the next attempt.
    pub(crate) fn write(&self, tx: &Tx, job: &RepoJob, retry_in: Duration) -> TxResult<()> {
        let words = self.to_string();
        if let Some(wait) = self.retry_after() {
            return tx.postpone_job(job.job_id, &words, wait);
        }
        if self.ended() == Ended::Unreachable {
            tx.give_up_reindex(job.host_id)?;
        }
        let is_another_hosts = match self {
            Failure::NotAtThisHost(named) => index::not_at_this_host(tx, job, named.as_ref())?,
            _ => false,
        };
        let least = if is_another_hosts { REFUSED_FOR } else { Duration::ZERO };
        tx.fail_job(job.job_id, &words, least + retry_in)
    }

    /// Only the host itself can pause its other jobs: a DID document may come from anywhere. One whose look-ups wait does so.
    pub(crate) fn ended(&self) -> Ended {
        match self {
            Failure::Host(error) => match error.retry_after() {
                Some(wait) => Ended::Wait(wait),
                None if error.is_answer() => Ended::Answered,
                None => Ended::Unreachable,
            },
            Failure::Identity(IdentityError::Budget { spent: Spent::Host, retry_after }) => Ended::Wait(*retry_after),
            _ => Ended::Answered,
        }
    }

    fn retry_cap(&self) -> Duration {
        match self {
            Failure::Host(HostError::TooLarge { .. })
            | Failure::Repo(_)
            | Failure::NotAtThisHost(_)
            | Failure::NoSigningKey => BROKEN_RETRY_CAP,
            Failure::Host(_) | Failure::Identity(_) | Failure::Crowded | Failure::Stale => RETRY_CAP,
        }
    }
}
