//! Live events, applied in the host's order; the cursor moves in the same transaction.

use super::account::{account_gone, account_status};
use super::records::{RowCounts, RowWriter};
use super::verdict::{Event, Fact, RecordChange, Verdict, verdict};
use crate::store::{Holding, HostId, JobKind, RepoId, RepoState, Status, Tx, TxResult, Urgency};

/// What a batch of events came to.
#[derive(Debug, Default)]
pub struct Ingested {
    /// One verdict per event, in order.
    pub verdicts: Vec<Verdict>,
    /// Records inserted or replaced.
    pub records_written: u64,
    /// Records deleted.
    pub records_deleted: u64,
}

/// Takes in a batch of a host's events, in order, and moves its cursor to `seq`: at or below it, every event has a durable outcome.
pub fn ingest(tx: &Tx, from: HostId, events: &[Event], seq: Option<i64>) -> TxResult<Ingested> {
    let mut ingested = Ingested::default();
    for event in events {
        let verdict = take_in(tx, from, event, &mut ingested)?;
        ingested.verdicts.push(verdict);
    }
    if let Some(seq) = seq {
        tx.set_host_cursor(from, seq)?;
    }
    Ok(ingested)
}

/// Takes in the events that were held for a repo, oldest first, and forgets what was held up to `last`. It ends where one of them
/// queues the repo again: what is left waits for that.
pub fn ingest_held(tx: &Tx, from: HostId, repo_id: RepoId, events: &[Event], last: Option<i64>) -> TxResult<Ingested> {
    let mut ingested = Ingested::default();
    for event in events {
        let repo = tx.repo(&event.did)?.filter(|repo| repo.id == repo_id);
        // A job was queued since they were read: they stay held.
        if tx.has_job(repo_id, from)? {
            return Ok(ingested);
        }
        let verdict = match repo {
            Some(repo) => {
                // These events are what it is busy with.
                let repo = RepoState { busy: false, ..repo };
                let verdict = verdict(&event.fact, Some(&repo), from);
                act(tx, from, event, Some(&repo), verdict, &mut ingested)?
            }
            None => Verdict::Ignore(super::Ignored::UnknownRepo),
        };
        tx.drop_held(repo_id, from, event.seq)?;
        ingested.verdicts.push(verdict);
    }
    if let Some(last) = last {
        tx.drop_held(repo_id, from, last)?;
    }
    Ok(ingested)
}

fn take_in(tx: &Tx, from: HostId, event: &Event, ingested: &mut Ingested) -> TxResult<Verdict> {
    let repo = tx.repo(&event.did)?;
    let verdict = verdict(&event.fact, repo.as_ref(), from);
    act(tx, from, event, repo.as_ref(), verdict, ingested)
}

fn act(
    tx: &Tx,
    from: HostId,
    event: &Event,
    repo: Option<&RepoState>,
    verdict: Verdict,
    ingested: &mut Ingested,
) -> TxResult<Verdict> {
    match (verdict, repo) {
        (Verdict::Apply, Some(repo)) => apply(tx, event, repo, ingested)?,
        (Verdict::Hold, Some(repo)) => hold(tx, from, event, repo)?,
        (Verdict::Desync(_), Some(repo)) => {
            tx.mark_desynchronized(repo.id)?;
            tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::First)?;
        }
        (Verdict::Claim, Some(repo)) => tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::InTurn)?,
        (Verdict::NewRepo, _) => {
            let repo = tx.insert_repo(&event.did, from, true, None)?;
            tx.queue_repo(from, repo, JobKind::Repo, Urgency::First)?;
        }
        (Verdict::Ignore(_), _) => {}
        // `verdict` answers NewRepo or Ignore for a repo that is not known.
        (Verdict::Apply | Verdict::Hold | Verdict::Desync(_) | Verdict::Claim, None) => {}
    }
    Ok(verdict)
}

fn apply(tx: &Tx, event: &Event, repo: &RepoState, ingested: &mut Ingested) -> TxResult<()> {
    match &event.fact {
        Fact::Commit(commit) => {
            let rows = write_changes(tx, repo.id, &commit.changes)?;
            ingested.records_written += rows.written;
            ingested.records_deleted += rows.deleted;
            tx.set_repo_commit(repo.id, &commit.rev, commit.head, commit.data)
        }
        Fact::Sync { rev, head, data } => tx.set_repo_commit(repo.id, rev, *head, *data),
        Fact::Account { active: false, status: Some(Status::Deleted) } => {
            ingested.records_deleted += account_gone(tx, repo)?;
            Ok(())
        }
        Fact::Account { active, status } => account_status(tx, repo, *active, *status),
        Fact::Identity => tx.queue_repo(repo.host_id, repo.id, JobKind::Identity, Urgency::First),
        // `verdict` never answers Apply for it.
        Fact::Unusable(..) => Ok(()),
    }
}

fn hold(tx: &Tx, from: HostId, event: &Event, repo: &RepoState) -> TxResult<()> {
    if tx.hold_event(repo.id, from, event.seq, &event.frame)? == Holding::Overflow {
        tracing::debug!(did = %event.did, "too many events arrived during its fetch: fetching it again");
        tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::First)?;
    }
    Ok(())
}

fn write_changes(tx: &Tx, repo: RepoId, changes: &[RecordChange]) -> TxResult<RowCounts> {
    let mut rows = RowWriter::new(tx, repo);
    for change in changes {
        match change {
            RecordChange::Put { collection, rkey, cid, json } => rows.put(collection, rkey, *cid, json)?,
            RecordChange::Remove { collection, rkey } => rows.delete(collection, rkey)?,
        }
    }
    rows.finish()
}
