//! What an event says, verified by itself: limits, blocks against CIDs, commit against event, ops against the tree, and the signature
//! of a repo that has an identity. What it means for the index is judged by `index::verdict` inside the transaction. A batch is verified in one blocking step.

use std::sync::Arc;

use bytes::Bytes;

use super::Subscriber;
use super::frame::{self, Action, Body, CommitBody, FrameError, Message, Op};
use crate::clock::Clock;
use crate::index::{
    Author, CommitFact, Event, Fact, Flaw, LegacyCommit, LegacyOp, ProvenCommit, RecordChange, SyncedCommit,
};
use crate::metrics::{EventKind, Metrics};
use crate::repo::dag_cbor::record_to_json;
use crate::repo::mst::{PartialTree, TreeAction, TreeOp};
use crate::repo::{Commit, DagCid, Link, PublicKey, car, commit};
use crate::store::{HeldEvent, HostId, RepoId, SeenRepo, StoreError, StoredKey, Tx, TxResult};
use crate::syntax::{CollectionFilter, Did, Nsid, RecordKey, Rev};

/// Limits of the lexicon `com.atproto.sync.subscribeRepos`, in bytes and ops.
const MAX_FRAME_BYTES: usize = 5_000_000;
const MAX_COMMIT_BLOCKS_BYTES: usize = 2_000_000;
const MAX_SYNC_BLOCKS_BYTES: usize = 10_000;
const MAX_OPS: usize = 200;
const MAX_RECORD_BYTES: usize = 1_000_000;

/// A batch of frames, verified.
pub(crate) struct Batch {
    /// Events about accounts, in order.
    pub events: Vec<Event>,
    /// The kind of each.
    pub kinds: Vec<EventKind>,
    /// The sequence numbers of the frames that had one, in order.
    pub seqs: Vec<i64>,
    /// What the host says about the stream itself.
    pub notices: Vec<Notice>,
}

impl Batch {
    fn with_capacity(messages: usize) -> Batch {
        Batch {
            events: Vec::with_capacity(messages),
            kinds: Vec::with_capacity(messages),
            seqs: Vec::with_capacity(messages),
            notices: Vec::new(),
        }
    }
}

/// A message about the stream.
pub(crate) enum Notice {
    /// `#info`
    Info(String),
    /// An error frame.
    Error { name: String, message: String },
}

/// What verification needs to know of an account.
#[derive(Default)]
pub(crate) struct Known {
    /// What its commits are verified with.
    pub(super) check: Check,
    /// The rev that is indexed: at or below it, an event is not worth verifying.
    pub(super) rev: Option<Rev>,
}

/// What an account's commits are verified with.
#[derive(Default)]
pub(super) enum Check {
    /// Nothing: the event will wait or cause a fetch whatever it says.
    #[default]
    Nothing,
    /// All but the signature: the repo has no identity.
    Hashes,
    /// The signature too.
    Signature(Arc<StoredKey>),
}

/// Decodes and verifies a batch on a blocking thread.
pub(crate) async fn batch(subscriber: &Subscriber, host_id: HostId, frames: Vec<Bytes>) -> Result<Batch, StoreError> {
    let _turn = subscriber.verifiers.clone().acquire_owned().await.expect("the semaphore is never closed");
    let subscriber = subscriber.clone();
    tokio::task::spawn_blocking(move || verify(&subscriber, host_id, &frames))
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn verify(subscriber: &Subscriber, host_id: HostId, frames: &[Bytes]) -> Result<Batch, StoreError> {
    let messages = decode(frames);
    let repos = subscriber.store.seen_blocking(&to_look_up(&messages))?;
    let known = repos.into_iter().map(|repo| Known::of(repo, host_id)).collect();
    let judge = Judge { host_id, clock: &subscriber.clock, filter: subscriber.store.filter() };
    Ok(judge.check_all(messages, known, &subscriber.metrics))
}

/// A frame and what it decodes to.
type Decoded<'f> = (&'f Bytes, Result<Message<'f>, FrameError>);

/// Decodes the frames of a batch.
pub(crate) fn decode(frames: &[Bytes]) -> Vec<Decoded<'_>> {
    frames.iter().map(|frame| (frame, frame::decode(frame))).collect()
}

