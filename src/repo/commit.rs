//! Commits, version 3: <https://atproto.com/specs/repository#commit-objects>.
//!
//! Owns what a commit says and whether its account signed it. Invariant: the signature is checked over the
//! bytes that were received, less their `sig` entry, never over a rebuilt object.

use super::cid::DagCid;
use super::crypto::{PublicKey, SignatureError};
use super::dag_cbor::{DagCborError, Reader, major, write_head};
use crate::syntax::{Did, Rev};

/// How far ahead of our clock a rev may be, in microseconds.
const MAX_CLOCK_SKEW_MICROS: u64 = 5 * 60 * 1_000_000;
const VERSION: u64 = 3;

/// What a commit says of its repo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The account.
    pub did: Did,
    /// The repo's revision.
    pub rev: Rev,
    /// The root of the repo's tree.
    pub data: DagCid,
    /// The commit's own CID.
    pub cid: DagCid,
}

/// A commit that is well formed, and that nobody has been shown to have signed yet.
#[derive(Clone, Debug)]
pub struct UnverifiedCommit<'a> {
    commit: Commit,
    unsigned_bytes: Vec<u8>,
    signature: &'a [u8],
}

/// A commit that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Not canonical DAG-CBOR, or a field of the wrong kind.
    #[error("commit: {0}")]
    Decode(#[from] DagCborError),
    /// A field that every commit has is not there.
    #[error("commit has no {0}")]
    MissingField(&'static str),
    /// A version other than 3.
    #[error("commit has version {0}")]
    Version(u64),
    /// Its `did` is none.
    #[error("commit holds no valid DID")]
    InvalidDid,
    /// Its `rev` is no TID.
    #[error("commit holds no valid rev")]
    InvalidRev,
    /// Its `data` is not a dag-cbor SHA-256 link.
    #[error("commit links to a tree by a CID that is not dag-cbor with SHA-256")]
    InvalidData,
    /// Another account's commit.
    #[error("commit is of another account, {0}")]
    OtherDid(Did),
    /// Its rev is more than five minutes ahead of our clock.
    #[error("commit's rev {0} is in the future")]
    FutureRev(Rev),
    /// The signature is not one of the account's key over this commit.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl CommitError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            CommitError::Decode(_) => "commit_encoding",
            CommitError::MissingField(_) => "commit_field_missing",
            CommitError::Version(_) => "commit_version",
            CommitError::InvalidDid => "commit_did_invalid",
            CommitError::InvalidRev => "commit_rev_invalid",
            CommitError::InvalidData => "commit_data_invalid",
            CommitError::OtherDid(_) => "commit_did_other",
            CommitError::FutureRev(_) => "commit_rev_future",
            CommitError::Signature(error) => error.reason(),
        }
    }
}

/// Reads the commit in `block`, which is known to have the hash in `cid` (as `Car::get` gives it).
///
/// Fields that we do not know are kept in the signed bytes.
pub fn parse(cid: DagCid, block: &[u8]) -> Result<UnverifiedCommit<'_>, CommitError> {
    let mut reader = Reader::strict(block);
    let field_count = reader.map()?;
    let fields_start = reader.position();
    let (mut did, mut rev, mut data, mut version, mut signature) = (None, None, None, None, None);
    let mut previous_key = None;
    for _ in 0..field_count {
        let entry_start = reader.position();
        match reader.key(&mut previous_key)? {
            "did" => did = Some(reader.text()?),
            "rev" => rev = Some(reader.text()?),
            "data" => data = Some(reader.link()?),
            "version" => version = Some(reader.unsigned()?),
            "sig" => signature = Some((reader.bytes()?, entry_start..reader.position())),
            "prev" => drop(reader.link_or_null()?),
            _ => reader.skip()?,
        }
    }
    reader.finish()?;

    let version = version.ok_or(CommitError::MissingField("version"))?;
    if version != VERSION {
        return Err(CommitError::Version(version));
    }
    let did = did.ok_or(CommitError::MissingField("did"))?;
    let rev = rev.ok_or(CommitError::MissingField("rev"))?;
    let data = data.ok_or(CommitError::MissingField("data"))?;
    let commit = Commit {
        did: Did::parse(did).map_err(|_| CommitError::InvalidDid)?,
        rev: Rev::parse(rev).map_err(|_| CommitError::InvalidRev)?,
        data: data.dag().ok_or(CommitError::InvalidData)?,
        cid,
    };
    let (signature, entry) = signature.ok_or(CommitError::MissingField("sig"))?;
    let before = block.get(fields_start..entry.start).unwrap_or_default();
    let after = block.get(entry.end..).unwrap_or_default();
    let mut unsigned_bytes = Vec::with_capacity(block.len());
    write_head(&mut unsigned_bytes, major::MAP, field_count as u64 - 1);
    unsigned_bytes.extend_from_slice(before);
    unsigned_bytes.extend_from_slice(after);
    Ok(UnverifiedCommit { commit, unsigned_bytes, signature })
}

