//! Live events, applied in the host's order; the cursor moves in the same transaction.

use super::account::{account_gone, account_status};
use super::legacy;
use super::records::RowWriter;
use super::verdict::{
    CommitFact, Desync, Event, Fact, Flaw, LegacyCommit, ProvenCommit, RecordChange, Rejected, SyncedCommit, Verdict,
    verdict,
};
use crate::repo::{DagCid, car};
use crate::store::{
    Holding, HostId, HostUsage, JobKind, RepoCommit, RepoId, RepoState, Status, Tx, TxResult, Urgency, UsageChange,
};
use crate::syntax::{Did, Rev};

/// What a batch of events came to.
#[derive(Debug, Default)]
pub struct Ingested {
    /// One verdict per event, in order.
    pub verdicts: Vec<Verdict>,
    /// Records inserted or replaced.
    pub records_written: u64,
    /// Records deleted.
    pub records_deleted: u64,
    /// Records for which their repo or its host had no room.
    pub over_limit: u64,
}

/// Takes in a batch of a host's events, in order, and moves its cursor to `seq`: at or below it, every event has a durable outcome.
/// A host that was closed meanwhile changes nothing.
pub fn ingest(tx: &Tx, from: HostId, events: Vec<Event>, seq: Option<i64>) -> TxResult<Ingested> {
    let mut intake = Intake::new(tx, from);
    if !tx.is_open(from)? {
        return Ok(intake.ingested);
    }
    tx.keeps_seen();
    tx.count_events(from, events.len())?;
    for event in events {
        let repo = tx.seen_repo(&event.did)?;
        let repo = intake.known_here(repo)?;
        intake.take_in(event, repo.as_ref())?;
    }
    intake.count_at_host()?;
    if let Some(seq) = seq {
        tx.set_host_cursor(from, seq)?;
    }
    Ok(intake.ingested)
}

/// Takes in the events that were held for a repo, oldest first, and forgets what was held up to `last`. It ends where one of them
/// queues the repo again: what is left waits for that.
pub fn ingest_held(
    tx: &Tx,
    from: HostId,
    repo_id: RepoId,
    events: Vec<Event>,
    last: Option<i64>,
) -> TxResult<Ingested> {
    let mut intake = Intake::new(tx, from);
    for event in events {
        let (repo, seq) = (tx.repo(&event.did)?.filter(|repo| repo.id == repo_id), event.seq);
        // A job was queued since they were read: they stay held.
        if tx.has_job(repo_id, from)? {
            return intake.finish();
        }
        let verdict = match repo {
            Some(repo) => {
                // These events are what it is busy with, and they were verified with the key if there is one.
                let repo = RepoState { busy: false, has_key: false, ..repo };
                let verdict = intake.take_in(event, Some(&repo))?;
                if verdict == Verdict::Desync(Desync::Flaw(Flaw::BadSignature)) && !tx.has_records(repo.id)? {
                    // The identity was asked for because of this event. What was known of the repo before is nobody's word.
                    tx.forget_identity(repo.id)?;
                }
                verdict
            }
            None => intake.note(Verdict::Ignore(super::Ignored::UnknownRepo)),
        };
        // It stays held for the job that it was given.
        if verdict == Verdict::Identify {
            return intake.finish();
        }
        tx.drop_held(repo_id, from, seq)?;
    }
    if let Some(last) = last {
        tx.drop_held(repo_id, from, last)?;
    }
    intake.finish()
}

/// Events of one host that are taken in, in one transaction.
struct Intake<'t, 'db> {
    tx: &'t Tx<'db>,
    from: HostId,
    ingested: Ingested,
    /// What the host's repos take, once it was needed, and how much of that is not written down yet.
    at_host: Option<(HostUsage, UsageChange)>,
}

impl<'t, 'db> Intake<'t, 'db> {
    fn new(tx: &'t Tx<'db>, from: HostId) -> Self {
        Intake { tx, from, ingested: Ingested::default(), at_host: None }
    }

    fn finish(mut self) -> TxResult<Ingested> {
        self.count_at_host()?;
        Ok(self.ingested)
    }

    fn note(&mut self, verdict: Verdict) -> Verdict {
        self.ingested.verdicts.push(verdict);
        verdict
    }

    /// Of an account that lives elsewhere: whether this host was refused it before.
    fn known_here(&self, repo: Option<RepoState>) -> TxResult<Option<RepoState>> {
        match repo {
            Some(repo) if repo.host_id != self.from => {
                let refused = self.tx.is_refused(repo.id, self.from)?;
                Ok(Some(RepoState { refused, ..repo }))
            }
            own => Ok(own),
        }
    }

