//! The walk over some ranges of a tree of which perhaps only a part is there: what cannot have a key in them is not looked at.

use super::MstError;
use super::node::{self, Entry};
use super::walk::max_key_bytes;
use crate::repo::car::Car;
use crate::repo::cid::{DagCid, Link};
use crate::syntax::KeyRange;

/// What a walk over ranges found besides their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangesSeen {
    /// Nodes that may have keys in a range and that the archive does not hold, each with the first such range.
    pub missing: Vec<(DagCid, usize)>,
    /// About how many keys the tree has: a node has four gaps on average.
    pub keys_estimate: u64,
    /// About how many of them lie in the ranges.
    pub in_ranges_estimate: u64,
}

/// Visits every key in the ranges (ascending) and its record, in order, as far as the archive shows the tree; the root itself must be there.
///
/// Every node on the way is checked as one of a whole tree is, and against the keys around it. When nothing is missing, the visited
/// keys are all that there are. The first error ends the walk: what was visited before it is not to be used.
pub fn walk_ranges<'a>(
    car: &Car<'a>,
    root: &DagCid,
    ranges: &[KeyRange],
    visit: impl FnMut(&[u8], Link<'a>),
) -> Result<RangesSeen, MstError> {
    let block = car.get(root).ok_or(MstError::MissingNode(*root))?;
    let mut entries = Vec::new();
    let left = node::decode(block, &mut entries)?;
    let key_bytes_left = max_key_bytes(car.size_bytes());
    let mut walk = Walk { car, ranges, visit, seen: RangesSeen::default(), key_bytes_left };
    if let Some(level) = node::root_level(&entries, left)? {
        walk.node(level, left, &entries, &[], None)?;
    }
    Ok(walk.seen)
}

struct Walk<'w, 'a, V> {
    car: &'w Car<'a>,
    ranges: &'w [KeyRange],
    visit: V,
    seen: RangesSeen,
    key_bytes_left: usize,
}

impl<'a, V: FnMut(&[u8], Link<'a>)> Walk<'_, 'a, V> {
    /// A node whose keys are above `lower` (no key is empty) and, if there is one, below `upper`.
    fn node(
        &mut self,
        level: u8,
        left: Option<DagCid>,
        entries: &[Entry<'a>],
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<(), MstError> {
        let keys = self.keys(level, entries)?;
        let first_is_above = keys.first().is_none_or(|first| first.as_slice() > lower);
        let last_is_below = keys.last().zip(upper).is_none_or(|(last, upper)| last.as_slice() < upper);
        if !first_is_above || !last_is_below {
            return Err(MstError::KeyOrder);
        }
        let key = |at: usize| keys.get(at).map(Vec::as_slice);
        self.child(left, level, lower, key(0).or(upper))?;
        for (at, (entry, own)) in entries.iter().zip(&keys).enumerate() {
            self.seen.keys_estimate += 1;
            let own = own.as_slice();
            if self.ranges.iter().any(|range| range.start.as_bytes() <= own && own < range.end.as_bytes()) {
                self.seen.in_ranges_estimate += 1;
                (self.visit)(own, entry.value);
            }
            self.child(entry.right, level, own, key(at + 1).or(upper))?;
        }
        Ok(())
    }

    /// What stands between two neighbouring keys of a node at `level`.
    fn child(&mut self, cid: Option<DagCid>, level: u8, lower: &[u8], upper: Option<&[u8]>) -> Result<(), MstError> {
        let Some(cid) = cid else { return Ok(()) };
        let level = level.checked_sub(1).ok_or(MstError::BelowLowestLevel)?;
        let may_have_keys =
            |range: &KeyRange| lower < range.end.as_bytes() && upper.is_none_or(|upper| range.start.as_bytes() < upper);
        let range = self.ranges.iter().position(may_have_keys);
        let block = range.and_then(|_| self.car.get(&cid));
        let Some(block) = block else {
            let keys = 4_u64.saturating_pow(u32::from(level) + 1);
            self.seen.keys_estimate = self.seen.keys_estimate.saturating_add(keys);
            if let Some(range) = range {
                self.seen.in_ranges_estimate = self.seen.in_ranges_estimate.saturating_add(keys);
                self.seen.missing.push((cid, range));
            }
            return Ok(());
        };
        let mut entries = Vec::new();
        let left = node::decode(block, &mut entries)?;
        if entries.is_empty() && left.is_none() {
            return Err(MstError::EmptyNode);
        }
        self.node(level, left, &entries, lower, upper)
    }

    fn keys(&mut self, level: u8, entries: &[Entry<'a>]) -> Result<Vec<Vec<u8>>, MstError> {
        let (mut keys, mut key) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            node::advance_key(&mut key, entry)?;
            if node::key_level(&key) != level {
                return Err(MstError::KeyLevel);
            }
            self.key_bytes_left = self.key_bytes_left.checked_sub(key.len()).ok_or(MstError::KeysTooLarge)?;
            keys.push(key.clone());
        }
        Ok(keys)
    }
}
