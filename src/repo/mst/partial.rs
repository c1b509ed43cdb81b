//! The part of a tree that an event shows: the nodes on the way to what changed.

use hashbrown::HashSet;

use super::MstError;
use super::node::{self, Entry};
use crate::repo::car::Car;
use crate::repo::cid::{DagCid, Link};

/// What an event's part of a tree has of entries, of links to nodes and of bytes in its keys, in all likelihood.
const USUAL_ENTRIES: usize = 32;
const USUAL_LINKS: usize = 56;
const USUAL_KEY_BYTES: usize = 4 << 10;

/// A tree of which some nodes may be missing; those that are there are checked as those of a whole tree are.
#[derive(Clone, Debug)]
pub struct PartialTree<'a> {
    pub(super) root: Child<'a>,
    /// The bytes of all keys, one after the other: nothing is allocated for a key.
    pub(super) keys: Vec<u8>,
}

/// What a partial tree says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// There is a record, and this is the link to it.
    Present(Link<'a>),
    /// There is no record.
    Absent,
    /// This node, which would tell, is missing.
    Unknown(DagCid),
}

/// What stands in a gap between two keys.
#[derive(Clone, Debug, Default)]
pub(super) enum Child<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// A node that the archive does not hold.
    Missing(DagCid),
    /// A node, whose level is one below that of the node with the gap.
    Node(Box<Node<'a>>),
}

#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub level: u8,
    pub left: Child<'a>,
    pub leaves: Vec<Leaf<'a>>,
    /// The node's CID, as long as nothing in it or below it was changed.
    pub cid: Option<DagCid>,
}

/// A key with its record, and what stands between it and the next key.
#[derive(Clone, Debug)]
pub(super) struct Leaf<'a> {
    pub key: Key,
    pub value: Link<'a>,
    pub right: Child<'a>,
}

/// Where a key lies in `PartialTree::keys`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    start: usize,
    end: usize,
}

impl<'a> PartialTree<'a> {
    /// Reads what the archive holds of the tree with this root; the root itself must be there.
    pub fn open(car: &Car<'a>, root: &DagCid) -> Result<PartialTree<'a>, MstError> {
        let block = car.get(root).ok_or(MstError::MissingNode(*root))?;
        let mut entries = Vec::with_capacity(USUAL_ENTRIES);
        let left = node::decode(block, &mut entries)?;
        let Some(level) = node::root_level(&entries, left)? else {
            return Ok(PartialTree { root: Child::Empty, keys: Vec::new() });
        };
        let mut seen = HashSet::with_capacity(USUAL_LINKS);
        seen.insert(*root);
        let keys = Vec::with_capacity(USUAL_KEY_BYTES);
        let mut loader = Loader { car, seen, entries, keys, last: Key::default() };
        let root = loader.node(*root, level, left, 0)?;
        Ok(PartialTree { root: Child::Node(Box::new(root)), keys: loader.keys })
    }

    /// Looks for a record.
    pub fn lookup(&self, path: &str) -> Lookup<'a> {
        let key = path.as_bytes();
        let level = node::key_level(key);
        let mut child = &self.root;
        loop {
            let node = match child {
                Child::Empty => return Lookup::Absent,
                Child::Missing(cid) => return Lookup::Unknown(*cid),
                Child::Node(node) => node,
            };
            child = match node.search(&self.keys, key) {
                Ok(at) => {
                    return node.leaves.get(at).map_or(Lookup::Absent, |leaf| Lookup::Present(leaf.value));
                }
                // A key stands at its own level or nowhere.
                Err(_) if node.level <= level => return Lookup::Absent,
                Err(gap) => node.gap(gap),
            };
        }
    }
}

impl<'a> Node<'a> {
    /// The index of the key, or of the gap in which it belongs.
    pub fn search(&self, keys: &[u8], key: &[u8]) -> Result<usize, usize> {
        self.leaves.binary_search_by(|leaf| leaf.key.of(keys).cmp(key))
    }

