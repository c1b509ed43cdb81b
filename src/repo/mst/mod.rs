//! Merkle search trees: <https://atproto.com/specs/repository#mst-structure>.
//!
//! Owns the structure of nodes, the walk over what of a tree a filter can meet, and what can be said of a tree of which an event
//! shows only a part. Paths are bytes here: which of them are records of interest is the caller's to know.
//! Invariant: every node is checked against the one shape that its keys can have.

mod error;
mod invert;
mod node;
mod partial;
#[cfg(test)]
mod partial_tests;
mod walk;

pub use error::MstError;
pub use invert::{InversionError, TreeAction, TreeOp};
pub use partial::{Lookup, PartialTree};
pub use walk::{Extent, Walked, max_key_bytes, max_walk_bytes, walk};