impl UnverifiedCommit<'_> {
    /// What the commit says, on nobody's authority.
    pub fn claims(&self) -> &Commit {
        &self.commit
    }

    /// Checks that the commit is of this account, and of a time that is not yet to come.
    pub fn check(&self, did: &Did, now_micros: u64) -> Result<(), CommitError> {
        if self.commit.did != *did {
            return Err(CommitError::OtherDid(self.commit.did.clone()));
        }
        if self.commit.rev.timestamp_micros() > now_micros.saturating_add(MAX_CLOCK_SKEW_MICROS) {
            return Err(CommitError::FutureRev(self.commit.rev));
        }
        Ok(())
    }

    /// Checks the signature; may be asked again with another key.
    pub fn verify(&self, key: &PublicKey) -> Result<(), CommitError> {
        Ok(key.verify(&self.unsigned_bytes, self.signature)?)
    }

    /// What the commit says, once `check` and `verify` have passed.
    pub fn into_commit(self) -> Commit {
        self.commit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::model::{self, NOW_MICROS, SigningKey, commit_fields, did, encode, sign_commit};
    use ipld_core::ipld::Ipld;

    fn parse_own(block: &[u8]) -> Result<UnverifiedCommit<'_>, CommitError> {
        parse(DagCid::for_block(block), block)
    }

    fn data() -> DagCid {
        DagCid::for_block(b"tree")
    }

    #[test]
    fn signed_commits_verify_with_either_curve_and_no_other_key() {
        for key in [SigningKey::k256(1), SigningKey::p256()] {
            let block = sign_commit(commit_fields(&data()), &key);
            let commit = parse_own(&block).expect("well formed");
            assert_eq!(commit.check(&did(), NOW_MICROS), Ok(()));
            assert_eq!(commit.verify(&key.public()), Ok(()));
            let error = CommitError::Signature(SignatureError::Mismatch);
            assert_eq!(commit.verify(&SigningKey::k256(2).public()), Err(error));
            let claims = Commit {
                did: did(),
                rev: Rev::parse(model::REV).expect("valid"),
                data: data(),
                cid: DagCid::for_block(&block),
            };
            assert_eq!(commit.into_commit(), claims);
        }
    }

    #[test]
    fn unknown_fields_are_signed_and_prev_may_be_absent_or_a_link() {
        let key = SigningKey::k256(1);
        let mut fields = commit_fields(&data());
        for prev in [None, Some(Ipld::Null), Some(model::link(&data()))] {
            fields.remove("prev");
            fields.extend(prev.map(|prev| ("prev".to_owned(), prev)));
            for field in ["a", "ext", "extension", "siz"] {
                let mut fields = fields.clone();
                fields.insert(field.to_owned(), Ipld::List(vec![Ipld::Integer(1), Ipld::Bool(true)]));
                let block = sign_commit(fields.clone(), &key);
                assert_eq!(parse_own(&block).expect("well formed").verify(&key.public()), Ok(()), "{field}");
                // The same signature under other content does not hold.
                let Ok(Ipld::Map(signed)) = serde_ipld_dagcbor::from_slice(&block) else { panic!("a map") };
                fields.insert("sig".to_owned(), signed["sig"].clone());
                fields.insert(field.to_owned(), Ipld::Null);
                let forged = encode(Ipld::Map(fields));
                assert!(parse_own(&forged).expect("well formed").verify(&key.public()).is_err());
            }
        }
    }

    #[test]
    fn a_map_of_many_fields_keeps_its_signature() {
        let key = SigningKey::k256(1);
        let mut fields = commit_fields(&data());
        fields.extend((0..20).map(|i| (format!("field{i:02}"), Ipld::Integer(i))));
        assert_eq!(parse_own(&sign_commit(fields, &key)).expect("well formed").verify(&key.public()), Ok(()));
    }

    #[test]
    fn broken_fields_are_named() {
        let text = |text: &str| Ipld::String(text.to_owned());
        let blob = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";
        let blob = Ipld::Link(cid::Cid::try_from(blob).expect("a CID"));
        let cases = [
            ("did", text("did:web:"), CommitError::InvalidDid),
            ("rev", text("now"), CommitError::InvalidRev),
            ("data", blob, CommitError::InvalidData),
            ("data", Ipld::Null, CommitError::Decode(DagCborError::Expected("a link"))),
            ("version", Ipld::Integer(2), CommitError::Version(2)),
            ("version", text("3"), CommitError::Decode(DagCborError::Expected("an unsigned number"))),
            ("prev", Ipld::Integer(1), CommitError::Decode(DagCborError::Expected("a link or null"))),
            ("more", Ipld::Float(1.5), CommitError::Decode(DagCborError::Float)),
        ];
        for (field, value, error) in cases {
            let mut fields = commit_fields(&data());
            fields.insert(field.to_owned(), value);
            let block = sign_commit(fields, &SigningKey::k256(1));
            assert_eq!(parse_own(&block).map(|_| ()), Err(error), "{field}");
        }
        for field in ["did", "rev", "data", "version"] {
            let mut fields = commit_fields(&data());
            fields.remove(field);
            let block = sign_commit(fields, &SigningKey::k256(1));
            assert_eq!(parse_own(&block).map(|_| ()), Err(CommitError::MissingField(field)));
        }
        let unsigned = encode(Ipld::Map(commit_fields(&data())));
        assert_eq!(parse_own(&unsigned).map(|_| ()), Err(CommitError::MissingField("sig")));
    }

    #[test]
    fn another_account_and_the_future_are_refused() {
        let block = sign_commit(commit_fields(&data()), &SigningKey::k256(1));
        let commit = parse_own(&block).expect("well formed");
        let other = Did::parse("did:web:example.com").expect("valid");
        assert_eq!(commit.check(&other, NOW_MICROS), Err(CommitError::OtherDid(did())));
        let rev = commit.claims().rev;
        let earliest = rev.timestamp_micros() - MAX_CLOCK_SKEW_MICROS;
        assert_eq!(commit.check(&did(), earliest), Ok(()));
        assert_eq!(commit.check(&did(), earliest - 1), Err(CommitError::FutureRev(rev)));
    }

    #[test]
    fn no_part_of_a_commit_parses() {
        let block = sign_commit(commit_fields(&data()), &SigningKey::k256(1));
        for end in 0..block.len() {
            assert!(parse_own(&block[..end]).is_err(), "{end}");
        }
    }
}
