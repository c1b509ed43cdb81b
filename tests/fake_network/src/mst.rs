//! The Merkle Search Tree of a repo, built as the repository spec defines it and not as an efficient server would: a
//! node at layer L lists the keys of height L in its gap, with the subtrees of the gaps between them.
//!
//! Nodes are cached by (layer, the key that their gap begins after); a write forgets the nodes whose gap holds its key.

use std::collections::BTreeMap;

use cid::Cid;
use serde::Serialize;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use crate::block::Block;

/// The leaves of a repo, in key order, and the nodes over them.
#[derive(Clone, Default)]
pub struct Tree {
    leaves: Vec<Leaf>,
    nodes: BTreeMap<Gap, Node>,
}

/// A gap between keys that are higher than its layer: (layer, the key that it begins after, "" for the first gap).
type Gap = (u8, String);

/// A node's block, with the rev of the commit that made it.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) block: Block,
    pub(crate) rev: String,
}

#[derive(Clone)]
struct Leaf {
    key: String,
    height: u8,
    value: Cid,
}

#[derive(Serialize)]
struct NodeData {
    e: Vec<EntryData>,
    l: Option<Cid>,
}

#[derive(Serialize)]
struct EntryData {
    k: ByteBuf,
    p: usize,
    t: Option<Cid>,
    v: Cid,
}

impl Tree {
    /// Sets a leaf (`Some`) or removes it (`None`).
    pub fn set(&mut self, key: &str, value: Option<Cid>) {
        let position = self.leaves.binary_search_by(|leaf| leaf.key.as_str().cmp(key));
        match (position, value) {
            (Ok(at), Some(value)) => self.leaves[at].value = value,
            (Ok(at), None) => drop(self.leaves.remove(at)),
            (Err(at), Some(value)) => self.leaves.insert(at, Leaf { key: key.to_owned(), height: height(key), value }),
            (Err(_), None) => return,
        }
        if self.nodes.is_empty() {
            return;
        }
        for layer in 0..=self.nodes.keys().next_back().map_or(0, |(layer, _)| *layer) {
            self.nodes.remove(&self.gap_around(layer, key));
            self.nodes.remove(&(layer, key.to_owned()));
        }
    }

    /// Sets many leaves at once, in any order.
    pub fn extend(&mut self, leaves: impl IntoIterator<Item = (String, Cid)>) {
        let mut all: BTreeMap<String, Leaf> = self.leaves.drain(..).map(|leaf| (leaf.key.clone(), leaf)).collect();
        for (key, value) in leaves {
            let leaf = Leaf { height: height(&key), key: key.clone(), value };
            all.insert(key, leaf);
        }
        self.leaves = all.into_values().collect();
        self.nodes.clear();
    }

    /// Makes the nodes that are missing, marks them with this rev, and gives the root's CID.
    pub fn root(&mut self, rev: &str) -> Cid {
        let top = self.top();
        self.nodes.retain(|(layer, _), _| *layer <= top);
        build(&self.leaves, top, "", rev, &mut self.nodes)
    }

    /// The value at a key.
    pub fn get(&self, key: &str) -> Option<Cid> {
        let at = self.leaves.binary_search_by(|leaf| leaf.key.as_str().cmp(key)).ok()?;
        Some(self.leaves[at].value)
    }

    /// All leaves in key order.
    pub fn leaves(&self) -> impl ExactSizeIterator<Item = (&str, Cid)> {
        self.leaves.iter().map(|leaf| (leaf.key.as_str(), leaf.value))
    }

    /// All nodes; [`Tree::root`] must have been called after the last change.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The nodes that show whether the key is there and from which a commit that touched it can be undone: those on
    /// the way to the key, to the last key before it and to the first one after it.
    pub fn proof(&self, key: &str) -> Vec<Block> {
        let after = self.leaves.partition_point(|leaf| leaf.key.as_str() <= key);
        let before = self.leaves.partition_point(|leaf| leaf.key.as_str() < key);
        let neighbours = [before.checked_sub(1), Some(after)].into_iter().flatten();
        let mut gaps = self.path(key);
        for leaf in neighbours.filter_map(|at| self.leaves.get(at)) {
            gaps.extend(self.path(&leaf.key));
        }
        gaps.sort();
        gaps.dedup();
        gaps.iter().map(|gap| self.nodes[gap].block.clone()).collect()
    }

    /// The nodes on the way to a key or to the gap where it would stand, as the reference PDS proves a record or its absence.
    pub fn way(&self, key: &str) -> Vec<Block> {
        self.path(key).iter().map(|gap| self.nodes[gap].block.clone()).collect()
    }

    fn path(&self, key: &str) -> Vec<Gap> {
        let lowest = self.get(key).map_or(0, |_| height(key));
        let gaps = (lowest..=self.top()).rev().map(|layer| self.gap_around(layer, key));
        gaps.filter(|gap| self.nodes.contains_key(gap)).collect()
    }

    fn gap_around(&self, layer: u8, key: &str) -> Gap {
        let end = self.leaves.partition_point(|leaf| leaf.key.as_str() < key);
        let before = self.leaves[..end].iter().rev().find(|leaf| leaf.height > layer);
        (layer, before.map(|leaf| leaf.key.clone()).unwrap_or_default())
    }

