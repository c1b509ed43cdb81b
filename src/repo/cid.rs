//! CIDs: the one kind that repos are built from, and a lenient view of every other kind.
//!
//! Owns their binary and text forms (<https://github.com/multiformats/cid>); hashes blocks.
//! Invariant: a `DagCid` is always CIDv1, dag-cbor, SHA-256; only its digest is kept.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::sha256::{self, DIGEST_LEN};
use super::varint::{self, VarintError};
use multibase::Base;

/// CIDv1, dag-cbor, SHA-256, 32 bytes of digest.
const DAG_CBOR_SHA256: [u8; 4] = [0x01, 0x71, HASH_SHA256 as u8, DIGEST_LEN as u8];
pub(super) const HASH_SHA256: u64 = 0x12;
/// How a CIDv0 begins: a bare SHA-256 multihash.
const VERSION_0: [u8; 2] = [HASH_SHA256 as u8, DIGEST_LEN as u8];

/// The CID of a commit, an MST node or a record: CIDv1, dag-cbor, SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DagCid([u8; DIGEST_LEN]);

/// Text or bytes that are not the CID that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidError {
    /// No CID at all.
    #[error("not a CID")]
    Malformed,
    /// A CID, of another version, codec or hash function.
    #[error("CID is not dag-cbor with SHA-256")]
    OtherKind,
}

impl CidError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            CidError::Malformed => "cid_malformed",
            CidError::OtherKind => "cid_other_kind",
        }
    }
}

impl DagCid {
    /// Reads the text form, base32 in lower case ("bafyrei...").
    pub fn parse(text: &str) -> Result<DagCid, CidError> {
        // Longer texts than any CID in use are not worth decoding.
        let base32 = text.strip_prefix('b').filter(|rest| rest.len() <= 256).ok_or(CidError::Malformed)?;
        let bytes = Base::Base32Lower.decode(base32).map_err(|_| CidError::Malformed)?;
        DagCid::from_cid_bytes(&bytes)
    }

    /// Reads the binary form, without the zero byte that DAG-CBOR puts before it.
    pub fn from_cid_bytes(bytes: &[u8]) -> Result<DagCid, CidError> {
        match Link::from_cid_bytes(bytes)? {
            Link::Dag(cid) => Ok(cid),
            Link::Other(_) => Err(CidError::OtherKind),
        }
    }

    /// The CID of a block: hashes it.
    pub fn for_block(block: &[u8]) -> DagCid {
        DagCid(sha256::digest(block))
    }

    /// The CID with this SHA-256 digest.
    pub fn from_digest(digest: [u8; DIGEST_LEN]) -> DagCid {
        DagCid(digest)
    }

    /// The SHA-256 digest of the block.
    pub fn digest(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }

    /// The binary form.
    pub fn to_cid_bytes(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        let (prefix, digest) = bytes.split_at_mut(DAG_CBOR_SHA256.len());
        prefix.copy_from_slice(&DAG_CBOR_SHA256);
        digest.copy_from_slice(&self.0);
        bytes
    }
}

/// A digest is random already: a part of it, which the hasher mixes with its seed, is enough.
impl Hash for DagCid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let first = self.0.first_chunk().expect("a digest has more than 8 bytes");
        state.write_u64(u64::from_le_bytes(*first));
    }
}

impl fmt::Display for DagCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", Base::Base32Lower.encode(self.to_cid_bytes()))
    }
}

impl fmt::Debug for DagCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DagCid({self})")
    }
}

impl FromStr for DagCid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<DagCid, CidError> {
        DagCid::parse(text)
    }
}

/// A link to a block: to one that we can hold and verify, or to any other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link<'a> {
    /// A dag-cbor SHA-256 link.
    Dag(DagCid),
    /// The binary form of a CID of any other kind: blobs, and what nobody should write.
    Other(&'a [u8]),
}

impl<'a> Link<'a> {
    /// Reads the binary form of any CID; nothing may follow it.
    pub fn from_cid_bytes(bytes: &'a [u8]) -> Result<Link<'a>, CidError> {
        match CidParts::split(bytes)? {
            (parts, []) => Ok(parts.link()),
            _ => Err(CidError::Malformed),
        }
    }

    /// The dag-cbor SHA-256 CID, if it is one.
    pub fn dag(&self) -> Option<DagCid> {
        match self {
            Link::Dag(cid) => Some(*cid),
            Link::Other(_) => None,
        }
    }
}

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Dag(cid) => cid.fmt(f),
            Link::Other(bytes) if bytes.starts_with(&VERSION_0) => f.write_str(&Base::Base58Btc.encode(bytes)),
            Link::Other(bytes) => write!(f, "b{}", Base::Base32Lower.encode(bytes)),
        }
    }
}

