//! Undoing an event's operations: the root that the tree had before them.
//!
//! With the right operations, and nothing else changed, that is the `prevData` of the event. A node that is needed
//! and missing is an error: no answer is ever guessed. Recursion is as deep as the tree, at most 128 levels.

use super::node;
use super::partial::{Child, Key, Leaf, Node, PartialTree};
use crate::repo::cid::{DagCid, Link};

/// One operation of a commit on the record at `path` (`com.atproto.sync.subscribeRepos#repoOp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeOp<'a> {
    /// Collection and record key, with a slash between.
    pub path: &'a str,
    /// What it did.
    pub action: TreeAction<'a>,
}

/// What an operation did to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeAction<'a> {
    /// The record was created, and this is the link to it.
    Create(Link<'a>),
    /// The record was replaced.
    Update {
        /// The link to the record that there is now.
        cid: Link<'a>,
        /// The link to the one before.
        prev: Link<'a>,
    },
    /// The record was deleted, and this was the link to it.
    Delete(Link<'a>),
}

/// Operations that cannot be undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InversionError {
    /// The event does not show a node that is needed.
    #[error("tree node {0} is needed to undo the operations, and missing")]
    MissingNode(DagCid),
    /// Two operations on the same path.
    #[error("path has two operations")]
    RepeatedPath,
    /// A path that is empty or longer than 1,024 bytes.
    #[error("path is empty or too long")]
    PathLength,
    /// A record that was created or updated is not in the tree.
    #[error("record of an operation is not in the tree")]
    NotFound,
    /// A record in the tree is not the one that the operation names.
    #[error("record in the tree is not that of the operation")]
    OtherRecord,
    /// A record that was deleted is in the tree.
    #[error("deleted record is still in the tree")]
    StillThere,
}

impl InversionError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            InversionError::MissingNode(_) => "inversion_node_missing",
            InversionError::RepeatedPath => "inversion_path_repeated",
            InversionError::PathLength => "inversion_path_length",
            InversionError::NotFound => "inversion_not_found",
            InversionError::OtherRecord => "inversion_other_record",
            InversionError::StillThere => "inversion_still_there",
        }
    }
}

impl<'a> PartialTree<'a> {
    /// The root that the tree had before these operations, whatever their order.
    pub fn invert(self, ops: &[TreeOp<'a>]) -> Result<DagCid, InversionError> {
        if ops.iter().any(|op| node::check_key_len(op.path.as_bytes()).is_err()) {
            return Err(InversionError::PathLength);
        }
        let mut paths: Vec<&str> = ops.iter().map(|op| op.path).collect();
        paths.sort_unstable();
        if paths.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(InversionError::RepeatedPath);
        }
        let PartialTree { mut root, mut keys } = self;
        // What was deleted comes back last: then nothing is put where something is about to go.
        for op in ops {
            match op.action {
                TreeAction::Create(cid) => root.remove(&Target::new(&mut keys, op.path), cid)?,
                TreeAction::Update { cid, prev } => root.replace(&Target::new(&mut keys, op.path), cid, prev)?,
                TreeAction::Delete(_) => {}
            }
        }
        for op in ops {
            if let TreeAction::Delete(prev) = op.action {
                root.insert_at_root(&Target::new(&mut keys, op.path), prev)?;
            }
        }
        root.into_root_cid(&keys)
    }
}

/// A key with the level at which it must stand.
struct Target<'k> {
    key: Key,
    level: u8,
    /// The bytes of all keys.
    keys: &'k [u8],
}

impl<'k> Target<'k> {
    fn new(keys: &'k mut Vec<u8>, path: &str) -> Target<'k> {
        let key = Key::add(keys, Key::default(), path.as_bytes());
        Target { key, level: node::key_level(path.as_bytes()), keys }
    }

    fn leaf<'a>(&self, value: Link<'a>, right: Child<'a>) -> Leaf<'a> {
        Leaf { key: self.key, value, right }
    }

    /// The index of the key in a node, or of the gap in which it belongs.
    fn search(&self, node: &Node<'_>) -> Result<usize, usize> {
        node.search(self.keys, self.key.of(self.keys))
    }
}

impl<'a> Child<'a> {
    /// The node that stands here, to be changed, so that its CID holds no longer.
    fn node_mut(&mut self) -> Result<Option<&mut Node<'a>>, InversionError> {
        match self {
            Child::Empty => Ok(None),
            Child::Missing(cid) => Err(InversionError::MissingNode(*cid)),
            Child::Node(node) => {
                node.cid = None;
                Ok(Some(node))
            }
        }
    }

    fn replace(&mut self, target: &Target<'_>, cid: Link<'a>, prev: Link<'a>) -> Result<(), InversionError> {
        let node = self.node_mut()?.ok_or(InversionError::NotFound)?;
        match target.search(node) {
            Ok(at) => node.leaf_mut(at, cid).map(|leaf| leaf.value = prev),
            Err(_) if node.level <= target.level => Err(InversionError::NotFound),
            Err(gap) => node.gap_mut(gap).replace(target, cid, prev),
        }
    }

    fn remove(&mut self, target: &Target<'_>, cid: Link<'a>) -> Result<(), InversionError> {
        let node = self.node_mut()?.ok_or(InversionError::NotFound)?;
        match target.search(node) {
            Ok(at) => {
                node.leaf_mut(at, cid)?;
                let right = node.leaves.remove(at).right;
                let gap = node.gap_mut(at);
                *gap = std::mem::take(gap).merge(right)?;
            }
            Err(_) if node.level <= target.level => return Err(InversionError::NotFound),
            Err(gap) => node.gap_mut(gap).remove(target, cid)?,
        }
        if node.is_empty() {
            *self = Child::Empty;
        }
        Ok(())
    }