/// The accounts whose repos have to be known for the verification of a batch, by message.
pub(crate) fn to_look_up<'m>(messages: &'m [Decoded]) -> Vec<Option<&'m Did>> {
    let about = |message: &'m Decoded| match &message.1 {
        Ok(Message::Event { did, body: Body::Commit(_) | Body::Sync { .. }, .. }) => Some(did),
        _ => None,
    };
    messages.iter().map(about).collect()
}

impl Known {
    /// What is known of a repo matters for an event of this host.
    pub(crate) fn of(repo: Option<SeenRepo>, host_id: HostId) -> Known {
        let Some(SeenRepo { state, key }) = repo else { return Known::default() };
        let check = match key {
            _ if state.busy || state.host_id != host_id => Check::Nothing,
            Some(key) => Check::Signature(key),
            None => Check::Hashes,
        };
        Known { check, rev: state.verified.map(|(rev, _)| rev) }
    }
}

/// Verifies events that were held, with the identity as it is now.
pub(crate) fn held(
    tx: &Tx,
    repo: RepoId,
    host_id: HostId,
    frames: Vec<HeldEvent>,
    clock: &Clock,
    filter: &CollectionFilter,
) -> TxResult<Vec<Event>> {
    let check = tx.stored_key(repo)?.map_or(Check::Hashes, |key| Check::Signature(key.into()));
    let known = Known { check, rev: None };
    let judge = Judge { host_id, clock, filter };
    let mut events = Vec::with_capacity(frames.len());
    for held in frames {
        let frame = Bytes::from(held.frame);
        // They were decoded before they were held.
        if let Ok(Message::Event { seq, did, body }) = frame::decode(&frame) {
            let Checked { fact, .. } = judge.check(&frame, &did, body, &known);
            events.push(Event { did, seq, fact, frame: frame.clone() });
        }
    }
    Ok(events)
}

/// A fact, and why some of its records are not in it.
struct Checked {
    kind: EventKind,
    fact: Fact,
    skipped: Vec<&'static str>,
}

/// What all events of a host are verified with.
pub(crate) struct Judge<'a> {
    /// Who sent them.
    pub host_id: HostId,
    /// For judging revs.
    pub clock: &'a Clock,
    /// What is indexed.
    pub filter: &'a CollectionFilter,
}