    fn take_in(&mut self, mut event: Event, repo: Option<&RepoState>) -> TxResult<Verdict> {
        let verdict = self.judge(&mut event, repo)?;
        match (verdict, repo, &event.fact) {
            (Verdict::Apply, Some(repo), Fact::Commit(CommitFact { rev: Some(rev), proof: Ok(commit), .. })) => {
                self.apply_commit(&event.did, repo, *rev, commit)?;
            }
            (Verdict::Ignore(_), ..) => {}
            _ => {
                self.count_at_host()?;
                self.act(&event, repo, verdict)?;
                self.tx.forget_seen(&event.did);
            }
        }
        Ok(self.note(verdict))
    }

    /// The verdict, for which an old host's commit is proven with what is indexed at this moment.
    fn judge(&self, event: &mut Event, repo: Option<&RepoState>) -> TxResult<Verdict> {
        let (tx, from) = (self.tx, self.from);
        if let (Fact::Commit(CommitFact { proof: Ok(proven), .. }), Some(repo)) = (&mut event.fact, repo)
            && let ProvenCommit { data, legacy: Some(legacy), .. } = proven
            && let Some((_, indexed)) = &repo.verified
        {
            legacy.proof = Some(prove(tx, repo, data, legacy, indexed)?);
        }
        match verdict(&event.fact, repo, from, tx.now()) {
            Verdict::NewRepo if !tx.has_room_for_account(from)? => Ok(Verdict::Reject(Rejected::AccountLimit)),
            Verdict::Claim if !may_claim(tx, from, repo)? => Ok(Verdict::Reject(Rejected::OtherHost)),
            verdict => Ok(verdict),
        }
    }

