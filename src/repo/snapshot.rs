//! A repo, verified, of which the records of the wanted collections are kept.

mod on_disk;
mod sparse;

use std::ops::Range;

use bytes::Bytes;

use super::car::{self, Car, CarError};
use super::cid::{DagCid, Link};
use super::commit::{self, Commit, CommitError, UnverifiedCommit};
use super::crypto::{PublicKey, SignatureError};
use super::mst::{self, Extent, MstError};
use super::sha256::DIGEST_LEN;
use crate::syntax::{CollectionFilter, Did, Nsid, RecordKey};
pub use sparse::{Sight, SparseArchive, open_sparse};

/// The largest record that the protocol allows, in bytes.
pub const MAX_RECORD_LEN: usize = 1_000_000;
/// An entry of a tree node has four field names, a key and a CID.
const MIN_ENTRY_LEN: usize = 50;
/// The list of paths grows by this.
const PATHS_STEP: usize = 1 << 20;

/// A repo that is proven to be the account's, as of its commit.
pub struct Snapshot {
    /// The signed commit.
    pub commit: Commit,
    /// How many records the repo has, of any collection; about how many, where the filter cannot meet them and nobody looked.
    pub leaf_count: u64,
    /// Wanted records beyond those that are kept: the first ones by path are.
    pub over_limit: u64,
    car: Bytes,
    /// The paths of the leaves, one after the other: a string of its own for each would double the memory.
    paths: String,
    leaves: Vec<Leaf>,
    /// What releases the memory that shows the archive; None: it lies in memory itself.
    release: Option<Box<dyn Fn() + Send + Sync>>,
}

/// How much of a repo is kept; the rest is verified all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepLimits {
    /// Wanted records.
    pub records: usize,
    /// Different collections among them.
    pub collections: usize,
    /// Their paths together, in bytes.
    pub path_bytes: usize,
}

impl KeepLimits {
    /// So many records, with paths of 128 bytes on average: a collection of ATCR and a digest take 81.
    pub fn of_records(records: usize) -> KeepLimits {
        KeepLimits { records, collections: 10_000, path_bytes: records.saturating_mul(128) }
    }
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

/// A leaf whose collection matches the filter. There may be many: offsets are narrow, for archives are below 4 GiB.
struct Leaf {
    /// Where its path ends in `Snapshot::paths`; it begins where the one before ends.
    path_end: u32,
    record: Result<Range<u32>, SkipReason>,
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

/// Verifies a repo as getRepo gives it, from every block's hash to the signature, and keeps what `filter` matches: of the tree, all that
/// can hold such a record is checked. What the filter cannot meet must be there, and is hashed.
///
/// `now_micros` is the time in microseconds since 1970.
pub fn open_repo(
    car: Bytes,
    did: &Did,
    trust: &Trust,
    now_micros: u64,
    filter: &CollectionFilter,
    limits: &KeepLimits,
) -> Result<Snapshot, RepoError> {
    let archive = car::read(&car)?;
    let commit = verified_commit(&archive, did, trust, now_micros)?;
    let mut selection = Selection::new(filter, limits);
    let visit = |path: &[u8], link: Link<'_>| selection.visit(path, link, &archive);
    let walked = mst::walk(&archive, &commit.data, filter.key_ranges().as_deref(), Extent::Whole, visit)?;
    drop(archive);
    Ok(selection.into_snapshot(commit, walked.keys_estimate, car))
}

fn verified_commit(archive: &Car<'_>, did: &Did, trust: &Trust, now_micros: u64) -> Result<Commit, RepoError> {
    let unverified = root_commit(archive)?;
    unverified.check(did, now_micros)?;
    trust.verify(&unverified)?;
    Ok(unverified.into_commit())
}

/// How many bytes `open_repo` takes at most, those of the archive not counted: known before any of them is hashed.
pub fn memory_needed(car: &[u8], limits: &KeepLimits) -> Result<usize, RepoError> {
    let index = car::index_bytes(car::count_blocks(car)?);
    // A list that grows has twice the room that it needs, for a moment.
    let leaves = limits.records.min(car.len() / MIN_ENTRY_LEN) * size_of::<Leaf>() * 2;
    let paths = limits.path_bytes.min(mst::max_key_bytes(car.len()));
    Ok(index + leaves + paths + mst::max_walk_bytes(car.len()))
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
        self.paths().zip(&self.leaves).map(|((collection, rkey), leaf)| {
            let range = leaf.record.clone().map(|range| range.start as usize..range.end as usize);
            (collection, rkey, record_in(&self.car, range))
        })
    }

    /// The paths of the same records.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let mut start = 0;
        self.leaves.iter().map(move |leaf| {
            let end = leaf.path_end as usize;
            let path = self.paths.get(start..end).unwrap_or_default();
            start = end;
            path.split_once('/').unwrap_or((path, ""))
        })
    }

