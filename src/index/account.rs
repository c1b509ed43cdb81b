//! Accounts: status, deletion, identity, and which host they live on.

use crate::store::{HostId, JobKind, RepoId, RepoJob, RepoState, Status, Tx, TxResult, Urgency};
use crate::syntax::Host;

/// What the account's own host says of it. Back from inactive, it is fetched again: nobody said what happened meanwhile. A job of
/// another host stays: the account may have moved there, and this be the old host's last word.
pub(super) fn account_status(tx: &Tx, repo: &RepoState, active: bool, status: Option<Status>) -> TxResult<()> {
    tx.set_repo_status(repo.id, active, status)?;
    if !active {
        return drop_work(tx, repo.id, repo.host_id);
    }
    if !repo.active || (repo.verified.is_none() && !repo.busy) {
        tx.queue_repo(repo.host_id, repo.id, JobKind::Repo, Urgency::First)?;
    }
    Ok(())
}

/// Its own host says that the account is deleted: its rows go, its DID stays known as deleted. Answers how many records went.
pub(super) fn account_gone(tx: &Tx, repo: &RepoState) -> TxResult<u64> {
    let deleted = tx.delete_records_of(repo.id)?;
    tx.forget_repo_commit(repo.id)?;
    tx.set_repo_status(repo.id, false, Some(Status::Deleted))?;
    drop_work(tx, repo.id, repo.host_id)?;
    Ok(deleted as u64)
}

fn drop_work(tx: &Tx, repo: RepoId, host_id: HostId) -> TxResult<()> {
    tx.drop_job_of(repo, host_id)?;
    tx.drop_held(repo, host_id, i64::MAX)
}

/// A job found that the account does not exist. Only its own host can say so; answers how many records went.
pub fn fetched_gone(tx: &Tx, job: &RepoJob) -> TxResult<u64> {
    match own_repo(tx, job)? {
        Some(repo) => account_gone(tx, &repo),
        None => Ok(0),
    }
}

/// A job found that the account is switched off. Only its own host can say so.
pub fn fetched_inactive(tx: &Tx, job: &RepoJob, status: Status) -> TxResult<()> {
    match own_repo(tx, job)? {
        Some(repo) => account_status(tx, &repo, false, Some(status)),
        None => Ok(()),
    }
}

/// A job that only refreshed the identity: the key of the coming commits.
pub fn identity_resolved(tx: &Tx, job: &RepoJob, did_key: &str) -> TxResult<()> {
    tx.set_signing_key(job.repo_id, did_key)?;
    tx.finish_repo_job(job.job_id)
}

/// The DID document names another host than the job's. When that one is crawled here, it is asked for the repo instead; answers
/// whether that settles the job.
pub fn not_at_this_host(tx: &Tx, job: &RepoJob, named: Option<&Host>) -> TxResult<bool> {
    let Some(named) = named.map(|host| tx.host_id(host)).transpose()?.flatten() else { return Ok(false) };
    let lives_there = tx.repo(&job.did)?.is_some_and(|repo| repo.host_id == named);
    if !lives_there {
        tx.queue_repo(named, job.repo_id, JobKind::Repo, Urgency::First)?;
    }
    tx.drop_held(job.repo_id, job.host_id, i64::MAX)?;
    tx.drop_job(job.job_id)?;
    Ok(true)
}

/// The repo, when the job's host is its own and the claim still stands. A host that merely claimed it loses the job.
fn own_repo(tx: &Tx, job: &RepoJob) -> TxResult<Option<RepoState>> {
    if !tx.is_claimed(job)? {
        return Ok(None);
    }
    let repo = tx.repo(&job.did)?.filter(|repo| repo.host_id == job.host_id);
    if repo.is_none() {
        tx.drop_job(job.job_id)?;
    }
    Ok(repo)
}
