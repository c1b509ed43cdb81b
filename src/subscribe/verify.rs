//! What an event says, verified by itself: limits, blocks against CIDs, commit against event, signature, ops against the tree. What
//! it means for the index is judged by `index::verdict` inside the transaction. A batch is verified in one blocking step.

use std::collections::HashMap;

use bytes::Bytes;

use super::Subscriber;
use super::frame::{self, Action, Body, CommitBody, Message, Op};
use crate::index::{CommitFact, Desync, Event, Fact, RecordChange};
use crate::metrics::EventKind;
use crate::repo::dag_cbor::record_to_json;
use crate::repo::mst::{PartialTree, TreeAction, TreeOp};
use crate::repo::{Commit, DagCid, Link, PublicKey, car, commit};
use crate::store::{HeldEvent, HostId, RepoId, StoreError, Tx, TxResult, unix_millis};
use crate::syntax::{CollectionFilter, Did, Nsid, RecordKey, Rev};

/// Limits of the lexicon `com.atproto.sync.subscribeRepos`, in bytes and ops.
const MAX_FRAME_BYTES: usize = 5_000_000;
const MAX_COMMIT_BLOCKS_BYTES: usize = 2_000_000;
const MAX_SYNC_BLOCKS_BYTES: usize = 10_000;
const MAX_OPS: usize = 200;
const MAX_RECORD_BYTES: usize = 1_000_000;

/// A batch of frames, verified.
#[derive(Default)]
pub(super) struct Batch {
    /// Events about accounts, in order.
    pub events: Vec<Event>,
    /// The kind of each.
    pub kinds: Vec<EventKind>,
    /// The sequence number of the last frame that had one.
    pub seq: Option<i64>,
    /// What the host says about the stream itself.
    pub notices: Vec<Notice>,
}

/// A message about the stream.
pub(super) enum Notice {
    /// `#info`
    Info(String),
    /// An error frame.
    Error { name: String, message: String },
}

/// What verification needs to know of an account.
#[derive(Default)]
struct Known {
    /// The signing key; None: do not verify, the event will wait or cause a fetch whatever it says.
    key: Option<PublicKey>,
    /// The rev that is indexed: at or below it, an event is not worth verifying.
    rev: Option<Rev>,
}

