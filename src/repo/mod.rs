//! Signed repositories, verified byte by byte: CAR archives, commits, Merkle search trees, records.
//!
//! Pure: bytes in, facts out; no network, no database, no clock. Hostile input is an error of a named kind,
//! never a panic, and never costs more memory than a small multiple of its own size.
//! Invariant: what comes out of here is proven by hashes up to a commit, and by the account's signature on it.

pub mod car;
pub mod cid;
pub mod commit;
pub mod crypto;
pub mod dag_cbor;
#[cfg(test)]
pub(crate) mod model;
pub mod mst;
mod sha256;
mod snapshot;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod sparse_tests;
mod varint;

pub use cid::{DagCid, Link};
pub use commit::Commit;
pub use crypto::PublicKey;
pub use snapshot::{
    KeepLimits, RepoError, Sight, SkipReason, Snapshot, SnapshotRecord, SparseArchive, Trust, memory_needed, open_repo,
    open_sparse, root_commit,
};