impl Judge<'_> {
    /// Verifies a batch, with what is known of the repo of each message.
    pub(crate) fn check_all(&self, messages: Vec<Decoded>, known: Vec<Known>, metrics: &Metrics) -> Batch {
        let mut batch = Batch::with_capacity(messages.len());
        for ((frame, message), known) in messages.into_iter().zip(&known) {
            match message {
                Ok(Message::Event { seq, did, body }) => {
                    let Checked { kind, fact, skipped } = self.check(frame, &did, body, known);
                    skipped.iter().for_each(|reason| metrics.records_skipped(reason, 1));
                    batch.seqs.push(seq);
                    batch.kinds.push(kind);
                    batch.events.push(Event { did, seq, fact, frame: frame.clone() });
                }
                Ok(Message::Info { name }) => {
                    metrics.event(EventKind::Info, "noted");
                    batch.notices.push(Notice::Info(name));
                }
                Ok(Message::Error { name, message }) => {
                    metrics.event(EventKind::Error, "noted");
                    batch.notices.push(Notice::Error { name, message });
                }
                Ok(Message::Unknown { seq }) => {
                    metrics.event(EventKind::Other, "passed_over");
                    batch.seqs.extend(seq);
                }
                Err(error) => metrics.bad_frame(error.reason()),
            }
        }
        batch
    }

    fn check(&self, frame: &Bytes, did: &Did, body: Body, known: &Known) -> Checked {
        let mut skipped = Vec::new();
        let (kind, fact) = match body {
            Body::Account { active, status } => (EventKind::Account, Fact::Account { active, status }),
            Body::Identity => (EventKind::Identity, Fact::Identity),
            Body::Sync { rev, blocks } => (EventKind::Sync, self.sync(did, rev, blocks, known)),
            Body::Commit(body) => {
                let proof = self.commit(frame, &body, did, known, &mut skipped);
                let prev_data = body.prev_data.as_ref().and_then(Link::dag);
                (EventKind::Commit, Fact::Commit(CommitFact { rev: body.rev, since: body.since, prev_data, proof }))
            }
        };
        Checked { kind, fact, skipped }
    }

    fn sync(&self, did: &Did, rev: Option<Rev>, blocks: &[u8], known: &Known) -> Fact {
        let signed = self.worth_verifying(known, rev.as_ref()).and_then(|key| {
            let blocks = read_blocks(blocks, MAX_SYNC_BLOCKS_BYTES)?;
            Ok((signed_commit(&blocks, None, did, key)?, author(key)))
        });
        match signed {
            // After an account import the two differ; the signed one is the repo's.
            Ok((Commit { rev, cid: head, data, .. }, author)) => {
                Fact::Sync { rev: Some(rev), commit: Ok(SyncedCommit { head, data, author }) }
            }
            Err(flaw) => Fact::Sync { rev, commit: Err(flaw) },
        }
    }

    /// The key to verify with, None for a repo without an identity; unless the verdict does not depend on it.
    fn worth_verifying<'k>(&self, known: &'k Known, rev: Option<&Rev>) -> Result<Option<&'k PublicKey>, Flaw> {
        let rev = rev.ok_or(Flaw::NotVerified)?;
        if self.clock.refuses(self.host_id.0, rev.timestamp_micros()) {
            return Err(Flaw::FutureRev);
        }
        if known.rev.as_ref().is_some_and(|indexed| rev <= indexed) {
            return Err(Flaw::NotVerified);
        }
        match &known.check {
            Check::Nothing => Err(Flaw::NotVerified),
            Check::Hashes => Ok(None),
            Check::Signature(key) => key.public_key().map(Some).ok_or(Flaw::NotVerified),
        }
    }

    fn commit(
        &self,
        frame: &Bytes,
        body: &CommitBody,
        did: &Did,
        known: &Known,
        skipped: &mut Vec<&'static str>,
    ) -> Result<ProvenCommit, Flaw> {
        let key = self.worth_verifying(known, body.rev.as_ref())?;
        if body.incomplete {
            return Err(Flaw::TooBig);
        }
        let ops = body.ops.as_deref().ok_or(Flaw::BadOps)?;
        if frame.len() > MAX_FRAME_BYTES || ops.len() > MAX_OPS {
            return Err(Flaw::OverLimit);
        }
        let head = body.commit.as_ref().and_then(Link::dag).ok_or(Flaw::BadBlocks)?;
        let blocks = read_blocks(body.blocks, MAX_COMMIT_BLOCKS_BYTES)?;
        let commit = signed_commit(&blocks, Some(head), did, key)?;
        if body.rev != Some(commit.rev) {
            return Err(Flaw::CommitMismatch);
        }
        let tree_ops = ops.iter().map(tree_op).collect::<Option<Vec<TreeOp>>>();
        let legacy = match (&body.prev_data, tree_ops) {
            (Some(prev_data), Some(tree_ops)) => {
                let tree = PartialTree::open(&blocks, &commit.data).map_err(|_| Flaw::BadBlocks)?;
                let undone = tree.invert(&tree_ops).map_err(|_| Flaw::BadOps)?;
                if Some(undone) != prev_data.dag() {
                    return Err(Flaw::BadOps);
                }
                None
            }
            // An old host leaves out what only our index can tell.
            _ => Some(LegacyCommit { blocks: frame.slice_ref(body.blocks), ops: self.legacy_ops(ops)?, proof: None }),
        };
        let changes = ops.iter().filter_map(|op| change(op, &blocks, self.filter, skipped).transpose());
        let changes = changes.collect::<Result<_, _>>()?;
        Ok(ProvenCommit { head: commit.cid, data: commit.data, author: author(key), changes, legacy })
    }

    fn legacy_ops(&self, ops: &[Op]) -> Result<Vec<LegacyOp>, Flaw> {
        let dag = |link: &Option<Link>| match link {
            Some(link) => link.dag().map(Some).ok_or(Flaw::BadOps),
            None => Ok(None),
        };
        ops.iter()
            .map(|op| {
                Ok(LegacyOp {
                    path: op.path.to_owned(),
                    cid: dag(&op.cid)?,
                    prev: dag(&op.prev)?,
                    is_create: op.action == Action::Create,
                    is_indexed: op.path.split_once('/').is_some_and(|(nsid, _)| self.filter.matches(nsid)),
                })
            })
            .collect()
    }
}

