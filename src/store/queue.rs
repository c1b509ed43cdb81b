//! `crawl_queue`: what is to be done, by whom it is being done, and when it is tried again.
//! What is asked at every turn of the crawl names its index: left to itself, SQLite goes through all that is pending instead.

use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{OptionalExtension, named_params};

use super::hosts::read_host;
use super::{HostId, JobId, RepoId, Signal, Tx, TxResult};
use crate::repo::DagCid;
use crate::syntax::{Did, Host};

/// How long a claim holds without being renewed.
const LEASE_MS: i64 = 120_000;
/// Each costs a look-up, and a row for as long as it is refused.
const CLAIMS_PER_HOST: i64 = 10_000;
const REFERRALS_PER_HOST: i64 = 1000;
/// Values of `claim`: who named the host for an account that is another's.
const CLAIMED: i64 = 1;
const REFERRED: i64 = 2;

/// What a repo's job is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Resolve the identity, fetch the repo, replace what is indexed.
    Repo,
    /// Resolve the identity only.
    Identity,
    /// Ask for the account's status: its host does not list it any more.
    Status,
}

/// Where in its host's share a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Behind what waits already: a backfill.
    InTurn,
    /// At the head: what is listed may be wrong.
    First,
    /// After ten seconds: something else is about to settle it.
    Later,
}

/// A claimed host: probe it, then list its repos.
#[derive(Debug, Clone)]
pub struct HostJob {
    /// The claim.
    pub job_id: JobId,
    /// Whom.
    pub host_id: HostId,
    /// Where.
    pub host: Host,
    /// Claims so far, this one included.
    pub attempts: u32,
}

/// A claimed repo.
#[derive(Debug, Clone)]
pub struct RepoJob {
    /// The claim.
    pub job_id: JobId,
    /// From whom.
    pub host_id: HostId,
    /// Where.
    pub host: Host,
    /// Whose repo.
    pub repo_id: RepoId,
    /// Whose repo.
    pub did: Did,
    /// What to do.
    pub kind: JobKind,
    /// Claims so far, this one included.
    pub attempts: u32,
    /// Whether it was the DID document that named the host, and not the host the account.
    pub is_referred: bool,
    /// What the row of the repo said when it was claimed.
    pub owner: Owner,
}

/// What is known of whose a repo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nothing: it is listed by the job's host alone, nothing of it is indexed, and its DID was never resolved.
    Hearsay,
    /// Its DID was resolved, or another host has it or claims it.
    Known {
        /// Data CID of the commit that was verified last.
        data: Option<DagCid>,
    },
}

/// Which hosts have repo jobs that are due.
#[derive(Debug, Default)]
pub struct Due {
    /// With the time of the latest requestCrawl that woke them (Unix milliseconds).
    pub hosts: Vec<(HostId, i64)>,
    /// The earliest time at which anything else becomes due (Unix milliseconds).
    pub next_at: Option<i64>,
}

impl ToSql for JobKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            JobKind::Repo => "repo",
            JobKind::Identity => "identity",
            JobKind::Status => "status",
        }))
    }
}

