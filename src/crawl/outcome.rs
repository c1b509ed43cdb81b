//! How a repo's job ended: what was found, or why it failed, and what is written down for it.

use std::time::Duration;

use super::{Crawler, Ended};
use crate::host::{HostError, full_jitter};
use crate::identity::{IdentityError, Spent};
use crate::index;
use crate::repo::RepoError;
use crate::store::{Durability, RepoJob, Status, StoreError, Tx, TxResult};
use crate::syntax::Host;

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

pub(super) async fn finish(crawler: &Crawler, job: &RepoJob, found: Found) -> Result<(), StoreError> {
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

pub(super) async fn fail(crawler: &Crawler, job: RepoJob, failure: Failure) -> Result<Ended, StoreError> {
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
    pub(super) fn reason(&self) -> &'static str {
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
