//! The walk over a tree, in the order of its keys, as far as it can have keys in the ranges of a filter.
//!
//! A subtree that no range meets is not decoded: whatever is in it, its hashes bind it, and a key from there in a range would stand out of
//! order. Every node on the way is checked in full.

use super::MstError;
use super::node::{self, Entry};
use crate::repo::car::Car;
use crate::repo::cid::{DagCid, Link};
use crate::syntax::KeyRange;

/// Prefix compression can blow up an entry of 56 bytes to a key of 1,024. Honest keys together are smaller than
/// their archive: some multiple of it, and something for the smallest archives, bounds what a caller may collect.
const MAX_KEY_BYTES_FACTOR: usize = 4;
const MIN_KEY_BYTES_BOUND: usize = 64 << 10;
/// Entries of all nodes between the root and where the walk stands: an honest tree has some dozens there.
const MAX_ENTRIES_ON_THE_WAY: usize = 20_000;

/// What an archive has of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: a node that is linked to and is not there is an error, wherever it stands.
    Whole,
    /// Perhaps a part: nodes that the ranges need and that are not there are told.
    Part,
}

/// What a walk found besides the keys in the ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Nodes that may have keys in a range and that a partial archive does not hold, each with the first such range.
    pub missing: Vec<(DagCid, usize)>,
    /// How many keys the tree has, about: a node that was not decoded has four gaps on average.
    pub keys_estimate: u64,
    /// How many of them lie in the ranges: exact when nothing is missing.
    pub in_ranges_estimate: u64,
}

/// How many bytes the keys of an archive of this size may have together.
pub fn max_key_bytes(archive_bytes: usize) -> usize {
    archive_bytes.saturating_mul(MAX_KEY_BYTES_FACTOR).max(MIN_KEY_BYTES_BOUND)
}

/// How many bytes the walk over an archive of this size takes at most.
pub fn max_walk_bytes(archive_bytes: usize) -> usize {
    // An entry takes some 60 bytes of its node; a list that grows has twice the room that it needs.
    MAX_ENTRIES_ON_THE_WAY.min(archive_bytes / 50) * size_of::<Entry<'_>>() * 2
}

/// Visits every key in the ranges (ascending; None: every key) and its record, in order; the root itself must be there.
///
/// The first error ends the walk: what was visited before it is not to be used. A node that stands in two places and is decoded in
/// both repeats its keys (no node is without any, here or below), so the order of keys alone shows it, and each node is decoded at
/// most once.
pub fn walk<'a>(
    car: &Car<'a>,
    root: &DagCid,
    ranges: Option<&[KeyRange]>,
    extent: Extent,
    visit: impl FnMut(&[u8], Link<'a>),
) -> Result<Walked, MstError> {
    let bounds = Bounds::of(ranges);
    let key_bytes_left = max_key_bytes(car.size_bytes());
    let (entries, spare_keys, last_key, walked) = Default::default();
    let place = bounds.place_of(&[], Place(0));
    let mut walk = Walk { car, bounds, extent, visit, entries, spare_keys, last_key, place, key_bytes_left, walked };
    let Some(root) = walk.open_root(root)? else {
        return Ok(walk.walked);
    };
    let mut path = vec![root];
    while let Some(frame) = path.last_mut() {
        if let Some(child) = frame.child.take() {
            let level = frame.level.checked_sub(1).ok_or(MstError::BelowLowestLevel)?;
            let upper = match frame.next < frame.end {
                true => walk.bounds.place_of(&frame.key, walk.place),
                false => frame.upper,
            };
            path.extend(walk.descend(&child, level, upper)?);
        } else if frame.next < frame.end {
            walk.visit(frame)?;
        } else {
            walk.entries.truncate(frame.first);
            walk.spare_keys.extend(path.pop().map(|frame| frame.key));
        }
    }
    Ok(walk.walked)
}

/// Where the ranges begin and end, in turn.
struct Bounds<'r>(Vec<&'r [u8]>);

/// How many bounds are not above a key: of one in a range it is odd.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Place(usize);

impl<'r> Bounds<'r> {
    fn of(ranges: Option<&'r [KeyRange]>) -> Bounds<'r> {
        match ranges {
            Some(ranges) => {
                Bounds(ranges.iter().flat_map(|range| [range.start.as_bytes(), range.end.as_bytes()]).collect())
            }
            // One range without an end.
            None => Bounds(vec![&[]]),
        }
    }

    /// The place of a key that is not below one in this place.
    fn place_of(&self, key: &[u8], not_below: Place) -> Place {
        let more = self.0.iter().skip(not_below.0).take_while(|bound| **bound <= key).count();
        Place(not_below.0 + more)
    }

    /// The place behind all keys.
    fn end(&self) -> Place {
        Place(self.0.len())
    }
}

impl Place {
    fn is_in_range(self) -> bool {
        self.0 % 2 == 1
    }