    fn act(&mut self, event: &Event, repo: Option<&RepoState>, verdict: Verdict) -> TxResult<()> {
        let (tx, from) = (self.tx, self.from);
        match (verdict, repo) {
            (Verdict::Apply, Some(repo)) => self.apply(event, repo),
            (Verdict::ApplyUnproven, Some(repo)) => {
                self.apply(event, repo)?;
                tx.mark_unproven(repo.id)
            }
            (Verdict::Hold, Some(repo)) => hold(tx, from, event, repo),
            (Verdict::Desync(reason), Some(repo)) => {
                if reason == Desync::Flaw(Flaw::BadSignature) {
                    tx.note_key_check(repo.id)?;
                }
                tx.mark_desynchronized(repo.id)?;
                tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::First)
            }
            (Verdict::Identify, Some(repo)) => identify(tx, from, event, repo),
            (Verdict::Claim, Some(repo)) => tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::InTurn),
            // Its own host sent it, so what the repo really holds is looked at with the next comparison.
            (Verdict::Reject(Rejected::BadSignature), Some(repo)) => tx.mark_unproven(repo.id),
            // It is being asked whether it is the account's host: what it was asked before this may be true no more.
            (Verdict::Reject(Rejected::OtherHost), Some(repo)) if tx.has_job(repo.id, from)? => {
                tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::InTurn)
            }
            (Verdict::Reject(Rejected::AccountLimit), _) => tx.wait_for_room(from, &event.did),
            (Verdict::NewRepo, _) => {
                let repo = tx.insert_repo(&event.did, from, true, None)?;
                tx.queue_repo(from, repo, JobKind::Repo, Urgency::First)
            }
            (Verdict::Ignore(_) | Verdict::Reject(_), _) => Ok(()),
            // `verdict` never answers these for a repo that is not known.
            (
                Verdict::Apply
                | Verdict::ApplyUnproven
                | Verdict::Hold
                | Verdict::Desync(_)
                | Verdict::Claim
                | Verdict::Identify,
                None,
            ) => Ok(()),
        }
    }

    fn apply(&mut self, event: &Event, repo: &RepoState) -> TxResult<()> {
        let tx = self.tx;
        match &event.fact {
            Fact::Commit(CommitFact { rev: Some(rev), proof: Ok(commit), .. }) => {
                self.apply_commit(&event.did, repo, *rev, commit)
            }
            Fact::Sync { rev: Some(rev), commit: Ok(SyncedCommit { head, data, .. }) } => {
                tx.set_repo_commit(repo.id, rev, *head, *data)
            }
            // It may be moving, and this be the old host's last word. The job of the new one decides; if it stays, its host is asked again.
            Fact::Account { active: false, .. } if tx.is_claimed_elsewhere(repo.id, repo.host_id)? => {
                tx.queue_repo(repo.host_id, repo.id, JobKind::Status, Urgency::Later)
            }
            Fact::Account { active: false, status: Some(Status::Deleted) } => {
                self.ingested.records_deleted += account_gone(tx, repo)?;
                Ok(())
            }
            Fact::Account { active, status } => account_status(tx, repo, *active, *status),
            Fact::Identity => tx.queue_repo(repo.host_id, repo.id, JobKind::Identity, Urgency::First),
            // `verdict` never answers Apply for what is flawed.
            Fact::Commit(_) | Fact::Sync { .. } => Ok(()),
        }
    }

    fn apply_commit(&mut self, did: &Did, repo: &RepoState, rev: Rev, proven: &ProvenCommit) -> TxResult<()> {
        let change = match proven.changes.as_slice() {
            [] => UsageChange::default(),
            changes => self.write_changes(repo, changes)?,
        };
        let commit = RepoCommit { rev, head: proven.head, data: proven.data };
        self.tx.advance_repo(repo.id, &commit, &change)?;
        self.tx.note_commit(did, commit, repo.used.after(&change));
        if change.collections != 0 {
            // With it, names may have come or gone that count at the host.
            self.count_at_host()?;
        }
        Ok(())
    }

    fn write_changes(&mut self, repo: &RepoState, changes: &[RecordChange]) -> TxResult<UsageChange> {
        let (at_host, unwritten) = match &mut self.at_host {
            Some(at_host) => at_host,
            none => none.insert((self.tx.host_usage(repo.host_id)?, UsageChange::default())),
        };
        let mut rows = RowWriter::within(self.tx, repo.id, &repo.used, self.tx.room_beside(&repo.used, at_host));
        for change in changes {
            match change {
                RecordChange::Put { collection, rkey, cid, json, is_update } => match is_update {
                    true => rows.update(collection, rkey, *cid, json)?,
                    false => rows.put(collection, rkey, *cid, json)?,
                },
                RecordChange::Remove { collection, rkey } => rows.delete(collection, rkey)?,
            }
        }
        let (counts, change) = rows.finish_uncounted()?;
        for (records, bytes) in
            [(&mut at_host.records, &mut at_host.bytes), (&mut unwritten.records, &mut unwritten.bytes)]
        {
            *records += change.records;
            *bytes += change.bytes;
        }
        self.ingested.records_written += counts.written;
        self.ingested.records_deleted += counts.deleted;
        self.ingested.over_limit += counts.over_limit;
        if counts.over_limit > 0 {
            self.tx.set_truncated(repo.id, true)?;
        }
        Ok(change)
    }

    /// Writes down what the host's repos take more or less; it is read again when it is needed.
    fn count_at_host(&mut self) -> TxResult<()> {
        match self.at_host.take() {
            Some((usage, unwritten)) => self.tx.change_host_usage(usage.host_id, &unwritten),
            None => Ok(()),
        }
    }
}

/// Whether the host has not claimed too many accounts already, or has this one.
fn may_claim(tx: &Tx, from: HostId, repo: Option<&RepoState>) -> TxResult<bool> {
    match repo {
        Some(repo) => Ok(tx.has_job(repo.id, from)? || tx.claims_left(from)? > 0),
        None => Ok(true),
    }
}

fn prove(
    tx: &Tx,
    repo: &RepoState,
    data: &DagCid,
    commit: &LegacyCommit,
    indexed: &DagCid,
) -> TxResult<legacy::LegacyProof> {
    match car::read(&commit.blocks) {
        Ok(blocks) => legacy::prove(tx, repo.id, &blocks, data, &commit.ops, indexed),
        Err(_) => Ok(legacy::LegacyProof::None),
    }
}

/// Asks for the identity, and keeps the event until it is known. When there is no room for it, the repo is fetched instead.
fn identify(tx: &Tx, from: HostId, event: &Event, repo: &RepoState) -> TxResult<()> {
    let kind = match tx.hold_event(repo.id, from, event.seq, &event.frame)? {
        Holding::Held => JobKind::Identity,
        Holding::Overflow => JobKind::Repo,
    };
    tx.queue_repo(from, repo.id, kind, Urgency::First)
}

fn hold(tx: &Tx, from: HostId, event: &Event, repo: &RepoState) -> TxResult<()> {
    if tx.hold_event(repo.id, from, event.seq, &event.frame)? == Holding::Overflow {
        tracing::debug!(did = %event.did, host_id = from.0, "too many events arrived during its fetch: fetching it again");
        tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::First)?;
    }
    if !repo.busy {
        tx.ring_for_held();
    }
    Ok(())
}