impl Tx<'_> {
    /// Queues the probe and listing of a host that has no row yet.
    pub(super) fn queue_host(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "INSERT INTO crawl_queue (host_id, kind, status, next_attempt_at, created_at)
                 VALUES (:host, 'host', 'pending', :now, :now) ON CONFLICT DO NOTHING",
            )?
            .execute(named_params! {":host": host_id.0, ":now": self.now})?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// Lists a host's repos once more from the first page, to compare them with what is indexed.
    pub fn relist_host(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET page_cursor = NULL,
                     again = CASE status WHEN 'in_progress' THEN 'host' END,
                     next_attempt_at = CASE status WHEN 'subscribed' THEN 0 ELSE next_attempt_at END,
                     status = CASE status WHEN 'subscribed' THEN 'pending' ELSE status END
                 WHERE host_id = :host AND repo_id IS NULL",
            )?
            .execute(named_params! {":host": host_id.0})?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// Queues work on a repo. One job per repo and host: a fetch takes over from an identity refresh, and what is asked for while a
    /// job is in progress is done once more after it.
    pub fn queue_repo(&self, host_id: HostId, repo: RepoId, kind: JobKind, urgency: Urgency) -> TxResult<()> {
        let due_at = match urgency {
            Urgency::First => 0,
            Urgency::InTurn => self.now,
            Urgency::Later => self.now + 10_000,
        };
        self.db
            .prepare_cached(
                "INSERT INTO crawl_queue (host_id, repo_id, kind, status, next_attempt_at, created_at, claim)
                 VALUES (:host, :repo, :kind, 'pending', :due, :now,
                     (SELECT host_id <> :host FROM repos WHERE repo_id = :repo))
                 ON CONFLICT (repo_id, host_id) WHERE repo_id IS NOT NULL DO UPDATE SET
                     again = CASE WHEN status <> 'in_progress' THEN NULL WHEN again = 'repo' THEN 'repo' ELSE :kind END,
                     kind = CASE WHEN status = 'in_progress' THEN kind
                                 WHEN :kind = 'repo' OR (status = 'failed' AND :kind = 'status') THEN :kind ELSE kind END,
                     next_attempt_at = CASE status WHEN 'pending' THEN min(next_attempt_at, :due) ELSE next_attempt_at END",
            )?
            .execute(named_params! {
                ":host": host_id.0, ":repo": repo.0, ":kind": kind, ":due": due_at, ":now": self.now,
            })?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// Whether the repo is being fetched from a host at this moment.
    pub fn is_being_fetched(&self, repo: RepoId, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM crawl_queue
                                WHERE repo_id = :repo AND host_id = :host AND kind = 'repo' AND status = 'in_progress')",
            )?
            .query_row(named_params! {":repo": repo.0, ":host": host_id.0}, |row| row.get(0))
    }

    /// Claims up to `limit` hosts that are due.
    pub fn claim_host_jobs(&self, limit: usize) -> TxResult<Vec<HostJob>> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET status = 'in_progress', attempts = attempts + 1, lease_expires_at = :lease, again = NULL
                 WHERE job_id IN (
                     SELECT job_id FROM crawl_queue INDEXED BY crawl_queue_due_hosts
                     WHERE repo_id IS NULL AND status IN ('pending', 'failed', 'subscribed') AND next_attempt_at <= :now
                       AND host_id NOT IN (SELECT host_id FROM hosts WHERE blocked <> 0)
                     ORDER BY next_attempt_at LIMIT :limit)
                 RETURNING job_id, host_id, attempts,
                     (SELECT hostname FROM hosts h WHERE h.host_id = crawl_queue.host_id),
                     (SELECT scheme FROM hosts h WHERE h.host_id = crawl_queue.host_id)",
            )?
            .query_map(
                named_params! {":lease": self.now + LEASE_MS, ":now": self.now, ":limit": limit as i64},
                |row| {
                    Ok(HostJob {
                        job_id: JobId(row.get(0)?),
                        host_id: HostId(row.get(1)?),
                        attempts: row.get(2)?,
                        host: read_host(row, 3)?,
                    })
                },
            )?
            .collect()
    }

    /// Claims up to `limit` repos of one host that are due.
    pub fn claim_repo_jobs(&self, host_id: HostId, limit: usize) -> TxResult<Vec<RepoJob>> {
        let Some(host) = self.known_host_by_id(host_id)? else { return Ok(Vec::new()) };
        if !self.is_open(host_id)? {
            return Ok(Vec::new());
        }
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET status = 'in_progress', attempts = attempts + 1, lease_expires_at = :lease, again = NULL
                 WHERE job_id IN (
                     SELECT job_id FROM crawl_queue INDEXED BY crawl_queue_due_repos
                     WHERE host_id = :host AND repo_id IS NOT NULL AND status IN ('pending', 'failed')
                       AND next_attempt_at <= :now
                     ORDER BY next_attempt_at LIMIT :limit)
                 RETURNING job_id, repo_id, kind, attempts, (SELECT did FROM repos r WHERE r.repo_id = crawl_queue.repo_id), claim,
                     (SELECT data FROM repos r WHERE r.repo_id = crawl_queue.repo_id),
                     EXISTS (SELECT 1 FROM identities i WHERE i.repo_id = crawl_queue.repo_id)",
            )?
            .query_map(
                named_params! {
                    ":lease": self.now + LEASE_MS, ":host": host_id.0, ":now": self.now, ":limit": limit as i64,
                },
                |row| {
                    let (kind, did, claim): (String, String, i64) = (row.get(2)?, row.get(4)?, row.get(5)?);
                    let (data, has_identity): (Option<DagCid>, bool) = (row.get(6)?, row.get(7)?);
                    Ok(RepoJob {
                        job_id: JobId(row.get(0)?),
                        host_id,
                        host: host.clone(),
                        repo_id: RepoId(row.get(1)?),
                        did: Did::parse(&did).map_err(|error| {
                            let kind = rusqlite::types::Type::Text;
                            rusqlite::Error::FromSqlConversionFailure(4, kind, Box::new(error))
                        })?,
                        kind: match kind.as_str() {
                            "identity" => JobKind::Identity,
                            "status" => JobKind::Status,
                            _ => JobKind::Repo,
                        },
                        attempts: row.get(3)?,
                        is_referred: claim == REFERRED,
                        owner: match claim {
                            0 if !has_identity => Owner::Hearsay,
                            _ => Owner::Known { data: data.filter(|_| has_identity) },
                        },
                    })
                },
            )?
            .collect()
    }

    /// Which hosts have repo jobs that are due, by host; a seek or two per host, however many jobs they have.
    pub fn due_repo_jobs(&self) -> TxResult<Due> {
        let mut due = Due::default();
        let mut statement = self.db.prepare_cached(
            "WITH RECURSIVE with_jobs (host_id) AS (
                 SELECT min(host_id) FROM crawl_queue INDEXED BY crawl_queue_due_repos
                 WHERE repo_id IS NOT NULL AND status IN ('pending', 'failed')
                 UNION ALL
                 SELECT (SELECT min(q.host_id) FROM crawl_queue q INDEXED BY crawl_queue_due_repos
                         WHERE q.repo_id IS NOT NULL AND q.status IN ('pending', 'failed') AND q.host_id > w.host_id)
                 FROM with_jobs w WHERE w.host_id IS NOT NULL)
             SELECT w.host_id, h.woken_at,
                 (SELECT min(q.next_attempt_at) FROM crawl_queue q INDEXED BY crawl_queue_due_repos
                  WHERE q.repo_id IS NOT NULL AND q.status IN ('pending', 'failed') AND q.host_id = w.host_id)
             FROM with_jobs w JOIN hosts h ON h.host_id = w.host_id WHERE h.blocked = 0",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let due_at: i64 = row.get(2)?;
            if due_at <= self.now {
                due.hosts.push((HostId(row.get(0)?), row.get(1)?));
            } else {
                due.next_at = Some(due.next_at.map_or(due_at, |at| at.min(due_at)));
            }
        }
        Ok(due)
    }

    /// When the next host job becomes due (Unix milliseconds).
    pub fn next_host_job_at(&self) -> TxResult<Option<i64>> {
        self.db
            .prepare_cached(
                "SELECT min(next_attempt_at) FROM crawl_queue INDEXED BY crawl_queue_due_hosts
                 WHERE repo_id IS NULL AND status IN ('pending', 'failed', 'subscribed')
                   AND host_id NOT IN (SELECT host_id FROM hosts WHERE blocked <> 0)",
            )?
            .query_row([], |row| row.get(0))
    }

    /// Keeps the claims of jobs that are still being worked on, and gives back those whose lease ran out.
    pub fn renew_leases(&self, running: &[JobId]) -> TxResult<()> {
        let mut renew =
            self.db.prepare_cached("UPDATE crawl_queue SET lease_expires_at = :lease WHERE job_id = :job")?;
        for job in running {
            renew.execute(named_params! {":lease": self.now + LEASE_MS, ":job": job.0})?;
        }
        let returned = self
            .db
            .prepare_cached(
                "UPDATE crawl_queue SET status = 'pending', lease_expires_at = NULL, next_attempt_at = :now
                 WHERE status = 'in_progress' AND lease_expires_at < :now",
            )?
            .execute(named_params! {":now": self.now})?;
        if returned > 0 {
            self.raise(Signal::Crawl);
        }
        Ok(())
    }

    /// Gives claims back that nobody has begun to work on.
    pub fn give_back(&self, jobs: &[JobId]) -> TxResult<()> {
        let mut give_back = self.db.prepare_cached(
            "UPDATE crawl_queue SET status = 'pending', lease_expires_at = NULL, attempts = max(attempts - 1, 0),
                 kind = CASE WHEN again = 'repo' THEN 'repo' ELSE kind END, again = NULL
             WHERE job_id = :job AND status = 'in_progress'",
        )?;
        for job in jobs {
            give_back.execute(named_params! {":job": job.0})?;
        }
        Ok(())
    }

    /// Takes the claims on a host's jobs back: who works on them finds that they are not claimed any more.
    pub(super) fn release_claims(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET status = 'pending', lease_expires_at = NULL,
                     kind = CASE WHEN again = 'repo' THEN 'repo' ELSE kind END, again = NULL
                 WHERE host_id = :host AND status = 'in_progress'",
            )?
            .execute(named_params! {":host": host_id.0})?;
        Ok(())
    }

    /// Where the listing of a host goes on.
    pub fn page_cursor(&self, job: JobId) -> TxResult<Option<String>> {
        let row = self
            .db
            .prepare_cached("SELECT page_cursor FROM crawl_queue WHERE job_id = :job")?
            .query_row(named_params! {":job": job.0}, |row| row.get(0))
            .optional()?;
        Ok(row.flatten())
    }

    /// Saves where the listing goes on; to be called in the transaction that holds the page's repos and jobs.
    pub fn set_page_cursor(&self, job: JobId, page_cursor: Option<&str>) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE crawl_queue SET page_cursor = :cursor WHERE job_id = :job")?
            .execute(named_params! {":cursor": page_cursor, ":job": job.0})?;
        Ok(())
    }

    /// All repos of the host are listed: it is subscribed and compared again after a time, or listed again at once if that was asked
    /// for meanwhile.
    pub fn finish_host_job(&self, job: JobId, compare_in: Duration) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET status = CASE WHEN again IS NULL THEN 'subscribed' ELSE 'pending' END,
                     next_attempt_at = CASE WHEN again IS NULL THEN :later ELSE :now END,
                     attempts = 0, lease_expires_at = NULL, again = NULL, page_cursor = NULL, last_error = NULL
                 WHERE job_id = :job",
            )?
            .execute(named_params! {":job": job.0, ":now": self.now, ":later": self.later(compare_in)})?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// The repo's work is done: its row goes, or begins once more if that was asked for meanwhile.
    pub fn finish_repo_job(&self, job: JobId) -> TxResult<()> {
        let repeated = self
            .db
            .prepare_cached(
                "UPDATE crawl_queue SET kind = again, status = 'pending', attempts = 0, next_attempt_at = 0,
                     lease_expires_at = NULL, again = NULL, reindex = 0, last_error = NULL
                 WHERE job_id = :job AND again IS NOT NULL",
            )?
            .execute(named_params! {":job": job.0})?;
        if repeated > 0 {
            self.raise(Signal::Crawl);
            return Ok(());
        }
        self.drop_job(job)
    }

    /// Takes a job off the queue; events that were held for it can be applied or dropped now.
    pub fn drop_job(&self, job: JobId) -> TxResult<()> {
        self.db
            .prepare_cached("DELETE FROM crawl_queue WHERE job_id = :job")?
            .execute(named_params! {":job": job.0})?;
        if self.state.held_bytes.get() > 0 {
            self.raise(Signal::Held);
        }
        Ok(())
    }

    /// Takes the job that a host has for a repo off the queue.
    pub fn drop_job_of(&self, repo: RepoId, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached("DELETE FROM crawl_queue WHERE repo_id = :repo AND host_id = :host")?
            .execute(named_params! {":repo": repo.0, ":host": host_id.0})?;
        Ok(())
    }

    /// Whether a host has a job for a repo.
    pub fn has_job(&self, repo: RepoId, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM crawl_queue WHERE repo_id = :repo AND host_id = :host)")?
            .query_row(named_params! {":repo": repo.0, ":host": host_id.0}, |row| row.get(0))
    }

    /// A DID document names a host as its account's: the host is asked, though it said nothing of it itself. What comes of that is
    /// on nobody's account, so that no document can spend what the host has; past a bound the host has to name the account.
    pub fn refer_repo(&self, named: HostId, repo: RepoId) -> TxResult<()> {
        let is_new = !self.has_job(repo, named)?;
        if is_new && self.claims(named, REFERRED, REFERRALS_PER_HOST)? >= REFERRALS_PER_HOST {
            return Ok(());
        }
        self.queue_repo(named, repo, JobKind::Repo, Urgency::First)?;
        if is_new {
            self.db
                .prepare_cached(
                    "UPDATE crawl_queue SET claim = :referred WHERE repo_id = :repo AND host_id = :host AND claim = 1",
                )?
                .execute(named_params! {":referred": REFERRED, ":repo": repo.0, ":host": named.0})?;
        }
        Ok(())
    }

    /// How many more accounts of other hosts a host may claim before some of its claims are settled. One that is refused stays for a
    /// while, so that it is not believed again at once.
    pub fn claims_left(&self, host_id: HostId) -> TxResult<i64> {
        Ok(CLAIMS_PER_HOST - self.claims(host_id, CLAIMED, CLAIMS_PER_HOST)?)
    }

    /// Counts a host's jobs of this kind of claim, up to `most`.
    fn claims(&self, host_id: HostId, claim: i64, most: i64) -> TxResult<i64> {
        self.db
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM crawl_queue
                 WHERE host_id = :host AND claim = :claim AND claim > 0 LIMIT :most)",
            )?
            .query_row(named_params! {":host": host_id.0, ":claim": claim, ":most": most}, |row| row.get(0))
    }

    /// Whether another host has had work on a repo for a minute at most, and it did not fail: it may be its host by now.
    pub fn is_claimed_elsewhere(&self, repo: RepoId, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM crawl_queue
                 WHERE repo_id = :repo AND host_id <> :host AND status IN ('pending', 'in_progress') AND created_at > :since)",
            )?
            .query_row(
                named_params! {":repo": repo.0, ":host": host_id.0, ":since": self.now - 60_000},
                |row| row.get(0),
            )
    }

    /// Whether a host's claim on a repo failed and is not tried again yet.
    pub fn is_refused(&self, repo: RepoId, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM crawl_queue
                 WHERE repo_id = :repo AND host_id = :host AND status = 'failed' AND next_attempt_at > :now)",
            )?
            .query_row(named_params! {":repo": repo.0, ":host": host_id.0, ":now": self.now}, |row| row.get(0))
    }

    /// Whether the claim still stands: an account that was deleted or switched off meanwhile has no job any more.
    pub fn is_claimed(&self, job: &RepoJob) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM crawl_queue
                 WHERE job_id = :job AND repo_id = :repo AND host_id = :host AND status = 'in_progress')",
            )?
            .query_row(named_params! {":job": job.job_id.0, ":repo": job.repo_id.0, ":host": job.host_id.0}, |row| {
                row.get(0)
            })
    }

    /// The job failed and is tried again later.
    pub fn fail_job(&self, job: JobId, error: &str, retry_in: Duration) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET status = 'failed', lease_expires_at = NULL, last_error = :error, reindex = 0,
                     next_attempt_at = :at, kind = CASE WHEN again = 'repo' THEN 'repo' ELSE kind END, again = NULL
                 WHERE job_id = :job",
            )?
            .execute(named_params! {":error": error, ":at": self.later(retry_in), ":job": job.0})?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// The job could not be tried: the host asked to wait. Not counted as an attempt.
    pub fn postpone_job(&self, job: JobId, reason: &str, retry_in: Duration) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET status = 'pending', lease_expires_at = NULL, last_error = :reason,
                     attempts = max(attempts - 1, 0), next_attempt_at = :at,
                     kind = CASE WHEN again = 'repo' THEN 'repo' ELSE kind END, again = NULL
                 WHERE job_id = :job",
            )?
            .execute(named_params! {":reason": reason, ":at": self.later(retry_in), ":job": job.0})?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// What stood in the way of a repo's job is gone: if it failed, it is due now.
    pub fn retry_now(&self, repo: RepoId, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET next_attempt_at = 0 WHERE repo_id = :repo AND host_id = :host AND status = 'failed'",
            )?
            .execute(named_params! {":repo": repo.0, ":host": host_id.0})?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// A host that asked to be crawled again: what failed is due now.
    pub(super) fn wake_failed_jobs(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE crawl_queue SET next_attempt_at = :now
                 WHERE host_id = :host AND status = 'failed' AND next_attempt_at > :now",
            )?
            .execute(named_params! {":host": host_id.0, ":now": self.now})?;
        self.raise(Signal::Crawl);
        Ok(())
    }

    /// The host cannot be reached: its repos count as tried for a wider filter, else a dead host would hold up the whole index.
    pub fn give_up_reindex(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE crawl_queue SET reindex = 0 WHERE host_id = :host AND reindex = 1")?
            .execute(named_params! {":host": host_id.0})?;
        Ok(())
    }

    fn later(&self, wait: Duration) -> i64 {
        self.now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
    }
}