/// Decodes and verifies a batch on a blocking thread.
pub(super) async fn batch(subscriber: &Subscriber, host_id: HostId, frames: Vec<Bytes>) -> Result<Batch, StoreError> {
    let _turn = subscriber.verifiers.clone().acquire_owned().await.expect("the semaphore is never closed");
    let subscriber = subscriber.clone();
    tokio::task::spawn_blocking(move || verify(&subscriber, host_id, &frames))
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn verify(subscriber: &Subscriber, host_id: HostId, frames: &[Bytes]) -> Result<Batch, StoreError> {
    let messages: Vec<_> = frames.iter().map(|frame| (frame, frame::decode(frame))).collect();
    let mut known: HashMap<Did, Known> = HashMap::new();
    subscriber.store.read_blocking(|tx| {
        for (_, message) in &messages {
            if let Ok(Message::Event { did, body: Body::Commit(_) | Body::Sync { .. }, .. }) = message
                && !known.contains_key(did)
            {
                known.insert(did.clone(), look_up(tx, host_id, did)?);
            }
        }
        Ok(())
    })?;
    let filter = subscriber.store.filter();
    let now_micros = unix_millis().unsigned_abs() * 1000;
    let mut batch = Batch::default();
    for (frame, message) in messages {
        match message {
            Ok(Message::Event { seq, did, body }) => {
                let (kind, fact) = fact(frame, &did, body, known.get(&did), filter, now_micros);
                count_skipped(subscriber, &fact);
                batch.seq = Some(seq);
                batch.kinds.push(kind);
                let Checked { fact, .. } = fact;
                batch.events.push(Event { did, seq, fact, frame: frame.clone() });
            }
            Ok(Message::Info { name }) => {
                subscriber.metrics.event(EventKind::Info, "noted");
                batch.notices.push(Notice::Info(name));
            }
            Ok(Message::Error { name, message }) => {
                subscriber.metrics.event(EventKind::Error, "noted");
                batch.notices.push(Notice::Error { name, message });
            }
            Ok(Message::Unknown { seq }) => {
                subscriber.metrics.event(EventKind::Other, "passed_over");
                batch.seq = seq.or(batch.seq);
            }
            Err(error) => subscriber.metrics.bad_frame(error.reason()),
        }
    }
    Ok(batch)
}

fn look_up(tx: &Tx, host_id: HostId, did: &Did) -> TxResult<Known> {
    let Some(repo) = tx.repo(did)? else { return Ok(Known::default()) };
    let rev = repo.verified.map(|(rev, _)| rev);
    if repo.busy || repo.host_id != host_id {
        return Ok(Known { key: None, rev });
    }
    let key = tx.signing_key(repo.id)?.and_then(|key| PublicKey::from_did_key(&key).ok());
    Ok(Known { key, rev })
}

/// Verifies events that were held, with the key as it is now.
pub(super) fn held(tx: &Tx, repo: RepoId, frames: Vec<HeldEvent>, filter: &CollectionFilter) -> TxResult<Vec<Event>> {
    let key = tx.signing_key(repo)?.and_then(|key| PublicKey::from_did_key(&key).ok());
    let known = Known { key, rev: None };
    let now_micros = unix_millis().unsigned_abs() * 1000;
    let mut events = Vec::with_capacity(frames.len());
    for held in frames {
        let bytes = Bytes::from(held.frame);
        // They were decoded before they were held.
        if let Ok(Message::Event { seq, did, body }) = frame::decode(&bytes) {
            let (_, checked) = fact(&bytes, &did, body, Some(&known), filter, now_micros);
            events.push(Event { did, seq, fact: checked.fact, frame: bytes.clone() });
        }
    }
    Ok(events)
}

/// A fact, and why some of its records are not in it.
struct Checked {
    fact: Fact,
    skipped: Vec<&'static str>,
}

fn count_skipped(subscriber: &Subscriber, checked: &Checked) {
    for reason in &checked.skipped {
        subscriber.metrics.records_skipped(reason, 1);
    }
}

fn fact(
    frame: &Bytes,
    did: &Did,
    body: Body,
    known: Option<&Known>,
    filter: &CollectionFilter,
    now_micros: u64,
) -> (EventKind, Checked) {
    let mut skipped = Vec::new();
    let (kind, fact) = match body {
        Body::Account { active, status } => (EventKind::Account, Fact::Account { active, status }),
        Body::Identity => (EventKind::Identity, Fact::Identity),
        Body::Sync { rev, blocks } => {
            let fact = worth_verifying(known, rev.as_ref())
                .and_then(|key| signed_commit(blocks, MAX_SYNC_BLOCKS_BYTES, None, did, key, now_micros))
                .map(|commit| Fact::Sync { rev: commit.rev, head: commit.cid, data: commit.data });
            (EventKind::Sync, fact.unwrap_or_else(|reason| Fact::Unusable(reason, rev)))
        }
        Body::Commit(body) => {
            let fact = worth_verifying(known, body.rev.as_ref())
                .and_then(|key| commit_fact(frame, &body, did, key, filter, now_micros, &mut skipped))
                .map(Fact::Commit);
            (EventKind::Commit, fact.unwrap_or_else(|reason| Fact::Unusable(reason, body.rev)))
        }
    };
    (kind, Checked { fact, skipped })
}

/// The key to verify with, unless the verdict does not depend on it.
fn worth_verifying<'a>(known: Option<&'a Known>, rev: Option<&Rev>) -> Result<&'a PublicKey, Desync> {
    let known = known.ok_or(Desync::NoKey)?;
    if let (Some(indexed), Some(rev)) = (&known.rev, rev)
        && rev <= indexed
    {
        return Err(Desync::SinceMismatch);
    }
    known.key.as_ref().ok_or(Desync::NoKey)
}

