//! CAR v1 archives, read over a borrowed slice: <https://ipld.io/specs/transport/car/carv1/>.
//!
//! Owns the framing and the proof that every block is what its CID says; knows nothing of what the blocks mean.
//! Blocks in any order, repeated or unneeded are legal. Invariant: a block that `get` gives has been hashed. What is known of a
//! block takes five bytes: an archive may be cut into millions of them.

use std::hash::BuildHasher;
use std::hint::black_box;
use std::ops::Range;

use super::cid::{CidError, CidParts, DagCid, HASH_SHA256, Link};
use super::dag_cbor::{DagCborError, Reader};
use super::sha256::{self, DIGEST_LEN};
use super::varint::{self, VarintError};
use hashbrown::{DefaultHashBuilder, HashTable};

/// The header names a version and, in what is served to us, at most one root.
const MAX_HEADER_LEN: usize = 4 << 10;
/// Twice what a record may have.
const MAX_BLOCK_LEN: usize = 2 << 20;
/// As many as an index of 4 Mi places takes. The largest honest archives have blocks of 300 bytes on average: 1.8 million in 512 MiB.
const MAX_BLOCKS: usize = (4 << 20) / 8 * 7;
/// What the first cache has room for, with room to spare.
const STRETCH_LEN: usize = 16 << 10;
/// Blocks are put into the index so many in turn: while one waits for its place to come from memory, the others' come, too.
const TURN: usize = 64;
const CACHE_LINE_LEN: usize = 64;
/// A CID of the only kind that is indexed.
const CID_LEN: usize = 36;

/// A verified archive; its blocks stay where they are, in the bytes that were read.
pub struct Car<'a> {
    bytes: &'a [u8],
    roots: Vec<Link<'a>>,
    /// Where the sections of the dag-cbor blocks begin.
    index: HashTable<u32>,
    /// Seeded by chance, so that nobody can build an archive whose digests all collide.
    hasher: DefaultHashBuilder,
}

/// An archive that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// The bytes end within the header or a block.
    #[error("CAR is cut short")]
    Truncated,
    /// A varint is not in its shortest form.
    #[error("CAR has an over-long varint")]
    OverlongVarint,
    /// The header is not DAG-CBOR, or not a CAR header.
    #[error("CAR header: {0}")]
    Header(#[from] DagCborError),
    /// The header lacks a field, repeats one, or names another version than 1.
    #[error("CAR header is not that of version 1 with roots")]
    Version,
    /// A block's CID cannot be read.
    #[error("block at byte {offset}: {error}")]
    Cid {
        /// Where the block's CID begins.
        offset: usize,
        /// What is wrong with it.
        error: CidError,
    },
    /// A block's SHA-256 is not the one in its CID.
    #[error("block at byte {offset} does not have the hash that its CID names")]
    HashMismatch {
        /// Where the block's CID begins.
        offset: usize,
    },
    /// 4 GiB or more.
    #[error("CAR is too large")]
    TooLarge,
    /// The header is larger than any honest one.
    #[error("CAR header is larger than {MAX_HEADER_LEN} bytes")]
    HeaderTooLarge,
    /// A block is larger than any of a repo may be.
    #[error("block at byte {offset} is larger than {MAX_BLOCK_LEN} bytes")]
    BlockTooLarge {
        /// Where the block's CID begins.
        offset: usize,
    },
    /// It is chopped finer than any honest archive of its size.
    #[error("CAR has more than {MAX_BLOCKS} blocks")]
    TooManyBlocks,
}

impl CarError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            CarError::Truncated => "car_truncated",
            CarError::OverlongVarint => "car_varint",
            CarError::Header(_) | CarError::Version => "car_header",
            CarError::Cid { .. } => "car_cid",
            CarError::HashMismatch { .. } => "car_hash_mismatch",
            CarError::TooLarge => "car_too_large",
            CarError::HeaderTooLarge => "car_header_too_large",
            CarError::BlockTooLarge { .. } => "car_block_too_large",
            CarError::TooManyBlocks => "car_too_many_blocks",
        }
    }
}

