//! A repo of which only what a filter's ranges need was fetched: its commit, the nodes that lead there, and the records.
//!
//! The archive grows answer by answer. What it shows at any time is proven by hashes up to its commit, as in a whole archive; who signed
//! the commit is asked at the end, by `open_sparse`, which gives the snapshot that the whole repo would give.

use super::*;
use crate::repo::varint;
use crate::syntax::KeyRange;

/// An archive of a part of a repo.
#[derive(Clone, Debug)]
pub struct SparseArchive {
    bytes: Vec<u8>,
}

/// What such an archive shows of the records that a filter matches, on the authority of its hashes alone.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The commit. Nobody was shown to have signed it.
    pub commit: Commit,
    /// Whether there is a matching record.
    pub has_match: bool,
    /// When none was seen: the first range of which the archive does not show all.
    pub undecided: Option<usize>,
    /// Blocks of the ranges that the archive lacks, and names: nodes and records.
    pub missing: Vec<DagCid>,
    /// About how many records the repo has.
    pub records_estimate: u64,
    /// About how many of them match.
    pub matching_estimate: u64,
}

impl SparseArchive {
    /// Begins with an answer of getRecord.
    pub fn new(answer: Vec<u8>) -> SparseArchive {
        SparseArchive { bytes: answer }
    }

    /// Its size.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Its bytes, for `open_sparse`.
    pub fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }

    /// Looks at what there is. Hashes, the commit's account and time, and the shape of the tree are checked as those of a whole repo are.
    pub fn look(
        &self,
        did: &Did,
        now_micros: u64,
        filter: &CollectionFilter,
        ranges: &[KeyRange],
    ) -> Result<Sight, RepoError> {
        let archive = car::read(&self.bytes)?;
        let unverified = root_commit(&archive)?;
        unverified.check(did, now_micros)?;
        let commit = unverified.into_commit();
        let (mut missing, mut has_match) = (Vec::new(), false);
        let seen = mst::walk(&archive, &commit.data, Some(ranges), Extent::Part, |path, link| {
            let path = String::from_utf8_lossy(path);
            let (collection, rkey) = path.split_once('/').unwrap_or((&path, ""));
            let verdict = judge(filter, collection);
            has_match |= verdict != Verdict::Unwanted;
            let is_wanted = verdict == Verdict::Wanted && RecordKey::parse(rkey).is_ok();
            missing.extend(link.dag().filter(|cid| is_wanted && archive.get(cid).is_none()));
        })?;
        let undecided = seen.missing.iter().map(|(_, range)| *range).min().filter(|_| !has_match);
        missing.extend(seen.missing.into_iter().map(|(node, _)| node));
        missing.sort_unstable();
        missing.dedup();
        let (records_estimate, matching_estimate) = (seen.keys_estimate, seen.in_ranges_estimate);
        Ok(Sight { commit, has_match, undecided, missing, records_estimate, matching_estimate })
    }

    /// Adds the blocks of a further answer of getRecord; false when it is of another commit than what was seen.
    pub fn add_proof(&mut self, answer: &[u8], sight: &Sight) -> Result<bool, CarError> {
        let proof = car::read(answer)?;
        if proof.roots().first().and_then(Link::dag) != Some(sight.commit.cid) {
            return Ok(false);
        }
        let (header_len, rest) = varint::split(answer).unwrap_or_default();
        self.bytes.extend_from_slice(rest.get(header_len as usize..).unwrap_or_default());
        Ok(true)
    }

    /// Adds those of the wanted blocks that an answer has, and says how many they are.
    pub fn add(&mut self, answer: &[u8], wanted: &[DagCid]) -> Result<usize, CarError> {
        let answer = car::read(answer)?;
        let found = wanted.iter().filter_map(|cid| answer.get(cid).map(|block| (cid, block)));
        let mut added = 0;
        for (cid, block) in found {
            write_section(&mut self.bytes, cid, block);
            added += 1;
        }
        Ok(added)
    }
}

/// As `open_repo`, of an archive that has at least the nodes of the filter's ranges and their records.
pub fn open_sparse(
    car: Bytes,
    did: &Did,
    trust: &Trust,
    now_micros: u64,
    filter: &CollectionFilter,
    ranges: &[KeyRange],
    limits: &KeepLimits,
) -> Result<Snapshot, RepoError> {
    let archive = car::read(&car)?;
    let commit = verified_commit(&archive, did, trust, now_micros)?;
    let mut selection = Selection::new(filter, limits);
    let visit = |path: &[u8], link: Link<'_>| selection.visit(path, link, &archive);
    let seen = mst::walk(&archive, &commit.data, Some(ranges), Extent::Part, visit)?;
    if let Some((node, _)) = seen.missing.first() {
        return Err(MstError::MissingNode(*node).into());
    }
    drop(archive);
    Ok(selection.into_snapshot(commit, seen.keys_estimate, car))
}

fn write_section(car: &mut Vec<u8>, cid: &DagCid, block: &[u8]) {
    let cid = cid.to_cid_bytes();
    let mut len = cid.len() + block.len();
    while len >= 0x80 {
        car.push(len as u8 | 0x80);
        len >>= 7;
    }
    car.push(len as u8);
    car.extend_from_slice(&cid);
    car.extend_from_slice(block);
}
