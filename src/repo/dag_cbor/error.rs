//! What can be wrong with DAG-CBOR.

/// Bytes that are not DAG-CBOR, or not in the form that is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DagCborError {
    /// The bytes end within an item.
    #[error("data is cut short")]
    UnexpectedEnd,
    /// Bytes follow the item.
    #[error("bytes follow the data")]
    TrailingBytes,
    /// Another kind of item stands where this one is needed.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A list, map, string or byte string without a length.
    #[error("indefinite lengths are not allowed")]
    IndefiniteLength,
    /// A number, length or tag that takes more bytes than it needs.
    #[error("number is longer than needed")]
    NotMinimal,
    /// Map keys that do not ascend: shorter ones first, equally long ones by their bytes.
    #[error("map keys are not sorted")]
    UnsortedKeys,
    /// The same key twice in a map.
    #[error("map key is repeated")]
    DuplicateKey,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// A tag other than 42, or bytes under it that are no CID.
    #[error("tag is not that of a CID")]
    Tag,
    /// A link whose CID cannot be read.
    #[error("link does not hold a CID")]
    Cid,
    /// NaN or an infinity.
    #[error("number is not finite")]
    NotFinite,
    /// A floating-point number where none belongs.
    #[error("floating-point numbers are not allowed")]
    Float,
    /// `undefined`, a simple value or a head that DAG-CBOR does not have.
    #[error("value of a kind that DAG-CBOR does not have")]
    UnknownKind,
    /// Lists and maps within one another beyond the limit.
    #[error("nested too deeply")]
    TooDeep,
}

impl DagCborError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            DagCborError::UnexpectedEnd => "truncated",
            DagCborError::TrailingBytes => "trailing_bytes",
            DagCborError::Expected(_) => "unexpected_kind",
            DagCborError::IndefiniteLength => "indefinite_length",
            DagCborError::NotMinimal => "not_minimal",
            DagCborError::UnsortedKeys => "unsorted_keys",
            DagCborError::DuplicateKey => "duplicate_key",
            DagCborError::Utf8 => "utf8",
            DagCborError::Tag => "tag",
            DagCborError::Cid => "cid",
            DagCborError::NotFinite => "not_finite",
            DagCborError::Float => "float",
            DagCborError::UnknownKind => "unknown_kind",
            DagCborError::TooDeep => "too_deep",
        }
    }
}
