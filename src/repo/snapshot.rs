//! A whole repo, verified, of which the records of the wanted collections are kept.

use std::ops::Range;

use bytes::Bytes;

use super::car::{self, Car, CarError};
use super::cid::{DagCid, Link};
use super::commit::{self, Commit, CommitError, UnverifiedCommit};
use super::crypto::{PublicKey, SignatureError};
use super::mst::{self, MstError};
use crate::syntax::{CollectionFilter, Did, Nsid, RecordKey};

/// The largest record that the protocol allows, in bytes.
pub const MAX_RECORD_LEN: usize = 1_000_000;

/// A repo that is proven to be the account's, as of its commit.
pub struct Snapshot {
    /// The signed commit.
    pub commit: Commit,
    /// How many records the repo has, of any collection.
    pub leaf_count: u64,
    car: Bytes,
    /// The paths of the leaves, one after the other: a string of its own for each would double the memory.
    paths: String,
    leaves: Vec<Leaf>,
}

/// What makes a repo's commit the account's own.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Keys of the account, of which one must have signed it: the current one, and after a migration earlier ones.
    pub keys: Vec<PublicKey>,
    /// A tree that was verified to be the account's before: whoever signs for it, it is the same repo.
    pub data: Option<DagCid>,
}

impl From<PublicKey> for Trust {
    /// Trust in the current key alone.
    fn from(key: PublicKey) -> Trust {
        Trust { keys: vec![key], data: None }
    }
}

impl Trust {
    fn verify(&self, commit: &UnverifiedCommit<'_>) -> Result<(), CommitError> {
        if self.data == Some(commit.claims().data) {
            return Ok(());
        }
        let mut refused = CommitError::Signature(SignatureError::Mismatch);
        for key in &self.keys {
            match commit.verify(key) {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// A leaf whose collection matches the filter.
struct Leaf {
    /// Where its path ends in `Snapshot::paths`; it begins where the one before ends.
    path_end: usize,
    record: Result<(DagCid, Range<usize>), SkipReason>,
}

/// A record of a wanted collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotRecord<'a> {
    /// The record's block, which has the hash that its CID names; it need not be decodable.
    Block {
        /// The record's CID.
        cid: DagCid,
        /// The record in DAG-CBOR.
        bytes: &'a [u8],
    },
    /// A record that cannot be indexed.
    Skipped(SkipReason),
}

/// Why a leaf of a sound tree has no record that can be indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// Its block is not in the archive.
    MissingBlock,
    /// Its CID is not dag-cbor SHA-256.
    ForeignCid,
    /// It has more than 1,000,000 bytes.
    TooLarge,
    /// Its path is not an NSID, a slash and a record key.
    InvalidPath,
}

impl SkipReason {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            SkipReason::MissingBlock => "missing_block",
            SkipReason::ForeignCid => "foreign_cid",
            SkipReason::TooLarge => "too_large",
            SkipReason::InvalidPath => "invalid_path",
        }
    }
}

/// A repo that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepoError {
    /// The archive is broken.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The archive names no root that could be a commit.
    #[error("CAR names no commit")]
    NoRoot,
    /// The archive names a commit that it does not hold.
    #[error("commit {0} is missing")]
    MissingCommit(DagCid),
    /// The commit is broken, or not the account's.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The tree is broken.
    #[error(transparent)]
    Tree(#[from] MstError),
}

impl RepoError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            RepoError::Car(error) => error.reason(),
            RepoError::NoRoot => "car_no_root",
            RepoError::MissingCommit(_) => "commit_missing",
            RepoError::Commit(error) => error.reason(),
            RepoError::Tree(error) => error.reason(),
        }
    }
}

/// Verifies a repo as getRepo gives it, from every block's hash to the signature, and keeps what `filter` matches.
///
/// `now_micros` is the time in microseconds since 1970.
pub fn open_repo(
    car: Bytes,
    did: &Did,
    trust: &Trust,
    now_micros: u64,
    filter: &CollectionFilter,
) -> Result<Snapshot, RepoError> {
    let archive = car::read(&car)?;
    let unverified = root_commit(&archive)?;
    unverified.check(did, now_micros)?;
    trust.verify(&unverified)?;
    let commit = unverified.into_commit();

    let mut selection = Selection::new(filter);
    let leaf_count = mst::walk(&archive, &commit.data, |path, link| selection.visit(path, link, &archive))?;
    let Selection { paths, leaves, .. } = selection;
    drop(archive);
    Ok(Snapshot { commit, leaf_count, car, paths, leaves })
}

