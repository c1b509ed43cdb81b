//! A fetched and verified repo replaces what is indexed of it: only rows that differ are written.

use std::iter::Peekable;
use std::slice::Iter;

use super::account::no_room;
use super::records::RowWriter;
use crate::repo::dag_cbor::record_to_json;
use crate::repo::{Commit, DagCid, SkipReason, Snapshot, SnapshotRecord};
use crate::store::{JobKind, RepoId, RepoJob, RepoState, StoredRecord, Tx, TxResult, Urgency};

/// What came of a fetched repo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// It is what is indexed now.
    Done(Replacement),
    /// It is older than what is indexed: a stale answer. Nothing was changed; the job is still claimed.
    Stale,
    /// The account was deleted or switched off meanwhile: nothing was changed.
    Overtaken,
    /// It moved to a host that has as many accounts as it may have: it waits there, and is unlisted until then.
    NoRoom,
}

/// What changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replacement {
    /// Records inserted or replaced.
    pub written: u64,
    /// Records deleted.
    pub deleted: u64,
    /// Records inside the filter that could not be indexed: their row, if they had one, is gone.
    pub skipped: u64,
    /// Those among them whose block was not in the answer.
    pub left_out: u64,
    /// Records that were indexed although their encoding is not canonical.
    pub uncanonical: u64,
    /// Records for which the repo or its host had no room: the repo is truncated.
    pub over_limit: u64,
}

/// Replaces the repo as a whole, in one transaction with its commit, its key and the end of its job.
pub fn replace_repo(tx: &Tx, job: &RepoJob, snapshot: &Snapshot, did_key: &str) -> TxResult<Replaced> {
    let commit = &snapshot.commit;
    let repo = match claimed_repo(tx, job, commit)? {
        Ok(repo) => repo,
        Err(replaced) => return Ok(replaced),
    };
    let moved = repo.host_id != job.host_id;
    if !moved && !repo.active {
        // An account that is not active is fetched only when it comes back: switched on again, or no longer elsewhere.
        tx.set_repo_status(repo.id, true, None)?;
    }
    if moved && !tx.has_room_for_account(job.host_id)? {
        no_room(tx, repo.id, job)?;
        return Ok(Replaced::NoRoom);
    }
    if moved {
        tx.drop_held(repo.id, repo.host_id, i64::MAX)?;
        tx.drop_job_of(repo.id, repo.host_id)?;
        tx.move_repo(repo.id, repo.host_id, job.host_id)?;
        tx.set_repo_status(repo.id, true, None)?;
    }
    let mut changed = Replacement::default();
    replace_rows(tx, repo.id, snapshot, &mut changed)?;
    tx.set_repo_commit(repo.id, &commit.rev, commit.cid, commit.data)?;
    tx.clear_doubts(repo.id)?;
    if changed.left_out > 0 {
        // The answer lacked blocks that its tree names, and another one may have them; the head will not tell.
        tx.mark_unproven(repo.id)?;
    }
    changed.over_limit += snapshot.over_limit;
    tx.set_truncated(repo.id, changed.over_limit > 0)?;
    tx.set_signing_key(repo.id, did_key)?;
    tx.finish_repo_job(job.job_id)?;
    Ok(Replaced::Done(changed))
}

/// Takes in a repo whose hashes show that nothing in it matches: its chain can be followed from now on. Nobody was asked whose it is, so
/// it stays unlisted; if somebody was meanwhile, the job begins once more and asks too.
pub fn take_unmatched(tx: &Tx, job: &RepoJob, commit: &Commit) -> TxResult<Replaced> {
    let repo = match claimed_repo(tx, job, commit)? {
        Ok(repo) => repo,
        Err(replaced) => return Ok(replaced),
    };
    if repo.host_id != job.host_id || repo.has_key {
        tx.queue_repo(job.host_id, repo.id, JobKind::Repo, Urgency::First)?;
        tx.finish_repo_job(job.job_id)?;
        return Ok(Replaced::Overtaken);
    }
    if !repo.active {
        tx.set_repo_status(repo.id, true, None)?;
    }
    tx.set_repo_commit(repo.id, &commit.rev, commit.cid, commit.data)?;
    tx.clear_doubts(repo.id)?;
    tx.finish_repo_job(job.job_id)?;
    Ok(Replaced::Done(Replacement::default()))
}