/// Counts the blocks of an archive by their lengths alone, and refuses one that is not worth hashing.
pub fn count_blocks(bytes: &[u8]) -> Result<usize, CarError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(CarError::TooLarge);
    }
    let (header, sections) = Sections::of(bytes)?;
    if header.len() > MAX_HEADER_LEN {
        return Err(CarError::HeaderTooLarge);
    }
    let mut count = 0;
    for section in sections {
        let Section { bytes, offset, .. } = section?;
        // A CID of a kind that we do not index may be longer; its block is none of ours.
        if bytes.len() > CID_LEN + MAX_BLOCK_LEN {
            return Err(CarError::BlockTooLarge { offset });
        }
        count += 1;
        if count > MAX_BLOCKS {
            return Err(CarError::TooManyBlocks);
        }
    }
    Ok(count)
}

/// How many bytes `read` takes for an archive of so many blocks, its own bytes not counted.
pub fn index_bytes(blocks: usize) -> usize {
    // A table is filled up to 7/8, has a power of two of places, and a byte of its own for each.
    (blocks * 8 / 7 + 1).next_power_of_two() * (size_of::<u32>() + 1)
}

/// Reads a whole archive and hashes every block; how many bytes are too many is the caller's to say.
pub fn read(bytes: &[u8]) -> Result<Car<'_>, CarError> {
    let blocks = count_blocks(bytes)?;
    let (header, sections) = Sections::of(bytes)?;
    let (roots, index) = (read_header(header)?, HashTable::with_capacity(blocks));
    let mut car = Car { bytes, roots, index, hasher: DefaultHashBuilder::default() };
    let mut verified = Vec::with_capacity(TURN.min(blocks));
    for section in sections {
        let section = section?;
        if is_indexed(&section)? {
            verified.push(narrow(section.start));
        }
        if verified.len() == TURN {
            car.add(&mut verified);
        }
    }
    car.add(&mut verified);
    Ok(car)
}

impl<'a> Car<'a> {
    /// The roots that the header names: one in a repo or an event, none in an answer of getBlocks.
    pub fn roots(&self) -> &[Link<'a>] {
        &self.roots
    }

    /// The verified dag-cbor block with this CID.
    pub fn get(&self, cid: &DagCid) -> Option<&'a [u8]> {
        self.bytes.get(self.range(cid)?)
    }

    /// Where the verified block with this CID lies in the bytes that were read; its digest is the 32 bytes before it.
    pub fn range(&self, cid: &DagCid) -> Option<Range<usize>> {
        let is_it = |start: &u32| indexed(self.bytes, *start).is_some_and(|(digest, _)| digest == cid.digest());
        let start = self.index.find(self.hash(cid), is_it)?;
        indexed(self.bytes, *start).map(|(_, range)| range)
    }

    /// Has a block come from memory while others do, too; it is about to be asked for.
    pub fn warm(&self, cid: &DagCid) {
        if let Some(range) = self.range(cid) {
            warm(self.bytes.get(range.start..range.end.min(range.start + 512)).unwrap_or_default());
        }
    }

    /// As `warm`, when only where the block lies is about to be asked.
    pub fn warm_place(&self, cid: &DagCid) {
        black_box(self.range(cid));
    }

    /// The size of the archive.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many different dag-cbor blocks there are.
    pub fn block_count(&self) -> usize {
        self.index.len()
    }

    /// Puts blocks into the index.
    fn add(&mut self, starts: &mut Vec<u32>) {
        let (bytes, hasher) = (self.bytes, &self.hasher);
        let digest_at = |start: u32| indexed(bytes, start).map(|(digest, _)| digest);
        let hash_at = |start: &u32| digest_at(*start).map_or(0, |digest| hash_digest(hasher, digest));
        for start in starts.drain(..) {
            let is_same = |other: &u32| digest_at(*other) == digest_at(start);
            self.index.entry(hash_at(&start), is_same, hash_at).or_insert(start);
        }
    }

    fn hash(&self, cid: &DagCid) -> u64 {
        hash_digest(&self.hasher, cid.digest())
    }
}

/// A CID with its block.
struct Section<'a> {
    /// Where its length stands, and where the CID begins.
    start: usize,
    offset: usize,
    bytes: &'a [u8],
}

