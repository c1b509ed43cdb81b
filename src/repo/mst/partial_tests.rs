//! Partial trees and inversion, against the interop vectors and against the model.

use std::collections::BTreeSet;

use ipld_core::ipld::Ipld;
use proptest::prelude::*;

use super::*;
use crate::repo::car::{self, Car};
use crate::repo::cid::{DagCid, Link};
use crate::repo::model::{Blocks, Keys, build_tree, entry, level, link, map, put, write_car};

/// A change of a tree: the keys before and after, each with its record.
#[derive(Debug)]
struct Change {
    before: Keys,
    after: Keys,
}

impl Change {
    fn roots(&self) -> (DagCid, DagCid, Blocks) {
        let mut blocks = Blocks::new();
        let before = build_tree(&self.before, &mut Blocks::new());
        let after = build_tree(&self.after, &mut blocks);
        (before, after, blocks)
    }

    fn ops(&self) -> Vec<TreeOp<'_>> {
        let paths: BTreeSet<_> = self.before.keys().chain(self.after.keys()).collect();
        paths.into_iter().filter_map(|key| self.op(key)).collect()
    }

    fn op<'k>(&self, key: &'k [u8]) -> Option<TreeOp<'k>> {
        let path = std::str::from_utf8(key).expect("UTF-8");
        let find = |keys: &Keys| keys.get(key).copied().map(Link::Dag);
        let action = match (find(&self.before), find(&self.after)) {
            (None, Some(cid)) => TreeAction::Create(cid),
            (Some(prev), None) => TreeAction::Delete(prev),
            (Some(prev), Some(cid)) if prev != cid => TreeAction::Update { cid, prev },
            _ => return None,
        };
        Some(TreeOp { path, action })
    }

    /// The nodes of the tree after, on the ways to each changed key and to its neighbours.
    fn proof(&self, root: DagCid, blocks: &Blocks) -> BTreeSet<DagCid> {
        let mut proof = BTreeSet::new();
        for op in self.ops() {
            let key = op.path.as_bytes().to_vec();
            let before = self.after.range(..key.clone()).next_back();
            let behind = self.after.range(key.clone()..).find(|(other, _)| **other != key);
            let neighbours = before.into_iter().chain(behind).map(|(key, _)| key.clone());
            neighbours.chain([key]).for_each(|key| add_path(root, &key, blocks, &mut proof));
        }
        proof
    }
}

/// Adds the nodes from the root down to where the key stands, or would.
fn add_path(root: DagCid, key: &[u8], blocks: &Blocks, proof: &mut BTreeSet<DagCid>) {
    let mut at = Some(root);
    while let Some(cid) = at {
        proof.insert(cid);
        let Ok(Ipld::Map(node)) = serde_ipld_dagcbor::from_slice(&blocks[&cid]) else { panic!("a map") };
        let Ipld::List(entries) = &node["e"] else { panic!("a list") };
        let (mut child, mut own) = (&node["l"], Vec::new());
        for entry in entries {
            let Ipld::Map(entry) = entry else { panic!("a map") };
            let (Ipld::Integer(shared), Ipld::Bytes(suffix)) = (&entry["p"], &entry["k"]) else { panic!("fields") };
            own.truncate(*shared as usize);
            own.extend(suffix);
            if own.as_slice() > key {
                break;
            }
            child = &entry["t"];
            if own == key {
                return;
            }
        }
        at = match child {
            Ipld::Link(cid) => Some(DagCid::from_cid_bytes(&cid.to_bytes()).expect("dag-cbor")),
            _ => None,
        };
    }
}

fn subset(blocks: &Blocks, wanted: &BTreeSet<DagCid>) -> Vec<u8> {
    write_car(&[], blocks.iter().filter(|(cid, _)| wanted.contains(cid)))
}

