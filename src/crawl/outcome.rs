//! How a repo's job ended: what was found, or why it failed, and what is written down for it.

use std::time::Duration;

use super::Ended;
use super::get_repo::StatusAsked;
use super::spent::Spent;
use crate::host::{HostError, RepoCar, full_jitter};
use crate::identity::{self, IdentityError};
use crate::index::{self, Replaced, Replacement};
use crate::metrics::{self, Metrics};
use crate::repo::{Commit, RepoError, Snapshot};
use crate::store::{RepoJob, Status, Tx, TxResult};
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

/// What was found, when nothing failed: not written down yet.
pub(crate) enum Found {
    /// The repo, verified.
    Repo(Box<FoundRepo>),
    /// Nothing in it matches: whose it is was not asked.
    Unmatched(Commit),
    /// The identity, with this key.
    Identity(String),
    /// What the host says of the account's status.
    Status(StatusAsked),
    /// The account is switched off.
    Inactive(Status),
    /// There is no such account, or no such DID.
    Gone,
}

/// A fetched repo.
pub(crate) struct FoundRepo {
    pub snapshot: Snapshot,
    /// Whoever signed it.
    pub did_key: String,
    /// Keeps its bytes and its memory.
    pub car: RepoCar,
}

/// What became of a job: to be counted once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// For the metric.
    pub outcome: &'static str,
    pub changed: Replacement,
}

/// A job that has ended, and is not written down yet.
pub(super) struct Settled {
    pub job: RepoJob,
    pub came: Result<Found, Failure>,
    pub spent: Spent,
}

/// A job that is written down.
pub(super) struct Noted {
    job: RepoJob,
    written: Written,
    spent: Spent,
}

impl Settled {
    /// How it ended, as far as the host's other jobs are concerned.
    pub fn ended(&self) -> Ended {
        self.came.as_ref().map_or_else(Failure::ended, |_| Ended::Answered)
    }

    /// What it keeps in memory, or mapped.
    pub fn size_bytes(&self) -> usize {
        match &self.came {
            Ok(Found::Repo(repo)) => repo.car.bytes.len(),
            _ => 0,
        }
    }

    /// Writes it down.
    pub fn write(self, tx: &Tx, retry_base: Duration) -> TxResult<Noted> {
        let Settled { job, came, spent } = self;
        let failure = match came {
            Ok(found) => match found.write(tx, &job)? {
                Ok(written) => return Ok(Noted { job, written, spent }),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        tracing::debug!(did = %job.did, host = %job.host, error = %failure, "the repo was not fetched");
        failure.write(tx, &job, full_jitter(job.attempts, retry_base, failure.retry_cap()))?;
        Ok(Noted { job, written: Written::of(failure.reason()), spent })
    }
}

impl Noted {
    /// Counts it, and tells of it if it was slow.
    pub fn tell(self, metrics: &Metrics, slow_after: Duration) {
        let Noted { job, written: Written { outcome, changed }, spent } = self;
        metrics.crawl_job(metrics::JobKind::Repo, outcome);
        metrics.records_written(changed.written);
        metrics.records_deleted(changed.deleted);
        metrics.records_skipped("undecodable", changed.skipped);
        metrics.records_skipped("indexed_uncanonical", changed.uncanonical);
        metrics.records_skipped("over_limit", changed.over_limit);
        spent.tell(&job, slow_after, outcome);
    }
}

impl Written {
    fn of(outcome: &'static str) -> Written {
        Written { outcome, ..Written::default() }
    }
}

impl Found {
    /// Writes it down, with the end of its job. The failure: the answer was stale, which is not written.
    pub(crate) fn write(self, tx: &Tx, job: &RepoJob) -> TxResult<Result<Written, Failure>> {
        Ok(Ok(match self {
            Found::Repo(repo) => return Ok(written(index::replace_repo(tx, job, &repo.snapshot, &repo.did_key)?)),
            Found::Unmatched(commit) => return Ok(written(index::take_unmatched(tx, job, &commit)?)),
            Found::Identity(did_key) => {
                index::identity_resolved(tx, job, &did_key)?;
                Written::of("identity_refreshed")
            }
            Found::Status(asked) => {
                asked.write(tx, job)?;
                Written::of("status_asked")
            }
            Found::Inactive(status) => {
                index::fetched_inactive(tx, job, status)?;
                Written::of("inactive")
            }
            Found::Gone => {
                let deleted = index::fetched_gone(tx, job)?;
                Written { outcome: "gone", changed: Replacement { deleted, ..Replacement::default() } }
            }
        }))
    }
}

fn written(replaced: Replaced) -> Result<Written, Failure> {
    match replaced {
        Replaced::Done(changed) => Ok(Written { outcome: "done", changed }),
        Replaced::Overtaken => Ok(Written::of("overtaken")),
        Replaced::NoRoom => Ok(Written::of("account_limit")),
        Replaced::Stale => Err(Failure::Stale),
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
            Failure::Identity(IdentityError::Budget { spent: identity::Spent::Host, retry_after }) => {
                Ended::Wait(*retry_after)
            }
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
