//! Any operations on any tree: what inversion answers is the root of the tree before them, and where nodes are missing, that or nothing.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use cid::Cid;
use fake_network::block::{Block, cid_of, write_car};
use fake_network::mst::Tree;
use libfuzzer_sys::fuzz_target;
use signpost::repo::mst::{InversionError, PartialTree, TreeAction, TreeOp};
use signpost::repo::{DagCid, Link, car};

type Records = BTreeMap<u8, u8>;

#[derive(Arbitrary, Debug)]
struct Input {
    /// The tree after the operations: keys with their records.
    after: Records,
    claims: Vec<Claim>,
    /// Nodes that the event leaves out.
    missing: BTreeSet<u8>,
}

/// An operation that the event tells of.
#[derive(Arbitrary, Debug)]
struct Claim {
    key: u8,
    action: Action,
    /// The record now; None: as it is in the tree.
    cid: Option<u8>,
}

#[derive(Arbitrary, Debug)]
enum Action {
    Create,
    Update { prev: u8 },
    Delete { prev: u8 },
}

fuzz_target!(|input: Input| {
    let Input { mut after, mut claims, missing } = input;
    after = after.into_iter().take(64).collect();
    claims.truncate(32);
    let (root, blocks) = tree(&after);
    let before = undo(&after, &claims).map(|before| dag(&tree(&before).0));

    let paths: Vec<String> = claims.iter().map(|claim| path(claim.key)).collect();
    let links: Vec<[DagCid; 2]> = claims.iter().map(|claim| claim.links(&after)).collect();
    let ops = claims.iter().zip(&paths).zip(&links).map(|((claim, path), [cid, prev])| {
        let (cid, prev) = (Link::Dag(*cid), Link::Dag(*prev));
        let action = match claim.action {
            Action::Create => TreeAction::Create(cid),
            Action::Update { .. } => TreeAction::Update { cid, prev },
            Action::Delete { .. } => TreeAction::Delete(prev),
        };
        TreeOp { path, action }
    });
    let ops: Vec<TreeOp> = ops.collect();

    let whole = write_car(Vec::new(), &blocks);
    assert_eq!(invert(&whole, &root, &ops).ok(), before, "with every node");

    let is_shown = |(n, block): &(usize, &Block)| block.cid == root || !missing.contains(&(*n as u8));
    let shown: Vec<&Block> = blocks.iter().enumerate().filter(is_shown).map(|(_, block)| block).collect();
    match invert(&write_car(Vec::new(), shown.iter().copied()), &root, &ops) {
        Ok(undone) => assert_eq!(Some(undone), before, "with some nodes"),
        Err(InversionError::MissingNode(_)) => assert!(shown.len() < blocks.len()),
        Err(error) => assert_eq!(before, None, "{error}"),
    }
});

impl Claim {
    fn cid(&self, after: &Records) -> u8 {
        self.cid.or(after.get(&self.key).copied()).unwrap_or_default()
    }

    fn links(&self, after: &Records) -> [DagCid; 2] {
        let prev = match self.action {
            Action::Update { prev } | Action::Delete { prev } => prev,
            Action::Create => 0,
        };
        [self.cid(after), prev].map(|record| DagCid::for_block(&[record]))
    }
}

/// The records before, by the plain meaning of the operations; None: they cannot have led to what is there.
fn undo(after: &Records, claims: &[Claim]) -> Option<Records> {
    let (mut before, mut keys) = (after.clone(), BTreeSet::new());
    for claim in claims {
        let is_first = keys.insert(claim.key);
        let present = after.get(&claim.key).copied();
        let fits = present == Some(claim.cid(after));
        match claim.action {
            _ if !is_first => return None,
            Action::Create if fits => before.remove(&claim.key),
            Action::Update { prev } if fits => before.insert(claim.key, prev),
            Action::Delete { prev } if present.is_none() => before.insert(claim.key, prev),
            _ => return None,
        };
    }
    Some(before)
}

fn invert(car: &[u8], root: &Cid, ops: &[TreeOp]) -> Result<DagCid, InversionError> {
    let car = car::read(car).expect("well formed");
    PartialTree::open(&car, &dag(root)).expect("a sound tree").invert(ops)
}

fn tree(records: &Records) -> (Cid, Vec<Block>) {
    let mut tree = Tree::default();
    tree.extend(records.iter().map(|(key, record)| (path(*key), cid_of(&[*record]))));
    let root = tree.root("");
    let mut blocks: Vec<Block> = Vec::new();
    for key in records.keys().map(|key| path(*key)).chain([String::new()]) {
        for block in tree.proof(&key) {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
    }
    (root, blocks)
}

fn path(key: u8) -> String {
    format!("io.atcr.tag/{key}")
}

fn dag(cid: &Cid) -> DagCid {
    DagCid::from_cid_bytes(&cid.to_bytes()).expect("dag-cbor and SHA-256")
}
