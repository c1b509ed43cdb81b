//! Commits of old hosts, which say neither `prevData` nor what an op replaced (`ops[].prev`). Inside the filter we know what was there:
//! our own rows. When that is enough to undo all ops, and gives the tree that is indexed, the commit is proven like any other.
//! When an op outside the filter stands in the way, the tree still shows that each op inside it is true.

use crate::repo::car::Car;
use crate::repo::mst::{Lookup, PartialTree, TreeAction, TreeOp};
use crate::repo::{DagCid, Link};
use crate::store::{RepoId, Tx, TxResult};

/// An op as an old host sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyOp {
    /// `collection/rkey`
    pub path: String,
    /// The record now; None: deleted.
    pub cid: Option<DagCid>,
    /// The record before, if the host says it.
    pub prev: Option<DagCid>,
    /// Whether there was no record before.
    pub is_create: bool,
    /// Whether its collection is indexed.
    pub is_indexed: bool,
}

/// How far what is indexed proves an old host's commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyProof {
    /// Undoing all ops gives the tree that is indexed.
    Whole,
    /// The ops inside the filter are true; whether they are all cannot be shown.
    OpsOnly,
    /// Something does not fit.
    None,
}

/// Proves the ops that led to the tree `data`, from the tree `indexed`.
pub(super) fn prove(
    tx: &Tx,
    repo: RepoId,
    car: &Car,
    data: &DagCid,
    ops: &[LegacyOp],
    indexed: &DagCid,
) -> TxResult<LegacyProof> {
    let Ok(tree) = PartialTree::open(car, data) else { return Ok(LegacyProof::None) };
    let mut known_ops = Vec::with_capacity(ops.len());
    for op in ops {
        known_ops.push(known_op(tx, repo, op)?);
    }
    if let Some(tree_ops) = known_ops.into_iter().collect::<Option<Vec<_>>>() {
        let is_whole = tree.invert(&tree_ops).is_ok_and(|undone| undone == *indexed);
        return Ok(if is_whole { LegacyProof::Whole } else { LegacyProof::None });
    }
    let is_true = |op: &LegacyOp| match (op.cid, tree.lookup(&op.path)) {
        (Some(cid), Lookup::Present(link)) => link == Link::Dag(cid),
        (None, Lookup::Absent) => true,
        _ => false,
    };
    let all_true = ops.iter().filter(|op| op.is_indexed).all(is_true);
    Ok(if all_true { LegacyProof::OpsOnly } else { LegacyProof::None })
}

/// The op with what it replaced; None when neither the host nor the index says that.
fn known_op<'a>(tx: &Tx, repo: RepoId, op: &'a LegacyOp) -> TxResult<Option<TreeOp<'a>>> {
    let prev = match op.prev {
        Some(prev) => Some(prev),
        None if op.is_indexed && !op.is_create => indexed_cid(tx, repo, &op.path)?,
        None => None,
    };
    let action = match (op.is_create, op.cid, prev) {
        (true, Some(cid), _) => TreeAction::Create(Link::Dag(cid)),
        (false, Some(cid), Some(prev)) => TreeAction::Update { cid: Link::Dag(cid), prev: Link::Dag(prev) },
        (false, None, Some(prev)) => TreeAction::Delete(Link::Dag(prev)),
        _ => return Ok(None),
    };
    Ok(Some(TreeOp { path: &op.path, action }))
}

fn indexed_cid(tx: &Tx, repo: RepoId, path: &str) -> TxResult<Option<DagCid>> {
    match path.split_once('/') {
        Some((collection, rkey)) => tx.record_cid(repo, collection, rkey),
        None => Ok(None),
    }
}