/// The sections of an archive behind its header, in order.
struct Sections<'a> {
    bytes: &'a [u8],
    next: usize,
    /// Up to here the bytes have been fetched into the cache.
    warm: usize,
}

impl<'a> Sections<'a> {
    fn of(bytes: &'a [u8]) -> Result<(&'a [u8], Sections<'a>), CarError> {
        let (header, rest) = split_section(bytes)?;
        let next = bytes.len() - rest.len();
        // The CAR of an event fits in one stretch, and is warm.
        let warm = if bytes.len() <= STRETCH_LEN { bytes.len() } else { next };
        Ok((header, Sections { bytes, next, warm }))
    }

    /// Where a section begins is known only when the one before has come from memory, so they would be waited for one by one. A
    /// glance at every cache line of a stretch has all of them come at once: an archive is counted in an eighth of the time.
    fn warm(&mut self) {
        let end = self.bytes.len().min(self.next + STRETCH_LEN);
        warm(self.bytes.get(self.next..end).unwrap_or_default());
        self.warm = self.next + STRETCH_LEN;
    }
}

/// Looks at each cache line.
fn warm(bytes: &[u8]) {
    black_box(bytes.iter().step_by(CACHE_LINE_LEN).fold(0, |all, byte| all ^ byte));
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, CarError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.warm {
            self.warm();
        }
        let start = self.next;
        let rest = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        Some(split_section(rest).map(|(bytes, after)| {
            self.next = self.bytes.len() - after.len();
            Section { start, offset: self.next - bytes.len(), bytes }
        }))
    }
}

/// Whether a block, which must have the hash that its CID names, is one that a repo can link to.
fn is_indexed(section: &Section<'_>) -> Result<bool, CarError> {
    let offset = section.offset;
    let (cid, block) = CidParts::split(section.bytes).map_err(|error| CarError::Cid { offset, error })?;
    if cid.hash != HASH_SHA256 {
        // It is passed over like any unneeded block.
        return Ok(false);
    }
    if sha256::digest(block) != *cid.digest {
        return Err(CarError::HashMismatch { offset });
    }
    Ok(cid.link().dag().is_some())
}

fn narrow(start: usize) -> u32 {
    u32::try_from(start).expect("the archive is below 4 GiB")
}

/// The digest of the dag-cbor block whose section begins here, and where the block itself lies.
fn indexed(bytes: &[u8], start: u32) -> Option<(&[u8; DIGEST_LEN], Range<usize>)> {
    let (section, after) = split_section(bytes.get(start as usize..)?).ok()?;
    let digest = section.get(..CID_LEN)?.last_chunk()?;
    let end = bytes.len() - after.len();
    Some((digest, end + CID_LEN - section.len()..end))
}

/// A digest is random already: eight bytes of it, mixed with the seed, are hash enough.
fn hash_digest(hasher: &DefaultHashBuilder, digest: &[u8; DIGEST_LEN]) -> u64 {
    let first = digest.first_chunk().expect("a digest has more than 8 bytes");
    hasher.hash_one(u64::from_le_bytes(*first))
}

/// Splits off a length and as many bytes.
fn split_section(bytes: &[u8]) -> Result<(&[u8], &[u8]), CarError> {
    let (len, rest) = varint::split(bytes).map_err(|error| match error {
        VarintError::Truncated => CarError::Truncated,
        VarintError::Overlong => CarError::OverlongVarint,
    })?;
    let len = usize::try_from(len).map_err(|_| CarError::Truncated)?;
    rest.split_at_checked(len).ok_or(CarError::Truncated)
}