    fn insert_at_root(&mut self, target: &Target<'_>, value: Link<'a>) -> Result<(), InversionError> {
        match self.node_mut()? {
            Some(node) if node.level >= target.level => {
                let level = node.level;
                self.insert(target, value, level)
            }
            below => {
                // The new root stands above the old one, which it parts in two.
                let level = below.map_or(0, |node| node.level);
                let (left, right) = std::mem::take(self).split(target)?;
                let right = right.raise(level, target.level.saturating_sub(1));
                let left = left.raise(level, target.level.saturating_sub(1));
                let leaves = vec![target.leaf(value, right)];
                *self = Child::Node(Box::new(Node { level: target.level, left, leaves, cid: None }));
                Ok(())
            }
        }
    }

    /// Inserts into the node that stands here at `level`, or into a new one; the target's level is not above it.
    fn insert(&mut self, target: &Target<'_>, value: Link<'a>, level: u8) -> Result<(), InversionError> {
        let Some(node) = self.node_mut()? else {
            let leaves = vec![target.leaf(value, Child::Empty)];
            let node = Node { level: target.level, left: Child::Empty, leaves, cid: None };
            *self = Child::Node(Box::new(node)).raise(target.level, level);
            return Ok(());
        };
        match target.search(node) {
            Ok(_) => Err(InversionError::StillThere),
            Err(at) if node.level == target.level => {
                let gap = node.gap_mut(at);
                let (left, right) = std::mem::take(gap).split(target)?;
                *gap = left;
                node.leaves.insert(at, target.leaf(value, right));
                Ok(())
            }
            Err(gap) => node.gap_mut(gap).insert(target, value, level.saturating_sub(1)),
        }
    }

    /// What is before the target's key and what is behind it, both at the level of the whole.
    fn split(mut self, target: &Target<'_>) -> Result<(Child<'a>, Child<'a>), InversionError> {
        let Some(node) = self.node_mut()? else {
            return Ok((Child::Empty, Child::Empty));
        };
        let at = match target.search(node) {
            Ok(_) => return Err(InversionError::StillThere),
            Err(at) => at,
        };
        let leaves = node.leaves.split_off(at);
        let gap = node.gap_mut(at);
        let (before, left) = std::mem::take(gap).split(target)?;
        *gap = before;
        let right = Node { level: node.level, left, leaves, cid: None };
        if node.is_empty() {
            self = Child::Empty;
        }
        Ok((self, if right.is_empty() { Child::Empty } else { Child::Node(Box::new(right)) }))
    }

    /// One node of two at the same level, all keys of the second behind those of the first.
    fn merge(mut self, mut behind: Child<'a>) -> Result<Child<'a>, InversionError> {
        match (&self, &behind) {
            (_, Child::Empty) => return Ok(self),
            (Child::Empty, _) => return Ok(behind),
            _ => {}
        }
        if let (Some(node), Some(behind)) = (self.node_mut()?, behind.node_mut()?) {
            let end = node.leaves.len();
            let gap = node.gap_mut(end);
            *gap = std::mem::take(gap).merge(std::mem::take(&mut behind.left))?;
            node.leaves.append(&mut behind.leaves);
        }
        Ok(self)
    }

    /// Puts nodes that only point down above this one, from its level up to another.
    fn raise(mut self, from: u8, to: u8) -> Child<'a> {
        if matches!(self, Child::Empty) {
            return self;
        }
        for level in from..to {
            self = Child::Node(Box::new(Node { level: level + 1, left: self, leaves: Vec::new(), cid: None }));
        }
        self
    }

    /// The CID of the whole tree, whose root is its highest node with a key.
    fn into_root_cid(self, keys: &[u8]) -> Result<DagCid, InversionError> {
        match self {
            Child::Empty => Ok(DagCid::for_block(&node::encode(None, std::iter::empty()))),
            // Whether it has a key of its own, and so is a root at all, nobody can tell.
            Child::Missing(cid) => Err(InversionError::MissingNode(cid)),
            Child::Node(node) if node.leaves.is_empty() => node.left.into_root_cid(keys),
            Child::Node(node) => Ok(node.cid(keys)),
        }
    }

    fn cid(&self, keys: &[u8]) -> Option<DagCid> {
        match self {
            Child::Empty => None,
            Child::Missing(cid) => Some(*cid),
            Child::Node(node) => Some(node.cid(keys)),
        }
    }
}

impl<'a> Node<'a> {
    fn is_empty(&self) -> bool {
        self.leaves.is_empty() && matches!(self.left, Child::Empty)
    }

    /// The leaf with this index, which must link to this record.
    fn leaf_mut(&mut self, at: usize, cid: Link<'_>) -> Result<&mut Leaf<'a>, InversionError> {
        let leaf = self.leaves.get_mut(at).ok_or(InversionError::NotFound)?;
        if leaf.value == cid { Ok(leaf) } else { Err(InversionError::OtherRecord) }
    }

    fn cid(&self, keys: &[u8]) -> DagCid {
        self.cid.unwrap_or_else(|| {
            let leaves = self.leaves.iter().map(|leaf| (leaf.key.of(keys), leaf.value, leaf.right.cid(keys)));
            DagCid::for_block(&node::encode(self.left.cid(keys), leaves))
        })
    }
}