    /// What stands before the leaf with this index, or at the end.
    pub fn gap(&self, index: usize) -> &Child<'a> {
        match index.checked_sub(1).and_then(|before| self.leaves.get(before)) {
            Some(leaf) => &leaf.right,
            None => &self.left,
        }
    }

    /// As `gap`, to change it.
    pub fn gap_mut(&mut self, index: usize) -> &mut Child<'a> {
        match index.checked_sub(1).and_then(|before| self.leaves.get_mut(before)) {
            Some(leaf) => &mut leaf.right,
            None => &mut self.left,
        }
    }
}

impl Key {
    /// Puts a key of these parts behind the others.
    pub fn add(keys: &mut Vec<u8>, shared: Key, suffix: &[u8]) -> Key {
        let start = keys.len();
        keys.extend_from_within(shared.start..shared.end);
        keys.extend_from_slice(suffix);
        Key { start, end: keys.len() }
    }

    /// Its bytes.
    pub fn of(self, keys: &[u8]) -> &[u8] {
        keys.get(self.start..self.end).unwrap_or_default()
    }
}

struct Loader<'c, 'a> {
    car: &'c Car<'a>,
    /// Every node that is linked to, there or missing: none stands in two places.
    seen: HashSet<DagCid>,
    /// The entries of the nodes that are being read, the innermost node's last.
    entries: Vec<Entry<'a>>,
    keys: Vec<u8>,
    /// The key that was read last.
    last: Key,
}

impl<'a> Loader<'_, 'a> {
    /// Reads what stands in a gap of a node at `level`; goes no deeper than that.
    fn child(&mut self, cid: Option<DagCid>, level: u8) -> Result<Child<'a>, MstError> {
        let Some(cid) = cid else { return Ok(Child::Empty) };
        let level = level.checked_sub(1).ok_or(MstError::BelowLowestLevel)?;
        if !self.seen.insert(cid) {
            return Err(MstError::RepeatedNode(cid));
        }
        let Some(block) = self.car.get(&cid) else {
            return Ok(Child::Missing(cid));
        };
        let first = self.entries.len();
        let left = node::decode(block, &mut self.entries)?;
        if self.entries.len() == first && left.is_none() {
            return Err(MstError::EmptyNode);
        }
        Ok(Child::Node(Box::new(self.node(cid, level, left, first)?)))
    }

    /// Reads what lies below a node, whose entries are those from `first` on, and takes them away.
    fn node(&mut self, cid: DagCid, level: u8, left: Option<DagCid>, first: usize) -> Result<Node<'a>, MstError> {
        let end = self.entries.len();
        let left = self.child(left, level)?;
        let mut leaves = Vec::with_capacity(end - first);
        let mut key = Key::default();
        for at in first..end {
            let Some(entry) = self.entries.get(at).copied() else { break };
            key = self.key(key, &entry, level)?;
            let right = self.child(entry.right, level)?;
            leaves.push(Leaf { key, value: entry.value, right });
        }
        self.entries.truncate(first);
        Ok(Node { level, left, leaves, cid: Some(cid) })
    }

    /// The key of an entry behind `previous`, which is the one before it in the node.
    fn key(&mut self, previous: Key, entry: &Entry<'_>, level: u8) -> Result<Key, MstError> {
        node::check_entry(previous.of(&self.keys), entry)?;
        let shared = Key { end: previous.start + entry.shared, ..previous };
        let key = Key::add(&mut self.keys, shared, entry.suffix);
        let bytes = key.of(&self.keys);
        node::check_key_len(bytes)?;
        if bytes <= self.last.of(&self.keys) {
            return Err(MstError::KeyOrder);
        }
        if node::key_level(bytes) != level {
            return Err(MstError::KeyLevel);
        }
        self.last = key;
        Ok(key)
    }
}
