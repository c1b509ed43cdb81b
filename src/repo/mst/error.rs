//! What can be wrong with a tree.

use crate::repo::cid::DagCid;
use crate::repo::dag_cbor::DagCborError;

/// A tree that is not the one its keys must have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MstError {
    /// A node that the tree needs is not in the archive.
    #[error("tree node {0} is missing")]
    MissingNode(DagCid),
    /// A node is not canonical DAG-CBOR, or lacks a field, or has one too many.
    #[error("tree node: {0}")]
    Decode(#[from] DagCborError),
    /// A node links to another by a CID that is not dag-cbor SHA-256.
    #[error("tree node is linked by a CID that is not dag-cbor with SHA-256")]
    ForeignNodeLink,
    /// A node holds more entries than any honest one.
    #[error("tree node has too many entries")]
    TooManyEntries,
    /// An entry does not share exactly the longest common prefix with the one before.
    #[error("tree key is not compressed against the one before it")]
    PrefixLength,
    /// Keys do not ascend strictly across the tree; a node that stands in two places shows up so, too.
    #[error("tree keys are not in order")]
    KeyOrder,
    /// A key is empty or longer than 1,024 bytes.
    #[error("tree key is empty or too long")]
    KeyLength,
    /// The keys together, uncompressed, are far larger than the archive that they come from.
    #[error("tree keys are too large for the archive that they come from")]
    KeysTooLarge,
    /// A key stands at another level than its hash says.
    #[error("tree key stands at the wrong level")]
    KeyLevel,
    /// A node at the lowest level has a child.
    #[error("tree goes below its lowest level")]
    BelowLowestLevel,
    /// The root stands higher than anybody could have made it stand.
    #[error("tree has more than 32 levels")]
    TooDeep,
    /// A node that holds nothing, in a tree that is not empty.
    #[error("tree node is empty")]
    EmptyNode,
    /// The root only points to another node.
    #[error("tree root has no entries of its own")]
    BareRoot,
    /// The same node stands in two places.
    #[error("tree node {0} stands in two places")]
    RepeatedNode(DagCid),
}

impl MstError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            MstError::MissingNode(_) => "mst_node_missing",
            MstError::Decode(_) => "mst_encoding",
            MstError::ForeignNodeLink => "mst_node_link",
            MstError::TooManyEntries => "mst_too_many_entries",
            MstError::PrefixLength => "mst_prefix",
            MstError::KeyOrder => "mst_key_order",
            MstError::KeyLength => "mst_key_length",
            MstError::KeysTooLarge => "mst_keys_too_large",
            MstError::KeyLevel => "mst_key_level",
            MstError::BelowLowestLevel | MstError::TooDeep => "mst_depth",
            MstError::EmptyNode | MstError::BareRoot => "mst_empty_node",
            MstError::RepeatedNode(_) => "mst_node_repeated",
        }
    }
}