fn commit_fact(
    frame: &Bytes,
    body: &CommitBody,
    did: &Did,
    key: &PublicKey,
    filter: &CollectionFilter,
    now_micros: u64,
    skipped: &mut Vec<&'static str>,
) -> Result<CommitFact, Desync> {
    if body.incomplete {
        return Err(Desync::TooBig);
    }
    let ops = body.ops.as_deref().ok_or(Desync::BadOps)?;
    if frame.len() > MAX_FRAME_BYTES || ops.len() > MAX_OPS {
        return Err(Desync::OverLimit);
    }
    let head = body.commit.as_ref().and_then(Link::dag).ok_or(Desync::BadBlocks)?;
    let commit = signed_commit(body.blocks, MAX_COMMIT_BLOCKS_BYTES, Some(head), did, key, now_micros)?;
    if body.rev != Some(commit.rev) {
        return Err(Desync::BadBlocks);
    }
    let fact = CommitFact {
        rev: commit.rev,
        since: body.since,
        head: commit.cid,
        prev_data: body.prev_data.as_ref().and_then(Link::dag),
        data: commit.data,
        changes: Vec::new(),
    };
    let Some(prev_data) = fact.prev_data else {
        // An old host: without it nothing can be proven; the verdict is to fetch.
        return Ok(fact);
    };
    let blocks = car::read(body.blocks).map_err(|_| Desync::BadBlocks)?;
    let tree_ops = ops.iter().map(tree_op).collect::<Option<Vec<TreeOp>>>().ok_or(Desync::BadOps)?;
    let tree = PartialTree::open(&blocks, &commit.data).map_err(|_| Desync::BadBlocks)?;
    if tree.invert(&tree_ops).map_err(|_| Desync::BadOps)? != prev_data {
        return Err(Desync::BadOps);
    }
    let changes =
        ops.iter().filter_map(|op| change(op, &blocks, filter, skipped).transpose()).collect::<Result<_, _>>()?;
    Ok(CommitFact { changes, ..fact })
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

/// The commit in a CAR: the one that is asked for, else its root.
fn signed_commit(
    blocks: &[u8],
    max_bytes: usize,
    head: Option<DagCid>,
    did: &Did,
    key: &PublicKey,
    now_micros: u64,
) -> Result<Commit, Desync> {
    if blocks.len() > max_bytes {
        return Err(Desync::OverLimit);
    }
    let car = car::read(blocks).map_err(|_| Desync::BadBlocks)?;
    let head = head.or_else(|| car.roots().first().and_then(Link::dag)).ok_or(Desync::BadBlocks)?;
    let block = car.get(&head).ok_or(Desync::BadBlocks)?;
    let commit = commit::parse(head, block).map_err(|_| Desync::BadBlocks)?;
    commit.check(did, now_micros).map_err(|_| Desync::BadBlocks)?;
    commit.verify(key).map_err(|_| Desync::BadSignature)?;
    Ok(commit.into_commit())
}

/// The row change of an op, if it is inside the filter. The inversion has proven that the tree has this CID at this path; a record
/// that the event left out may be in the repo.
fn change(
    op: &Op,
    blocks: &car::Car,
    filter: &CollectionFilter,
    skipped: &mut Vec<&'static str>,
) -> Result<Option<RecordChange>, Desync> {
    let Some((collection, rkey)) = op.path.split_once('/').filter(|(collection, _)| filter.matches(collection)) else {
        return Ok(None);
    };
    if Nsid::parse(collection).is_err() || RecordKey::parse(rkey).is_err() {
        skipped.push("invalid_path");
        return Ok(None);
    }
    let remove = RecordChange::Remove { collection: collection.to_owned(), rkey: rkey.to_owned() };
    if op.action == Action::Delete {
        return Ok(Some(remove));
    }
    let record = match op.cid.as_ref().and_then(Link::dag) {
        Some(cid) => json(blocks.get(&cid).ok_or(Desync::BadBlocks)?).map(|json| (cid, json)),
        None => Err("foreign_cid"),
    };
    Ok(Some(match record {
        Ok((cid, json)) => RecordChange::Put { collection: collection.to_owned(), rkey: rkey.to_owned(), cid, json },
        // What cannot be indexed has no row, and an older one at its path goes.
        Err(reason) => {
            skipped.push(reason);
            remove
        }
    }))
}

fn json(block: &[u8]) -> Result<String, &'static str> {
    if block.len() > MAX_RECORD_BYTES {
        return Err("too_large");
    }
    record_to_json(block).map(|record| record.json).map_err(|_| "undecodable")
}