/// The commit that a repo's or an event's archive has as its first root.
pub fn root_commit<'a>(archive: &Car<'a>) -> Result<UnverifiedCommit<'a>, RepoError> {
    let cid = archive.roots().first().and_then(Link::dag).ok_or(RepoError::NoRoot)?;
    let block = archive.get(&cid).ok_or(RepoError::MissingCommit(cid))?;
    Ok(commit::parse(cid, block)?)
}

impl Snapshot {
    /// The records of the wanted collections in the order of their paths, each as (collection, rkey, record).
    ///
    /// A path without a slash has an empty rkey; what is no UTF-8 in an invalid path shows as U+FFFD.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (&str, &str, SnapshotRecord<'_>)> {
        let mut start = 0;
        self.leaves.iter().map(move |leaf| {
            let path = self.paths.get(start..leaf.path_end).unwrap_or_default();
            start = leaf.path_end;
            let (collection, rkey) = path.split_once('/').unwrap_or((path, ""));
            let record = match &leaf.record {
                Ok((cid, range)) => SnapshotRecord::Block { cid: *cid, bytes: self.block(range.clone()) },
                Err(reason) => SnapshotRecord::Skipped(*reason),
            };
            (collection, rkey, record)
        })
    }

    fn block(&self, range: Range<usize>) -> &[u8] {
        self.car.get(range).expect("the range is that of a block in this archive")
    }
}

/// Picks the leaves that the filter matches, as the walk passes them in order.
struct Selection<'f> {
    filter: &'f CollectionFilter,
    paths: String,
    leaves: Vec<Leaf>,
    /// The collection of the leaf before, for which the filter need not be asked again.
    collection: Vec<u8>,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Unwanted,
    Wanted,
    /// The filter matches it, but it is no NSID.
    Invalid,
}

impl<'f> Selection<'f> {
    fn new(filter: &'f CollectionFilter) -> Selection<'f> {
        let (paths, leaves, collection) = (String::new(), Vec::new(), Vec::new());
        Selection { filter, paths, leaves, collection, verdict: judge(filter, "") }
    }

    fn visit(&mut self, path: &[u8], link: Link<'_>, archive: &Car<'_>) {
        let slash = path.iter().position(|byte| *byte == b'/');
        let collection = path.get(..slash.unwrap_or(path.len())).unwrap_or_default();
        if collection != self.collection {
            self.collection = collection.to_vec();
            self.verdict = judge(self.filter, &String::from_utf8_lossy(collection));
        }
        if self.verdict == Verdict::Unwanted {
            return;
        }
        let rkey = slash.and_then(|slash| path.get(slash + 1..)).unwrap_or_default();
        let is_rkey = std::str::from_utf8(rkey).is_ok_and(|rkey| RecordKey::parse(rkey).is_ok());
        let record = match self.verdict {
            Verdict::Wanted if is_rkey => find_record(link, archive),
            _ => Err(SkipReason::InvalidPath),
        };
        self.paths.push_str(&String::from_utf8_lossy(path));
        self.leaves.push(Leaf { path_end: self.paths.len(), record });
    }
}

fn judge(filter: &CollectionFilter, collection: &str) -> Verdict {
    match filter.matches(collection) {
        false => Verdict::Unwanted,
        true if Nsid::parse(collection).is_ok() => Verdict::Wanted,
        true => Verdict::Invalid,
    }
}

fn find_record(link: Link<'_>, archive: &Car<'_>) -> Result<(DagCid, Range<usize>), SkipReason> {
    let cid = link.dag().ok_or(SkipReason::ForeignCid)?;
    let range = archive.range(&cid).ok_or(SkipReason::MissingBlock)?;
    if range.len() > MAX_RECORD_LEN {
        return Err(SkipReason::TooLarge);
    }
    Ok((cid, range))
}