    #[cfg(test)]
    pub(crate) fn archive_bytes(&self) -> usize {
        self.car.len()
    }

    /// What is kept of the repo in memory, the archive not counted.
    pub fn kept_bytes(&self) -> usize {
        let batch_bytes = if self.release.is_some() { on_disk::BATCH_BYTES.min(self.car.len()) } else { 0 };
        self.paths.len() + self.leaves.len() * size_of::<Leaf>() + batch_bytes
    }
}

/// A block comes behind its digest, in the archive and where it was copied to.
fn record_in(bytes: &[u8], range: Result<Range<usize>, SkipReason>) -> SnapshotRecord<'_> {
    let range = match range {
        Ok(range) => range,
        Err(reason) => return SnapshotRecord::Skipped(reason),
    };
    let (before, block) = (bytes.get(..range.start), bytes.get(range));
    let digest = before.and_then(|before| before.last_chunk()).expect("a block comes behind its digest");
    let bytes = block.expect("the range is that of a block in these bytes");
    SnapshotRecord::Block { cid: DagCid::from_digest(*digest), bytes }
}

/// Picks the leaves that the filter matches, as the walk passes them in order.
struct Selection<'f> {
    filter: &'f CollectionFilter,
    left: KeepLimits,
    paths: String,
    leaves: Vec<Leaf>,
    over_limit: u64,
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
    fn new(filter: &'f CollectionFilter, limits: &KeepLimits) -> Selection<'f> {
        let (paths, leaves, collection) = (String::new(), Vec::new(), Vec::new());
        let verdict = judge(filter, "");
        Selection { filter, left: *limits, paths, leaves, over_limit: 0, collection, verdict }
    }

    fn visit(&mut self, path: &[u8], link: Link<'_>, archive: &Car<'_>) {
        let slash = path.iter().position(|byte| *byte == b'/');
        let collection = path.get(..slash.unwrap_or(path.len())).unwrap_or_default();
        let is_next = collection != self.collection;
        if is_next {
            self.collection = collection.to_vec();
            self.verdict = judge(self.filter, &String::from_utf8_lossy(collection));
        }
        if self.verdict == Verdict::Unwanted {
            return;
        }
        let path_text = String::from_utf8_lossy(path);
        if self.over_limit > 0 || !self.left.take(path_text.len(), is_next || self.leaves.is_empty()) {
            self.over_limit += 1;
            return;
        }
        let rkey = slash.and_then(|slash| path.get(slash + 1..)).unwrap_or_default();
        let is_rkey = std::str::from_utf8(rkey).is_ok_and(|rkey| RecordKey::parse(rkey).is_ok());
        let record = match self.verdict {
            Verdict::Wanted if is_rkey => find_record(link, archive),
            _ => Err(SkipReason::InvalidPath),
        };
        if self.paths.capacity() - self.paths.len() < path_text.len() {
            // Never by doubling: it may be large.
            self.paths.reserve_exact(PATHS_STEP.min(self.paths.len()).max(path_text.len()));
        }
        self.paths.push_str(&path_text);
        self.leaves.push(Leaf { path_end: narrow(self.paths.len()), record });
    }

    fn into_snapshot(self, commit: Commit, leaf_count: u64, car: Bytes) -> Snapshot {
        let Selection { mut paths, mut leaves, over_limit, .. } = self;
        paths.shrink_to_fit();
        leaves.shrink_to_fit();
        Snapshot { commit, leaf_count, over_limit, car, paths, leaves, release: None }
    }
}

impl KeepLimits {
    /// Takes one record off what is left; false when it is too much.
    fn take(&mut self, path_bytes: usize, is_next_collection: bool) -> bool {
        let left = (|| {
            Some(KeepLimits {
                records: self.records.checked_sub(1)?,
                collections: self.collections.checked_sub(usize::from(is_next_collection))?,
                path_bytes: self.path_bytes.checked_sub(path_bytes)?,
            })
        })();
        left.map(|left| *self = left).is_some()
    }
}

fn judge(filter: &CollectionFilter, collection: &str) -> Verdict {
    match filter.matches(collection) {
        false => Verdict::Unwanted,
        true if Nsid::parse(collection).is_ok() => Verdict::Wanted,
        true => Verdict::Invalid,
    }
}

fn find_record(link: Link<'_>, archive: &Car<'_>) -> Result<Range<u32>, SkipReason> {
    let cid = link.dag().ok_or(SkipReason::ForeignCid)?;
    let range = archive.range(&cid).ok_or(SkipReason::MissingBlock)?;
    if range.len() > MAX_RECORD_LEN {
        return Err(SkipReason::TooLarge);
    }
    Ok(narrow(range.start)..narrow(range.end))
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).expect("archives, and the paths that are kept, are below 4 GiB")
}