fn invert(car: &[u8], root: &DagCid, ops: &[TreeOp<'_>]) -> Result<DagCid, InversionError> {
    let car = car::read(car).expect("sound");
    PartialTree::open(&car, root)
        .map_err(|error| match error {
            MstError::MissingNode(cid) => InversionError::MissingNode(cid),
            other => panic!("{other}"),
        })?
        .invert(ops)
}

#[test]
fn proof_blocks_of_the_interop_vectors_are_enough_to_invert() {
    let file = include_str!("../../../tests/interop/firehose/commit-proof-fixtures.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(file).expect("a list");
    assert!(vectors.len() >= 6);
    for vector in vectors {
        let cid = |value: &serde_json::Value| DagCid::parse(value.as_str().expect("text")).expect("a CID");
        let list = |name: &str| vector[name].as_array().expect("a list").clone();
        let keys = |name: &str| -> Vec<Vec<u8>> {
            list(name).iter().map(|key| key.as_str().expect("a key").as_bytes().to_vec()).collect()
        };
        let leaf = cid(&vector["leafValue"]);
        let before: Keys = keys("keys").into_iter().map(|key| (key, leaf)).collect();
        let mut after = before.clone();
        after.extend(keys("adds").into_iter().map(|key| (key, leaf)));
        keys("dels").iter().for_each(|key| assert_eq!(after.remove(key), Some(leaf)));
        let change = Change { before, after };
        let (root_before, root_after, blocks) = change.roots();
        assert_eq!(root_before, cid(&vector["rootBeforeCommit"]), "{}", vector["comment"]);
        assert_eq!(root_after, cid(&vector["rootAfterCommit"]), "{}", vector["comment"]);
        let proof: BTreeSet<DagCid> = list("blocksInProof").iter().map(cid).collect();
        let car = subset(&blocks, &proof);
        assert_eq!(invert(&car, &root_after, &change.ops()), Ok(root_before), "{}", vector["comment"]);
    }
}

fn key(n: u16) -> Vec<u8> {
    format!("a.b.{}/{n:04}", if n.is_multiple_of(2) { 'c' } else { 'd' }).into_bytes()
}

fn record(n: u8) -> DagCid {
    DagCid::for_block(&[n])
}

/// A tree of up to 120 records and up to 8 changes.
fn any_change() -> impl Strategy<Value = Change> {
    let keys = prop::collection::btree_map(0..2000_u16, 0..4_u8, 0..120);
    let edits = prop::collection::btree_map(0..2000_u16, prop::option::of(4..8_u8), 0..6);
    (keys, edits, prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(4..8_u8)), 0..6)).prop_map(
        |(keys, edits, edits_in_place)| {
            let before: Keys = keys.iter().map(|(n, r)| (key(*n), record(*r))).collect();
            let mut after = before.clone();
            let mut edit = |key: Vec<u8>, value: Option<u8>| {
                after.remove(&key);
                after.extend(value.map(|value| (key, record(value))));
            };
            edits.into_iter().for_each(|(n, value)| edit(key(n), value));
            for (index, value) in edits_in_place {
                if let Some(n) = keys.keys().nth(index.index(keys.len().max(1))) {
                    edit(key(*n), value);
                }
            }
            Change { before, after }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn undone_operations_lead_to_the_tree_before(change in any_change(), seed in any::<u64>()) {
        let (before, after, blocks) = change.roots();
        let mut ops = change.ops();
        fastrand::Rng::with_seed(seed).shuffle(&mut ops);
        prop_assert_eq!(invert(&write_car(&[], &blocks), &after, &ops), Ok(before));

        let mut proof = change.proof(after, &blocks);
        proof.insert(after);
        prop_assert_eq!(invert(&subset(&blocks, &proof), &after, &ops), Ok(before));

        for missing in proof.clone() {
            proof.remove(&missing);
            match invert(&subset(&blocks, &proof), &after, &ops) {
                Ok(root) => prop_assert_eq!(root, before),
                Err(InversionError::MissingNode(cid)) => prop_assert_eq!(cid, missing),
                Err(other) => prop_assert!(false, "{}", other),
            }
            proof.insert(missing);
        }
    }

    #[test]
    fn operations_that_hide_or_invent_a_change_never_lead_to_the_tree_before(
        change in any_change(),
        which in any::<prop::sample::Index>(),
    ) {
        let (before, after, blocks) = change.roots();
        let ops = change.ops();
        prop_assume!(!ops.is_empty());
        let car = write_car(&[], &blocks);
        let mut hidden = ops.clone();
        let op = hidden.remove(which.index(ops.len()));
        prop_assert_ne!(invert(&car, &after, &hidden), Ok(before));

        let wrong = Link::Dag(record(99));
        let mut forged = ops.clone();
        forged[which.index(ops.len())].action = match op.action {
            TreeAction::Create(_) => TreeAction::Create(wrong),
            TreeAction::Update { prev, .. } => TreeAction::Update { cid: wrong, prev },
            TreeAction::Delete(_) => TreeAction::Delete(wrong),
        };
        prop_assert_ne!(invert(&car, &after, &forged), Ok(before));

        let repeated = [ops.as_slice(), &[op]].concat();
        prop_assert_eq!(invert(&car, &after, &repeated), Err(InversionError::RepeatedPath));
    }

    #[test]
    fn lookups_tell_the_truth_or_that_they_do_not_know(change in any_change(), probe in 0..2000_u16) {
        let (_, root, blocks) = change.roots();
        let mut proof = change.proof(root, &blocks);
        proof.insert(root);
        let (full, part) = (write_car(&[], &blocks), subset(&blocks, &proof));
        let truth = |path: &str| change.after.get(path.as_bytes()).map(|cid| Link::Dag(*cid));
        let open = |bytes| PartialTree::open(bytes, &root).expect("sound");
        let (full, part): (Car<'_>, Car<'_>) = (car::read(&full).expect("sound"), car::read(&part).expect("sound"));
        let (full, part) = (open(&full), open(&part));
        let probe = key(probe);
        let probes = change.after.keys().chain([&probe]).map(|key| std::str::from_utf8(key).expect("UTF-8"));
        for path in probes {
            let expected = truth(path).map_or(Lookup::Absent, Lookup::Present);
            prop_assert_eq!(full.lookup(path), expected);
            let found = part.lookup(path);
            prop_assert!(found == expected || matches!(found, Lookup::Unknown(_)));
        }
        for op in change.ops() {
            prop_assert_eq!(part.lookup(op.path), truth(op.path).map_or(Lookup::Absent, Lookup::Present));
        }
    }
}

#[test]
fn partial_trees_have_the_structure_of_whole_ones() {
    let path_of = |wanted: u8, prefix: &str| {
        (0..).map(|n| format!("{prefix}{n:06}")).find(|path| level(path.as_bytes()) == wanted).expect("one")
    };
    let (low, high, low_z) = (path_of(0, "a.b.a/"), path_of(1, "a.b.m/"), path_of(0, "a.b.z/"));
    let leaf = |key: &str, right: Ipld| entry(0, key.as_bytes(), link(&record(1)), right);
    let node = |left: Ipld, entries: Vec<Ipld>| {
        let fields = map([("l", left), ("e", Ipld::List(entries))]);
        serde_ipld_dagcbor::to_vec(&fields).expect("encodes")
    };
    let missing = link(&DagCid::for_block(b"missing"));
    let open = |root: DagCid, blocks: &Blocks| {
        let bytes = write_car(&[], blocks);
        let car = car::read(&bytes).expect("sound");
        PartialTree::open(&car, &root).map(|_| ())
    };
    let single = |node: Vec<u8>| {
        let mut blocks = Blocks::new();
        let root = put(&mut blocks, node);
        open(root, &blocks)
    };
    let with_children = |left: &str, right: &str| {
        let mut blocks = Blocks::new();
        let left = link(&put(&mut blocks, node(Ipld::Null, vec![leaf(left, Ipld::Null)])));
        let right = link(&put(&mut blocks, node(Ipld::Null, vec![leaf(right, Ipld::Null)])));
        let root = put(&mut blocks, node(left, vec![leaf(&high, right)]));
        open(root, &blocks)
    };
    assert_eq!(single(node(Ipld::Null, Vec::new())), Ok(()));
    assert_eq!(single(node(missing.clone(), Vec::new())), Err(MstError::BareRoot));
    assert_eq!(single(node(missing.clone(), vec![leaf(&high, Ipld::Null)])), Ok(()));
    assert_eq!(single(node(missing.clone(), vec![leaf(&low, Ipld::Null)])), Err(MstError::BelowLowestLevel));
    let twice = DagCid::for_block(b"missing");
    assert_eq!(single(node(missing.clone(), vec![leaf(&high, missing)])), Err(MstError::RepeatedNode(twice)));
    assert_eq!(with_children(&low, &low_z), Ok(()));
    assert_eq!(with_children(&low_z, &low), Err(MstError::KeyOrder));
    assert!(matches!(with_children(&low, &low), Err(MstError::RepeatedNode(_))));
    assert_eq!(with_children(&low, &path_of(1, "a.b.z/")), Err(MstError::KeyLevel));
    let absent = DagCid::for_block(b"");
    assert_eq!(open(absent, &Blocks::new()), Err(MstError::MissingNode(absent)));
    let mut blocks = Blocks::new();
    let empty = link(&put(&mut blocks, node(Ipld::Null, Vec::new())));
    let root = put(&mut blocks, node(empty, vec![leaf(&high, Ipld::Null)]));
    assert_eq!(open(root, &blocks), Err(MstError::EmptyNode));
}

#[test]
fn records_behind_any_kind_of_link_can_be_inverted() {
    let raw = [&[0x01, 0x55, 0x12, 0x20], record(1).digest().as_slice()].concat();
    let value = Ipld::Link(::cid::Cid::try_from(raw.as_slice()).expect("a CID"));
    let node =
        |entries| serde_ipld_dagcbor::to_vec(&map([("l", Ipld::Null), ("e", Ipld::List(entries))])).expect("encodes");
    let mut blocks = Blocks::new();
    let before = DagCid::for_block(&node(vec![entry(0, b"a.b.c/d", value.clone(), Ipld::Null)]));
    let empty = put(&mut blocks, node(Vec::new()));
    let car = write_car(&[], &blocks);
    let deletion = TreeOp { path: "a.b.c/d", action: TreeAction::Delete(Link::Other(&raw)) };
    assert_eq!(invert(&car, &empty, &[deletion]), Ok(before));
    let too_long = "x".repeat(1025);
    for path in ["", &too_long] {
        let op = TreeOp { path, ..deletion };
        assert_eq!(invert(&car, &empty, &[op]), Err(InversionError::PathLength));
    }
}