/// An op that can be undone; None where an old host left out what was there before.
fn tree_op<'a>(op: &Op<'a>) -> Option<TreeOp<'a>> {
    let action = match op.action {
        Action::Create => TreeAction::Create(op.cid?),
        Action::Update => TreeAction::Update { cid: op.cid?, prev: op.prev? },
        Action::Delete => TreeAction::Delete(op.prev?),
    };
    Some(TreeOp { path: op.path, action })
}

fn author(key: Option<&PublicKey>) -> Author {
    key.map_or(Author::NotAsked, |_| Author::Account)
}

fn read_blocks(blocks: &[u8], max_bytes: usize) -> Result<car::Car<'_>, Flaw> {
    if blocks.len() > max_bytes {
        return Err(Flaw::OverLimit);
    }
    car::read(blocks).map_err(|_| Flaw::BadBlocks)
}

/// The commit in a CAR: the one that is asked for, else its root.
fn signed_commit(car: &car::Car, head: Option<DagCid>, did: &Did, key: Option<&PublicKey>) -> Result<Commit, Flaw> {
    let head = head.or_else(|| car.roots().first().and_then(Link::dag)).ok_or(Flaw::BadBlocks)?;
    let block = car.get(&head).ok_or(Flaw::BadBlocks)?;
    let commit = commit::parse(head, block).map_err(|_| Flaw::BadBlocks)?;
    // Its time is that of the event's rev, which was judged already and must be the same.
    commit.check(did, u64::MAX).map_err(|_| Flaw::CommitMismatch)?;
    if let Some(key) = key {
        commit.verify(key).map_err(|_| Flaw::BadSignature)?;
    }
    Ok(commit.into_commit())
}

/// The row change of an op, if it is inside the filter. The inversion has proven that the tree has this CID at this path; a record
/// that the event left out may be in the repo.
fn change(
    op: &Op,
    blocks: &car::Car,
    filter: &CollectionFilter,
    skipped: &mut Vec<&'static str>,
) -> Result<Option<RecordChange>, Flaw> {
    let Some((collection, rkey)) = op.path.split_once('/').filter(|(collection, _)| filter.matches(collection)) else {
        return Ok(None);
    };
    let (Ok(collection), Ok(rkey)) = (Nsid::parse(collection), RecordKey::parse(rkey)) else {
        skipped.push("invalid_path");
        return Ok(None);
    };
    let (collection, rkey) = (collection.into(), rkey.into());
    if op.action == Action::Delete {
        return Ok(Some(RecordChange::Remove { collection, rkey }));
    }
    let record = match op.cid.as_ref().and_then(Link::dag) {
        Some(cid) => json(blocks.get(&cid).ok_or(Flaw::BadBlocks)?).map(|json| (cid, json)),
        None => Err("foreign_cid"),
    };
    Ok(Some(match record {
        Ok((cid, json)) => RecordChange::Put { collection, rkey, cid, json, is_update: op.action == Action::Update },
        // What cannot be indexed has no row, and an older one at its path goes.
        Err(reason) => {
            skipped.push(reason);
            RecordChange::Remove { collection, rkey }
        }
    }))
}

fn json(block: &[u8]) -> Result<String, &'static str> {
    if block.len() > MAX_RECORD_BYTES {
        return Err("too_large");
    }
    record_to_json(block).map(|record| record.json).map_err(|_| "undecodable")
}

/// The sequence number that a frame tells, for the simulation.
#[cfg(test)]
pub(crate) fn seq_of(frame: &[u8]) -> Option<i64> {
    match frame::decode(frame).ok()? {
        Message::Event { seq, .. } => Some(seq),
        Message::Unknown { seq } => seq,
        Message::Info { .. } | Message::Error { .. } => None,
    }
}