/// The repo, when the claim still stands and the commit is not older than what is known of it; else what became of the job.
fn claimed_repo(tx: &Tx, job: &RepoJob, commit: &Commit) -> TxResult<Result<RepoState, Replaced>> {
    let Some(repo) = tx.repo(&job.did)? else { return Ok(Err(Replaced::Overtaken)) };
    if !tx.is_claimed(job)? {
        return Ok(Err(Replaced::Overtaken));
    }
    if let Some((known, _)) = &repo.verified
        && repo.host_id == job.host_id
        && commit.rev < *known
    {
        // A stale answer, or a host that was restored from a backup: what it lists from now on tells which.
        tx.set_stale_head(repo.id, commit.cid)?;
        tx.relist_host(job.host_id)?;
        return Ok(Err(Replaced::Stale));
    }
    Ok(Ok(repo))
}

/// Both sides ascend by path: one pass finds what is gone, and makes room; a second one what is new or differs.
fn replace_rows(tx: &Tx, repo: RepoId, snapshot: &Snapshot, changed: &mut Replacement) -> TxResult<()> {
    let indexed = tx.records_of(repo)?;
    let mut rows = RowWriter::new(tx, repo, indexed.is_empty());
    delete_gone(&mut rows, &indexed, snapshot)?;
    let mut indexed = indexed.iter().peekable();
    snapshot.visit_records(|collection, rkey, record| -> TxResult<()> {
        let known = take_known(&mut indexed, (collection, rkey));
        let json = match record {
            SnapshotRecord::Block { cid, .. } if known == Some(cid) => return Ok(()),
            SnapshotRecord::Block { .. } if known.is_none() && rows.is_full()? => {
                rows.pass_over();
                return Ok(());
            }
            SnapshotRecord::Block { cid, bytes } => record_to_json(bytes).ok().map(|json| (cid, json)),
            SnapshotRecord::Skipped(reason) => {
                changed.left_out += u64::from(reason == SkipReason::MissingBlock);
                None
            }
        };
        match (json, known) {
            (Some((cid, record_json)), known) => {
                changed.uncanonical += u64::from(!record_json.canonical);
                match known {
                    Some(_) => rows.update(collection, rkey, cid, &record_json.json)?,
                    None => rows.insert(collection, rkey, cid, &record_json.json)?,
                }
            }
            (None, known) => {
                changed.skipped += 1;
                if known.is_some() {
                    rows.delete(collection, rkey)?;
                }
            }
        }
        Ok(())
    })?;
    let counts = rows.finish()?;
    changed.written = counts.written;
    changed.deleted = counts.deleted;
    changed.over_limit = counts.over_limit;
    Ok(())
}

fn delete_gone(rows: &mut RowWriter, indexed: &[StoredRecord], snapshot: &Snapshot) -> TxResult<()> {
    let mut indexed = indexed.iter().peekable();
    for (collection, rkey) in snapshot.paths() {
        let key = (collection, rkey);
        while let Some(gone) = indexed.next_if(|row| row.is_before(key)) {
            rows.delete(&gone.collection, &gone.rkey)?;
        }
        take_known(&mut indexed, key);
    }
    for gone in indexed {
        rows.delete(&gone.collection, &gone.rkey)?;
    }
    Ok(())
}

/// The CID of the row of a record of the snapshot; rows before it are those of records that are gone.
fn take_known(indexed: &mut Peekable<Iter<StoredRecord>>, key: (&str, &str)) -> Option<DagCid> {
    while indexed.next_if(|row| row.is_before(key)).is_some() {}
    indexed.next_if(|row| (row.collection.as_str(), row.rkey.as_str()) == key).map(|row| row.cid)
}
