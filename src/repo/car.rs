//! CAR v1 archives, read over a borrowed slice: <https://ipld.io/specs/transport/car/carv1/>.
//!
//! Owns the framing and the proof that every block is what its CID says; knows nothing of what the blocks mean.
//! Blocks in any order, repeated or unneeded are legal. Invariant: a block that `get` gives has been hashed.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};
use sha2::{Digest, Sha256};

use super::cid::{CidError, CidParts, DagCid, HASH_SHA256, Link};
use super::dag_cbor::{DagCborError, Reader};
use super::varint::{self, VarintError};

/// A verified archive; its blocks stay where they are, in the bytes that were read.
pub struct Car<'a> {
    bytes: &'a [u8],
    roots: Vec<Link<'a>>,
    index: HashTable<Block>,
    /// Seeded by chance, so that nobody can build an archive whose digests all collide.
    hasher: DefaultHashBuilder,
}

/// Where a dag-cbor block lies; its digest is the 32 bytes before it.
struct Block {
    start: u32,
    len: u32,
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
        }
    }
}

/// Reads a whole archive and hashes every block; how many bytes are too many is the caller's to say.
pub fn read(bytes: &[u8]) -> Result<Car<'_>, CarError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(CarError::TooLarge);
    }
    let (header, mut rest) = split_section(bytes)?;
    let roots = read_header(header)?;
    let mut car = Car { bytes, roots, index: HashTable::new(), hasher: DefaultHashBuilder::default() };
    while !rest.is_empty() {
        let (section, after) = split_section(rest)?;
        let offset = bytes.len() - after.len() - section.len();
        car.add_section(section, offset)?;
        rest = after;
    }
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

    /// Where the verified block with this CID lies in the bytes that were read.
    pub fn range(&self, cid: &DagCid) -> Option<Range<usize>> {
        let block = self.index.find(self.hash(cid), |block| block.digest(self.bytes) == Some(cid.digest()))?;
        let start = block.start as usize;
        Some(start..start + block.len as usize)
    }

    /// The size of the archive.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many different dag-cbor blocks there are.
    pub fn block_count(&self) -> usize {
        self.index.len()
    }

    fn add_section(&mut self, section: &'a [u8], offset: usize) -> Result<(), CarError> {
        let (cid, block) = CidParts::split(section).map_err(|error| CarError::Cid { offset, error })?;
        if cid.hash != HASH_SHA256 {
            // Nobody can link to it in a repo: it is passed over like any unneeded block.
            return Ok(());
        }
        if Sha256::digest(block).as_slice() != cid.digest {
            return Err(CarError::HashMismatch { offset });
        }
        let Link::Dag(cid) = cid.link() else { return Ok(()) };
        let narrow = |n: usize| u32::try_from(n).expect("the archive is below 4 GiB");
        let found = Block { start: narrow(offset + section.len() - block.len()), len: narrow(block.len()) };
        let (hash, bytes, hasher) = (self.hash(&cid), self.bytes, &self.hasher);
        let is_same = |block: &Block| block.digest(bytes) == Some(cid.digest());
        let rehash = |block: &Block| block.digest(bytes).map_or(0, |digest| hash_digest(hasher, digest));
        self.index.entry(hash, is_same, rehash).or_insert(found);
        Ok(())
    }

    fn hash(&self, cid: &DagCid) -> u64 {
        hash_digest(&self.hasher, cid.digest())
    }
}

impl Block {
    fn digest<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8; 32]> {
        bytes.get(..self.start as usize)?.last_chunk()
    }
}

/// A digest is random already: eight bytes of it, mixed with the seed, are hash enough.
fn hash_digest(hasher: &DefaultHashBuilder, digest: &[u8; 32]) -> u64 {
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