    fn top(&self) -> u8 {
        self.leaves.iter().map(|leaf| leaf.height).max().unwrap_or(0)
    }
}

/// A key's height: the number of leading zero bits of its SHA-256, in pairs.
pub fn height(key: &str) -> u8 {
    let mut zeros = 0;
    for byte in Sha256::digest(key.as_bytes()) {
        zeros += byte.leading_zeros() as u8;
        if byte != 0 {
            break;
        }
    }
    zeros / 2
}

fn build(leaves: &[Leaf], layer: u8, after: &str, rev: &str, nodes: &mut BTreeMap<Gap, Node>) -> Cid {
    let gap = (layer, after.to_owned());
    if let Some(node) = nodes.get(&gap) {
        return node.block.cid;
    }
    let mut subtree = |leaves: &[Leaf], after: &str| {
        (!leaves.is_empty()).then(|| build(leaves, layer.saturating_sub(1), after, rev, nodes))
    };
    let mut gaps = leaves.split(|leaf| leaf.height == layer);
    let here = leaves.iter().filter(|leaf| leaf.height == layer);
    let left = subtree(gaps.next().unwrap_or_default(), after);
    let mut entries = Vec::new();
    let mut previous = "";
    for (leaf, gap) in here.zip(gaps) {
        let shared = common_prefix(previous, &leaf.key);
        entries.push(EntryData {
            k: ByteBuf::from(&leaf.key.as_bytes()[shared..]),
            p: shared,
            t: subtree(gap, &leaf.key),
            v: leaf.value,
        });
        previous = &leaf.key;
    }
    let block = Block::encode(&NodeData { e: entries, l: left });
    let cid = block.cid;
    nodes.insert(gap, Node { block, rev: rev.to_owned() });
    cid
}

fn common_prefix(left: &str, right: &str) -> usize {
    left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const KEYS: &str = include_str!("../../interop/mst/example_keys.txt");
    const VALUE: &str = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";

    fn vectors(json: &str) -> Vec<Value> {
        serde_json::from_str(json).unwrap()
    }

    fn strings(list: &Value) -> Vec<&str> {
        list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
    }

    fn tree_of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Tree {
        let mut tree = Tree::default();
        tree.extend(keys.into_iter().map(|key| (key.to_owned(), VALUE.parse().unwrap())));
        tree.root("");
        tree
    }

    fn node_cids(tree: &Tree) -> BTreeSet<String> {
        tree.nodes().map(|node| node.block.cid.to_string()).collect()
    }

    #[test]
    fn heights_and_prefixes_are_those_of_the_interop_vectors() {
        for vector in vectors(include_str!("../../interop/mst/key_heights.json")) {
            assert_eq!(height(vector["key"].as_str().unwrap()), vector["height"]);
        }
        for vector in vectors(include_str!("../../interop/mst/common_prefix.json")) {
            let text = |name: &str| vector[name].as_str().unwrap();
            assert_eq!(common_prefix(text("left"), text("right")), vector["len"]);
        }
    }

    #[test]
    fn an_empty_repo_has_the_known_root() {
        let root = Tree::default().root("");
        assert_eq!(root.to_string(), "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
    }

    #[test]
    fn commit_proofs_hold_every_block_of_the_interop_fixtures() {
        for fixture in vectors(include_str!("../../interop/firehose/commit-proof-fixtures.json")) {
            let mut tree = tree_of(strings(&fixture["keys"]));
            assert_eq!(tree.root("").to_string(), fixture["rootBeforeCommit"], "{}", fixture["comment"]);
            let before = node_cids(&tree);
            let changes = |name| strings(&fixture[name]);
            changes("adds").iter().for_each(|key| tree.set(key, Some(VALUE.parse().unwrap())));
            changes("dels").iter().for_each(|key| tree.set(key, None));
            assert_eq!(tree.root("").to_string(), fixture["rootAfterCommit"], "{}", fixture["comment"]);
            let keys = [changes("adds"), changes("dels")].concat();
            let proof: BTreeSet<String> =
                keys.iter().flat_map(|key| tree.proof(key)).map(|block| block.cid.to_string()).collect();
            for cid in strings(&fixture["blocksInProof"]) {
                assert!(proof.contains(cid), "{}: {cid}", fixture["comment"]);
            }
            assert!(node_cids(&tree).difference(&before).all(|new| proof.contains(new)));
        }
    }

    #[test]
    fn a_tree_changed_key_by_key_is_the_tree_built_at_once_and_proofs_hold_every_new_node() {
        let keys: Vec<&str> = KEYS.lines().collect();
        let mut random = fastrand::Rng::with_seed(1);
        let mut tree = Tree::default();
        tree.root("");
        let mut present = BTreeSet::new();
        for _ in 0..600 {
            let key = *random.choice(&keys).unwrap();
            let adds = !present.remove(key);
            if adds {
                present.insert(key);
            }
            let before = node_cids(&tree);
            tree.set(key, adds.then(|| VALUE.parse().unwrap()));
            let mut fresh = tree_of(present.iter().copied());
            assert_eq!(tree.root(""), fresh.root(""));
            assert_eq!(node_cids(&tree), node_cids(&fresh));
            let proof: BTreeSet<String> = tree.proof(key).iter().map(|block| block.cid.to_string()).collect();
            assert!(node_cids(&tree).difference(&before).all(|new| proof.contains(new)));
        }
    }
}