fn read_header(bytes: &[u8]) -> Result<Vec<Link<'_>>, CarError> {
    let mut reader = Reader::lenient(bytes);
    let (mut version, mut roots) = (None, None);
    for _ in 0..reader.map()? {
        match reader.text()? {
            "version" if version.is_none() => version = Some(reader.unsigned()?),
            "roots" if roots.is_none() => {
                let links = (0..reader.list()?).map(|_| reader.link()).collect::<Result<Vec<_>, _>>()?;
                roots = Some(links);
            }
            _ => return Err(CarError::Version),
        }
    }
    reader.finish()?;
    match (version, roots) {
        (Some(1), Some(roots)) => Ok(roots),
        _ => Err(CarError::Version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::model::{self, Blocks, encode, map, put, write_car, write_section};
    use ipld_core::ipld::Ipld;
    use proptest::prelude::*;

    fn blocks(contents: &[&[u8]]) -> Blocks {
        let mut blocks = Blocks::new();
        contents.iter().for_each(|content| {
            put(&mut blocks, content.to_vec());
        });
        blocks
    }

    fn error(bytes: &[u8]) -> CarError {
        read(bytes).err().expect("refused")
    }

    #[test]
    fn blocks_are_found_in_any_order_and_twice() {
        let blocks = blocks(&[b"one", b"two", b""]);
        let root = DagCid::for_block(b"two");
        let bytes = write_car(&[root], blocks.iter().rev().chain(&blocks));
        let car = read(&bytes).expect("sound");
        assert_eq!(car.roots(), [Link::Dag(root)]);
        assert_eq!(car.block_count(), 3);
        for (cid, block) in &blocks {
            assert_eq!(car.get(cid), Some(block.as_slice()));
        }
        assert_eq!(car.get(&DagCid::for_block(b"three")), None);
    }

    #[test]
    fn archives_without_roots_or_blocks_are_read() {
        let bytes = write_car(&[], &Blocks::new());
        let car = read(&bytes).expect("sound");
        assert_eq!((car.roots().len(), car.block_count()), (0, 0));
    }

    #[test]
    fn every_truncation_is_an_error_or_ends_between_blocks() {
        let blocks = blocks(&[b"one", b"two", &[7; 200]]);
        let bytes = write_car(&[DagCid::for_block(b"one")], &blocks);
        let mut whole_blocks = Vec::new();
        for end in 0..bytes.len() {
            match read(&bytes[..end]) {
                Ok(car) => whole_blocks.push(car.block_count()),
                Err(error) => assert_eq!(error, CarError::Truncated, "{end}"),
            }
        }
        assert_eq!(whole_blocks, [0, 1, 2]);
    }

    #[test]
    fn every_flipped_bit_in_a_block_or_its_hash_is_found() {
        let bytes = write_car(&[], &blocks(&[b"some block"]));
        let block_start = bytes.len() - 10;
        for at in block_start - 32..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(error(&flipped), CarError::HashMismatch { offset: block_start - 36 });
            }
        }
    }

    #[test]
    fn raw_blocks_are_verified_and_other_hash_functions_passed_over() {
        let section = |parts: &[&[u8]]| {
            let mut bytes = write_car(&[], &Blocks::new());
            write_section(&mut bytes, parts);
            bytes
        };
        let digest = *DagCid::for_block(b"blob").digest();
        let raw = [&[0x01, 0x55, 0x12, 0x20], digest.as_slice()].concat();
        let version_0 = [&[0x12, 0x20], digest.as_slice()].concat();
        for cid in [&raw, &version_0] {
            let sound = section(&[cid, b"blob"]);
            assert_eq!(read(&sound).expect("sound").block_count(), 0);
            assert!(matches!(error(&section(&[cid, b"blub"])), CarError::HashMismatch { .. }));
        }
        let identity = section(&[&[0x01, 0x71, 0x00, 0x02, b'h', b'i'], b"hi"]);
        assert_eq!(read(&identity).expect("sound").block_count(), 0);
        // A SHA-256 that is cut to 20 bytes proves nothing.
        let short = [&[0x01, 0x71, 0x12, 0x14], &digest[..20]].concat();
        assert!(matches!(error(&section(&[&short, b"blob"])), CarError::HashMismatch { .. }));
        for broken in [&[][..], &[0], &[0x01, 0x71], &[0x02, 0x71, 0x12, 0x00], &[0x12, 0x20, 0x00]] {
            assert!(matches!(error(&section(&[broken])), CarError::Cid { .. }));
        }
    }

    #[test]
    fn declared_lengths_are_not_believed() {
        let header = write_car(&[], &Blocks::new());
        let with = |tail: &[u8]| error(&[&header, tail].concat());
        assert_eq!(with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), CarError::Truncated);
        assert_eq!(with(&[0xff; 10]), CarError::OverlongVarint);
        assert_eq!(with(&[0x81, 0x00, 0x00]), CarError::OverlongVarint);
        assert_eq!(with(&[0x80]), CarError::Truncated);
        assert_eq!(error(&[]), CarError::Truncated);
        // A header that declares 2^32 roots.
        let roots = [&[0xa2, 0x65], b"roots".as_slice(), &[0x9a, 0xff, 0xff, 0xff, 0xff]].concat();
        let mut bytes = Vec::new();
        write_section(&mut bytes, &[&roots]);
        assert_eq!(error(&bytes), CarError::Header(DagCborError::UnexpectedEnd));
    }

    #[test]
    fn headers_are_of_version_1_with_roots() {
        let header = |entries: Ipld| {
            let mut bytes = Vec::new();
            write_section(&mut bytes, &[&encode(entries)]);
            error(&bytes)
        };
        let (one, none) = (Ipld::Integer(1), Ipld::List(Vec::new()));
        assert_eq!(header(map([("version", Ipld::Integer(2)), ("roots", none.clone())])), CarError::Version);
        assert_eq!(header(map([("version", one.clone())])), CarError::Version);
        assert_eq!(header(map([("roots", none.clone())])), CarError::Version);
        assert_eq!(header(map([("version", one), ("roots", none), ("more", Ipld::Null)])), CarError::Version);
        assert!(matches!(header(Ipld::Null), CarError::Header(_)));
    }

    #[test]
    fn headers_and_blocks_are_bounded() {
        let car = |header: usize, block: usize| {
            let mut bytes = Vec::new();
            write_section(&mut bytes, &[&vec![0; header]]);
            write_section(&mut bytes, &[&DagCid::for_block(&vec![7; block]).to_cid_bytes(), &vec![7; block]]);
            bytes
        };
        assert_eq!(error(&car(4097, 0)), CarError::HeaderTooLarge);
        assert!(matches!(error(&car(4096, 0)), CarError::Header(_)));
        assert_eq!(error(&car(0, (2 << 20) + 1)), CarError::BlockTooLarge { offset: 5 });
        let largest = [write_car(&[], &Blocks::new()), car(0, 2 << 20)[1..].to_vec()].concat();
        assert_eq!(read(&largest).expect("sound").block_count(), 1);
    }

    #[test]
    fn an_archive_of_too_many_blocks_is_refused_before_any_is_hashed() {
        let header = write_car(&[], &Blocks::new());
        // Sections without even a CID: what counts is that they are there.
        let chopped = |sections: usize| [&header[..], &vec![0; sections]].concat();
        assert_eq!(count_blocks(&chopped(MAX_BLOCKS)), Ok(MAX_BLOCKS));
        assert_eq!(error(&chopped(MAX_BLOCKS + 1)), CarError::TooManyBlocks);
    }

    #[test]
    fn an_index_takes_what_was_said_before() {
        for blocks in [0, 1, 3, 7, 8, 14, 15, 28, 29, 1000, 100_000, MAX_BLOCKS] {
            let table: HashTable<u32> = HashTable::with_capacity(blocks);
            let (said, taken) = (index_bytes(blocks), table.allocation_size());
            assert!(taken <= said + 64 && said <= taken * 2 + 64, "{blocks} blocks: {taken} of {said}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            let blocks = blocks(&contents);
            let bytes = write_car(&[], &blocks);
            let car = read(&bytes).expect("sound");
            prop_assert_eq!(car.block_count(), blocks.len());
            for (cid, block) in &blocks {
                prop_assert_eq!(car.get(cid), Some(block.as_slice()));
            }
        }

        #[test]
        fn hostile_bytes_are_read_or_refused(at in 0..400_usize, with in any::<[u8; 3]>()) {
            let repo = model::Repo::new([("a.b.c/d".to_owned(), vec![0xa0])], &model::SigningKey::k256(1));
            let mut bytes = repo.car();
            bytes.iter_mut().skip(at).zip(with).for_each(|(byte, new)| *byte = new);
            let _ = read(&bytes);
        }
    }
}
