//! DAG-CBOR (<https://ipld.io/specs/codecs/dag-cbor/spec/>), read without copying.
//!
//! Owns the strict canonical form, for commits and MST nodes, and the lenient one of records with its way to
//! the protocol's JSON; what a commit or a node holds is theirs to know.
//! Invariant: no declared length is believed before the bytes for it are seen.

mod error;
mod json;
mod reader;
mod write;

pub use error::DagCborError;
pub use json::{RecordJson, record_to_json};
pub use reader::{Item, Reader};
pub(in crate::repo) use write::{major, write_bytes, write_head, write_link};
