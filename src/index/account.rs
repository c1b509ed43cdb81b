//! Accounts: status, deletion, identity, and which host they live on.

use crate::store::{HostId, JobKind, RepoId, RepoJob, RepoState, Status, Tx, TxResult, Urgency};
use crate::syntax::{Host, Rev};

/// What the account's own host says of it. Back from inactive, it stays hidden until it was fetched and verified: nobody said what
/// happened meanwhile. A job of another host stays: the account may have moved there, and this be the old host's last word.
pub(super) fn account_status(tx: &Tx, repo: &RepoState, active: bool, status: Option<Status>) -> TxResult<()> {
    if !active {
        tx.set_repo_status(repo.id, false, status)?;
        return drop_work(tx, repo.id, repo.host_id);
    }
    let is_back = !repo.active;
    tx.set_repo_status(repo.id, repo.active, if is_back { None } else { status })?;
    if is_back || (repo.verified.is_none() && !repo.busy) {
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

/// The account moved to the job's host, which has as many accounts as it may have: it waits there, and where it was it is no more.
pub(super) fn no_room(tx: &Tx, repo: RepoId, job: &RepoJob) -> TxResult<()> {
    tx.wait_for_room(job.host_id, &job.did)?;
    tx.set_repo_status(repo, false, None)?;
    tx.drop_held(repo, job.host_id, i64::MAX)?;
    tx.finish_repo_job(job.job_id)
}

fn drop_work(tx: &Tx, repo: RepoId, host_id: HostId) -> TxResult<()> {
    tx.drop_job_of(repo, host_id)?;
    tx.drop_held(repo, host_id, i64::MAX)
}

/// A job found that the account does not exist, at the host that its DID document names, or that its DID is gone: its rows go, also when
/// it was known at another host. Answers how many there were.
pub fn fetched_gone(tx: &Tx, job: &RepoJob) -> TxResult<u64> {
    let repo = match job.kind {
        // Asked without a look at the DID document.
        JobKind::Status => own_repo(tx, job)?,
        JobKind::Repo | JobKind::Identity if tx.is_claimed(job)? => tx.repo(&job.did)?,
        JobKind::Repo | JobKind::Identity => None,
    };
    let Some(repo) = repo else { return Ok(0) };
    let deleted = account_gone(tx, &repo)?;
    if repo.host_id != job.host_id {
        tx.finish_repo_job(job.job_id)?;
    }
    Ok(deleted)
}

/// A job found that the account is switched off, at the host that its DID document names. When it was known at another host it lives here
/// now; but one that is deactivated here may still be on its way: it stays as it is where it was known, if that host says that it is active.
pub fn fetched_inactive(tx: &Tx, job: &RepoJob, status: Status) -> TxResult<()> {
    let elsewhere = match job.kind {
        JobKind::Repo if tx.is_claimed(job)? => tx.repo(&job.did)?.filter(|repo| repo.host_id != job.host_id),
        _ => None,
    };
    match elsewhere {
        Some(repo) if status == Status::Deactivated => {
            tx.queue_repo(repo.host_id, repo.id, JobKind::Status, Urgency::InTurn)?;
            tx.finish_repo_job(job.job_id)
        }
        Some(repo) if !tx.has_room_for_account(job.host_id)? => no_room(tx, repo.id, job),
        Some(repo) => {
            drop_work(tx, repo.id, repo.host_id)?;
            tx.move_repo(repo.id, repo.host_id, job.host_id)?;
            tx.set_repo_status(repo.id, false, Some(status))?;
            tx.finish_repo_job(job.job_id)
        }
        None => match own_repo(tx, job)? {
            Some(repo) => account_status(tx, &repo, false, Some(status)),
            None => Ok(()),
        },
    }
}

/// A job that only refreshed the identity: the key of the coming commits. Commits that are held were signed with the key before: when it
/// changed they cannot be verified any more, and the repo is fetched instead. A repo that had no identity has one from now on if events
/// wait to be verified with it: else its commit would pass for one that was.
pub fn identity_resolved(tx: &Tx, job: &RepoJob, did_key: &str) -> TxResult<()> {
    if !tx.is_claimed(job)? {
        return Ok(());
    }
    let known = tx.signing_key(job.repo_id)?;
    let is_another = known.as_ref().is_some_and(|known| known != did_key);
    let has_waiting = !tx.held_events(job.repo_id, job.host_id)?.is_empty();
    if known.is_some() || has_waiting {
        tx.set_signing_key(job.repo_id, did_key)?;
    }
    if is_another && has_waiting {
        tx.queue_repo(job.host_id, job.repo_id, JobKind::Repo, Urgency::First)?;
    }
    tx.finish_repo_job(job.job_id)
}

/// A job that asked for the account's status: active, and at `rev` if the host says it.
pub fn fetched_status(tx: &Tx, job: &RepoJob, rev: Option<&Rev>) -> TxResult<()> {
    let Some(repo) = own_repo(tx, job)? else { return Ok(()) };
    let is_same = rev.is_none_or(|rev| repo.verified.is_some_and(|(indexed, _)| indexed == *rev));
    if !is_same {
        tx.queue_repo(job.host_id, job.repo_id, JobKind::Repo, Urgency::First)?;
    }
    tx.finish_repo_job(job.job_id)
}

/// The DID document names another host than the job's. The one that it names is asked for the repo, when it is crawled here; when it is
/// not, the account is unlisted until it is. Answers whether the job's host merely claimed the account: the job stays, failed, so that
/// the claim is not believed again too soon.
pub fn not_at_this_host(tx: &Tx, job: &RepoJob, named: Option<&Host>) -> TxResult<bool> {
    tx.drop_held(job.repo_id, job.host_id, i64::MAX)?;
    let Some(repo) = tx.repo(&job.did)? else { return Ok(false) };
    let is_own = repo.host_id == job.host_id;
    match named.map(|host| tx.host_id(host)).transpose()?.flatten() {
        Some(named) if named != repo.host_id => tx.refer_repo(named, repo.id)?,
        None if is_own && repo.active => tx.set_repo_status(repo.id, false, None)?,
        _ => {}
    }
    Ok(!is_own)
}

/// The repo, when the job's host is its own and the claim still stands. A host that merely claimed it loses the job, unless it claimed
/// the account once more meanwhile.
fn own_repo(tx: &Tx, job: &RepoJob) -> TxResult<Option<RepoState>> {
    if !tx.is_claimed(job)? {
        return Ok(None);
    }
    let repo = tx.repo(&job.did)?.filter(|repo| repo.host_id == job.host_id);
    if repo.is_none() {
        tx.finish_repo_job(job.job_id)?;
    }
    Ok(repo)
}