    /// The range that this is in or before.
    fn range(self) -> usize {
        self.0 / 2
    }
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
    /// The key of the next entry, as long as there is one.
    key: Vec<u8>,
    /// The place of the first key behind the node.
    upper: Place,
}

struct Walk<'c, 'a, V> {
    car: &'c Car<'a>,
    bounds: Bounds<'c>,
    extent: Extent,
    visit: V,
    /// The entries of the nodes on the way, the innermost node's last.
    entries: Vec<Entry<'a>>,
    /// The keys of nodes that were left, for those to come: nothing is allocated for a node.
    spare_keys: Vec<Vec<u8>>,
    last_key: Vec<u8>,
    /// That of the last key.
    place: Place,
    key_bytes_left: usize,
    walked: Walked,
}

impl<'a, V: FnMut(&[u8], Link<'a>)> Walk<'_, 'a, V> {
    /// The root's level is that of its keys; None is the root of an empty tree.
    fn open_root(&mut self, cid: &DagCid) -> Result<Option<Frame>, MstError> {
        let block = self.car.get(cid).ok_or(MstError::MissingNode(*cid))?;
        let child = node::decode(block, &mut self.entries)?;
        match node::root_level(&self.entries, child)? {
            Some(level) => self.frame(0, level, child, self.bounds.end()).map(Some),
            None => Ok(None),
        }
    }

    /// Goes into a node behind the last key, unless no range can meet it, or it is one of those that may be missing.
    fn descend(&mut self, cid: &DagCid, level: u8, upper: Place) -> Result<Option<Frame>, MstError> {
        let is_met = self.place.is_in_range() || self.place < upper;
        let block = if is_met || self.extent == Extent::Whole { self.car.get(cid) } else { None };
        match block {
            None if self.extent == Extent::Whole => Err(MstError::MissingNode(*cid)),
            Some(block) if is_met => self.open(block, level, upper).map(Some),
            _ => {
                let keys = 4_u64.saturating_pow(u32::from(level) + 1);
                let walked = &mut self.walked;
                walked.keys_estimate = walked.keys_estimate.saturating_add(keys);
                if is_met {
                    walked.in_ranges_estimate = walked.in_ranges_estimate.saturating_add(keys);
                    walked.missing.push((*cid, self.place.range()));
                }
                Ok(None)
            }
        }
    }

    fn open(&mut self, block: &'a [u8], level: u8, upper: Place) -> Result<Frame, MstError> {
        let first = self.entries.len();
        let child = node::decode(block, &mut self.entries)?;
        if self.entries.len() == first && child.is_none() {
            return Err(MstError::EmptyNode);
        }
        if self.entries.len() > MAX_ENTRIES_ON_THE_WAY {
            return Err(MstError::TooManyEntries);
        }
        self.frame(first, level, child, upper)
    }

    fn frame(&mut self, first: usize, level: u8, child: Option<DagCid>, upper: Place) -> Result<Frame, MstError> {
        let right = self.entries.iter().skip(first).filter_map(|entry| entry.right.as_ref());
        child.iter().chain(right).for_each(|cid| self.car.warm(cid));
        let values = self.entries.iter().skip(first).filter_map(|entry| entry.value.dag());
        values.for_each(|cid| self.car.warm_place(&cid));
        let mut key = self.spare_keys.pop().unwrap_or_default();
        key.clear();
        let end = self.entries.len();
        let mut frame = Frame { level, child, first, next: first, end, key, upper };
        self.advance(&mut frame)?;
        Ok(frame)
    }

    /// Makes the key of the next entry.
    fn advance(&self, frame: &mut Frame) -> Result<(), MstError> {
        match self.entries.get(frame.next..frame.end).and_then(<[_]>::first) {
            Some(entry) => node::advance_key(&mut frame.key, entry),
            None => Ok(()),
        }
    }

    /// Visits the node's next entry.
    fn visit(&mut self, frame: &mut Frame) -> Result<(), MstError> {
        let Some(entry) = self.entries.get(frame.next).copied() else { return Ok(()) };
        if frame.key <= self.last_key {
            return Err(MstError::KeyOrder);
        }
        if node::key_level(&frame.key) != frame.level {
            return Err(MstError::KeyLevel);
        }
        self.key_bytes_left = self.key_bytes_left.checked_sub(frame.key.len()).ok_or(MstError::KeysTooLarge)?;
        self.last_key.clone_from(&frame.key);
        self.place = self.bounds.place_of(&self.last_key, self.place);
        self.walked.keys_estimate += 1;
        if self.place.is_in_range() {
            self.walked.in_ranges_estimate += 1;
            (self.visit)(&self.last_key, entry.value);
        }
        frame.child = entry.right;
        frame.next += 1;
        self.advance(frame)
    }
}