impl fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({self})")
    }
}

/// What the binary form of a CID says.
pub(super) struct CidParts<'a> {
    bytes: &'a [u8],
    pub hash: u64,
    pub digest: &'a [u8],
}

impl<'a> CidParts<'a> {
    /// Reads the CID that `bytes` begin with; gives it and the bytes behind it.
    pub fn split(bytes: &'a [u8]) -> Result<(CidParts<'a>, &'a [u8]), CidError> {
        let known_head = bytes.strip_prefix(&DAG_CBOR_SHA256).or_else(|| bytes.strip_prefix(&VERSION_0));
        let (hash, digest_len, rest) = match known_head {
            Some(rest) => (HASH_SHA256, DIGEST_LEN as u64, rest),
            None => {
                let (version, rest) = varint::split(bytes)?;
                if version != 1 {
                    return Err(CidError::Malformed);
                }
                let (_codec, rest) = varint::split(rest)?;
                let (hash, rest) = varint::split(rest)?;
                let (digest_len, rest) = varint::split(rest)?;
                (hash, digest_len, rest)
            }
        };
        let digest_len = usize::try_from(digest_len).map_err(|_| CidError::Malformed)?;
        let (digest, rest) = rest.split_at_checked(digest_len).ok_or(CidError::Malformed)?;
        let (bytes, rest) = bytes.split_at_checked(bytes.len() - rest.len()).ok_or(CidError::Malformed)?;
        Ok((CidParts { bytes, hash, digest }, rest))
    }

    pub fn link(&self) -> Link<'a> {
        match self.bytes.split_first_chunk() {
            Some((&DAG_CBOR_SHA256, digest)) => match digest.try_into() {
                Ok(digest) => Link::Dag(DagCid(digest)),
                Err(_) => Link::Other(self.bytes),
            },
            _ => Link::Other(self.bytes),
        }
    }
}

impl From<VarintError> for CidError {
    fn from(_: VarintError) -> CidError {
        CidError::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq";
    const BLOB: &str = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";
    const VERSION_0: &str = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR";

    fn binary(text: &str) -> Vec<u8> {
        cid::Cid::try_from(text).expect("valid").to_bytes()
    }

    #[test]
    fn text_and_binary_forms_agree() {
        let cid = DagCid::parse(RECORD).expect("dag-cbor");
        assert_eq!(cid.to_string(), RECORD);
        assert_eq!(cid.to_cid_bytes().to_vec(), binary(RECORD));
        assert_eq!(DagCid::from_cid_bytes(&binary(RECORD)), Ok(cid));
        assert_eq!(DagCid::from_digest(*cid.digest()), cid);
    }

    #[test]
    fn other_kinds_are_links_but_no_dag_cids() {
        for text in [BLOB, VERSION_0] {
            let bytes = binary(text);
            let link = Link::from_cid_bytes(&bytes).expect("a CID");
            assert_eq!((link.to_string().as_str(), link.dag()), (text, None));
            assert_eq!(DagCid::from_cid_bytes(&bytes), Err(CidError::OtherKind));
        }
        assert_eq!(DagCid::parse(BLOB), Err(CidError::OtherKind));
    }

    #[test]
    fn malformed_cids_are_refused() {
        let mut long = binary(RECORD);
        long.push(0);
        assert_eq!(DagCid::from_cid_bytes(&long), Err(CidError::Malformed));
        for end in 0..36 {
            assert_eq!(DagCid::from_cid_bytes(&long[..end]), Err(CidError::Malformed), "{end}");
        }
        assert_eq!(DagCid::from_cid_bytes(&[1, 0x71, 0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(CidError::Malformed));
        for text in ["", "b", "bafy", "zdpuAyvkgEDQm9TenwGkd5eNaosSxjgEYd8QatfPetgB1CdEZ", VERSION_0] {
            assert_eq!(DagCid::parse(text), Err(CidError::Malformed), "{text}");
        }
        assert_eq!(DagCid::parse(&RECORD.to_uppercase()), Err(CidError::Malformed));
    }
}
