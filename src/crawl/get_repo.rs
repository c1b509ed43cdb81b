//! A repo's job: resolve the identity, require that it names this host, fetch (`com.atproto.sync.getRepo`), verify, replace.

use std::time::Duration;

use super::{Crawler, Ended};
use crate::host::{HostError, RepoCar, RepoRefusal, full_jitter};
use crate::identity::{Identity, IdentityError};
use crate::index::{self, Replaced};
use crate::metrics;
use crate::repo::{self, PublicKey, RepoError};
use crate::store::{Durability, JobKind, RepoJob, Status, StoreError, unix_millis};
use crate::syntax::Host;

/// For what a moment may heal: the network, a host in trouble, a stale answer.
const RETRY_CAP: Duration = Duration::from_secs(3600);
/// For what its owner has to mend: a broken repo is not fetched whole every hour.
const BROKEN_RETRY_CAP: Duration = Duration::from_secs(12 * 3600);

/// Why a repo could not be fetched.
#[derive(Debug, thiserror::Error)]
enum Failure {
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
    #[error("the host answered with an older rev than it showed before")]
    Stale,
}

/// What was found, when nothing failed.
enum Found {
    Replaced(index::Replacement),
    Refreshed,
    Inactive(Status),
    Gone,
    Overtaken,
}

pub(super) async fn work(crawler: &Crawler, job: RepoJob) -> Result<Ended, StoreError> {
    match attempt(crawler, &job).await? {
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

async fn attempt(crawler: &Crawler, job: &RepoJob) -> Result<Result<Found, Failure>, StoreError> {
    let key = match signing_key(crawler, job).await {
        Ok(Some(key)) => key,
        Ok(None) => return Ok(Ok(Found::Gone)),
        Err(failure) => return Ok(Err(failure)),
    };
    if job.kind == JobKind::Identity {
        let (job, did_key) = (job.clone(), key.to_did_key());
        crawler.store.write(Durability::Replayable, move |tx| index::identity_resolved(tx, &job, &did_key)).await?;
        return Ok(Ok(Found::Refreshed));
    }
    let car = match crawler.client.get_repo(&job.host, &job.did).await {
        Ok(car) => car,
        Err(error) => {
            return Ok(match error.repo_refusal() {
                Some(RepoRefusal::NotFound) => Ok(Found::Gone),
                Some(RepoRefusal::Deactivated) => Ok(Found::Inactive(Status::Deactivated)),
                Some(RepoRefusal::Suspended) => Ok(Found::Inactive(Status::Suspended)),
                Some(RepoRefusal::Takendown) => Ok(Found::Inactive(Status::Takendown)),
                None => Err(error.into()),
            });
        }
    };
    replace(crawler, job, car, key).await
}

/// The key that signs the repo, when its DID document names this host; None for a DID that is gone.
async fn signing_key(crawler: &Crawler, job: &RepoJob) -> Result<Option<PublicKey>, Failure> {
    let Identity { pds, signing_key, .. } = match crawler.resolver.resolve(&job.did).await {
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
    let (did, filter, did_key) = (job.did.clone(), crawler.store.filter().clone(), key.to_did_key());
    let now_micros = unix_millis().unsigned_abs() * 1000;
    let verified = tokio::task::spawn_blocking(move || {
        let RepoCar { bytes, large: permit } = car;
        let snapshot = repo::open_repo(bytes.into(), &did, &key, now_micros, &filter)?;
        Ok::<_, RepoError>((snapshot, permit))
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let (snapshot, permit) = match verified {
        Ok(verified) => verified,
        Err(error) => {
            crawler.metrics.repo_rejected(error.reason());
            return Ok(Err(error.into()));
        }
    };
    let claimed = job.clone();
    let replaced = crawler
        .store
        .write(Durability::Replayable, move |tx| {
            let replaced = index::replace_repo(tx, &claimed, &snapshot, &did_key);
            // The bytes go before the next large repo is let in.
            drop((snapshot, permit));
            replaced
        })
        .await?;
    Ok(match replaced {
        Replaced::Done(changed) => Ok(Found::Replaced(changed)),
        Replaced::Overtaken => Ok(Found::Overtaken),
        Replaced::Stale => Err(Failure::Stale),
    })
}

async fn finish(crawler: &Crawler, job: &RepoJob, found: Found) -> Result<(), StoreError> {
    let job = job.clone();
    match found {
        Found::Replaced(changed) => {
            crawler.metrics.records_written(changed.written);
            crawler.metrics.records_deleted(changed.deleted);
            crawler.metrics.records_skipped("undecodable", changed.skipped);
            crawler.metrics.records_skipped("indexed_uncanonical", changed.uncanonical);
            Ok(())
        }
        Found::Refreshed | Found::Overtaken => Ok(()),
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
    let words = failure.to_string();
    let ended = failure.ended();
    let asked_to_wait = failure.retry_after();
    let retry_in = full_jitter(job.attempts, crawler.timing.retry_base, failure.retry_cap());
    crawler
        .store
        .write(Durability::Replayable, move |tx| {
            if let Some(wait) = asked_to_wait {
                return tx.postpone_job(job.job_id, &words, wait);
            }
            if ended == Ended::Unreachable {
                tx.give_up_reindex(job.host_id)?;
            }
            if let Failure::NotAtThisHost(named) = &failure
                && index::not_at_this_host(tx, &job, named.as_ref())?
            {
                return Ok(());
            }
            tx.fail_job(job.job_id, &words, retry_in)
        })
        .await?;
    Ok(ended)
}

impl Found {
    fn label(&self) -> &'static str {
        match self {
            Found::Replaced(_) => "done",
            Found::Refreshed => "identity_refreshed",
            Found::Inactive(_) => "inactive",
            Found::Gone => "gone",
            Found::Overtaken => "overtaken",
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
            Failure::Stale => "stale",
        }
    }

    /// How long the host, or whoever serves the DID document, wants to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Host(error) | Failure::Identity(IdentityError::Fetch(error)) => error.retry_after(),
            _ => None,
        }
    }

    /// Only the host itself can pause its other jobs: a DID document may come from anywhere.
    fn ended(&self) -> Ended {
        match self {
            Failure::Host(error) => match error.retry_after() {
                Some(wait) => Ended::Wait(wait),
                None if error.is_answer() => Ended::Answered,
                None => Ended::Unreachable,
            },
            _ => Ended::Answered,
        }
    }

    fn retry_cap(&self) -> Duration {
        match self {
            Failure::Repo(_) | Failure::NotAtThisHost(_) | Failure::NoSigningKey => BROKEN_RETRY_CAP,
            Failure::Host(_) | Failure::Identity(_) | Failure::Stale => RETRY_CAP,
        }
    }
}
