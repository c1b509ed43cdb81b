//! The walk over a whole tree, in the order of its keys.

use super::MstError;
use super::node::{self, Entry};
use crate::repo::car::Car;
use crate::repo::cid::{DagCid, Link};

/// Prefix compression can blow up an entry of 56 bytes to a key of 1,024. Honest keys together are smaller than
/// their archive: some multiple of it, and something for the smallest archives, bounds what a caller may collect.
const MAX_KEY_BYTES_FACTOR: usize = 4;
const MIN_KEY_BYTES_BOUND: usize = 64 << 10;
/// Entries of all nodes between the root and where the walk stands: an honest tree has some dozens there.
const MAX_ENTRIES_ON_THE_WAY: usize = 20_000;

/// How many bytes the keys of an archive of this size may have together.
pub fn max_key_bytes(archive_bytes: usize) -> usize {
    archive_bytes.saturating_mul(MAX_KEY_BYTES_FACTOR).max(MIN_KEY_BYTES_BOUND)
}

/// How many bytes the walk over an archive of this size takes at most.
pub fn max_walk_bytes(archive_bytes: usize) -> usize {
    // An entry takes some 60 bytes of its node; a list that grows has twice the room that it needs.
    MAX_ENTRIES_ON_THE_WAY.min(archive_bytes / 50) * size_of::<Entry<'_>>() * 2
}

/// Visits every key and its record in order; gives their number.
///
/// The first error ends the walk: what was visited before it is not to be used. A node that stands in two places
/// repeats its keys (no node is without any, here or below), so the order of keys alone shows it, and each node is
/// consumed at most once.
pub fn walk<'a>(car: &Car<'a>, root: &DagCid, visit: impl FnMut(&[u8], Link<'a>)) -> Result<u64, MstError> {
    let key_bytes_left = max_key_bytes(car.size_bytes());
    let (entries, spare_keys, last_key) = Default::default();
    let mut walk = Walk { car, visit, entries, spare_keys, last_key, leaf_count: 0, key_bytes_left };
    let Some(root) = walk.open_root(root)? else {
        return Ok(0);
    };
    let mut path = vec![root];
    while let Some(frame) = path.last_mut() {
        if let Some(child) = frame.child.take() {
            let level = frame.level.checked_sub(1).ok_or(MstError::BelowLowestLevel)?;
            let child = walk.open(&child, level)?;
            path.push(child);
        } else if !walk.next_leaf(frame)? {
            walk.entries.truncate(frame.first);
            walk.spare_keys.extend(path.pop().map(|frame| frame.key));
        }
    }
    Ok(walk.leaf_count)
}

/// A node on the way from the root to where the walk stands.
struct Frame {
    level: u8,
    /// The child to go into before the next entry.
    child: Option<DagCid>,
    /// Where the node's entries begin, which comes next, and where they end, in `Walk::entries`.
    first: usize,
    next: usize,
    end: usize,
    /// The node's last visited key.
    key: Vec<u8>,
}

struct Walk<'c, 'a, V> {
    car: &'c Car<'a>,
    visit: V,
    /// The entries of the nodes on the way, the innermost node's last.
    entries: Vec<Entry<'a>>,
    /// The keys of nodes that were left, for those to come: nothing is allocated for a node.
    spare_keys: Vec<Vec<u8>>,
    last_key: Vec<u8>,
    leaf_count: u64,
    key_bytes_left: usize,
}

impl<'a, V: FnMut(&[u8], Link<'a>)> Walk<'_, 'a, V> {
    /// The root's level is that of its keys; None is the root of an empty tree.
    fn open_root(&mut self, cid: &DagCid) -> Result<Option<Frame>, MstError> {
        let child = node::decode(self.block(cid)?, &mut self.entries)?;
        let level = node::root_level(&self.entries, child)?;
        Ok(level.map(|level| self.frame(0, level, child)))
    }

    fn open(&mut self, cid: &DagCid, level: u8) -> Result<Frame, MstError> {
        let first = self.entries.len();
        let child = node::decode(self.block(cid)?, &mut self.entries)?;
        if self.entries.len() == first && child.is_none() {
            return Err(MstError::EmptyNode);
        }
        if self.entries.len() > MAX_ENTRIES_ON_THE_WAY {
            return Err(MstError::TooManyEntries);
        }
        Ok(self.frame(first, level, child))
    }

    fn frame(&mut self, first: usize, level: u8, child: Option<DagCid>) -> Frame {
        let right = self.entries.iter().skip(first).filter_map(|entry| entry.right.as_ref());
        child.iter().chain(right).for_each(|cid| self.car.warm(cid));
        let mut key = self.spare_keys.pop().unwrap_or_default();
        key.clear();
        Frame { level, child, first, next: first, end: self.entries.len(), key }
    }

    /// Visits the node's next entry; false when there is none left.
    fn next_leaf(&mut self, frame: &mut Frame) -> Result<bool, MstError> {
        let Some(entry) = self.entries.get(frame.next).filter(|_| frame.next < frame.end) else {
            return Ok(false);
        };
        node::advance_key(&mut frame.key, entry)?;
        if frame.key <= self.last_key {
            return Err(MstError::KeyOrder);
        }
        if node::key_level(&frame.key) != frame.level {
            return Err(MstError::KeyLevel);
        }
        self.key_bytes_left = self.key_bytes_left.checked_sub(frame.key.len()).ok_or(MstError::KeysTooLarge)?;
        self.last_key.clone_from(&frame.key);
        self.leaf_count += 1;
        (self.visit)(&frame.key, entry.value);
        frame.child = entry.right;
        frame.next += 1;
        Ok(true)
    }

    fn block(&self, cid: &DagCid) -> Result<&'a [u8], MstError> {
        self.car.get(cid).ok_or(MstError::MissingNode(*cid))
    }
}
