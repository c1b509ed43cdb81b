//! The packed form of a list of repos, as it lies in a row of `lists`: ascending, with their DIDs. Pure bytes, no SQL.
//!
//! A repo is a varint (LEB128): twice the distance from the repo before it (of the first one: from 0), plus 1 where the DID is written out.
//! Behind it stand the 15 bytes that the 24 base32 digits of a did:plc say, or the length of the DID as a varint and the DID itself.

const PLC: &[u8; 8] = b"did:plc:";
const PLC_BYTES: usize = 15;
const PLC_CHARS: usize = 32;

/// What is in a row is not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of lists is damaged")]
pub(super) struct Damaged;

/// A repo of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub repo: i64,
    pub did: PackedDid<'a>,
}

/// A DID as it is stored. By reference: to move 15 bytes about for each repo of a page takes longer than to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackedDid<'a> {
    Plc(&'a [u8; PLC_BYTES]),
    Text(&'a [u8]),
}

/// Of a distance and a length.
const HEAD_BYTES: usize = 7;

impl Entry<'_> {
    /// At most so much of a row.
    fn most_bytes(&self) -> usize {
        match self.did {
            PackedDid::Plc(packed) => packed.len() + HEAD_BYTES,
            PackedDid::Text(text) => text.len() + HEAD_BYTES,
        }
    }

    /// Gives a repo, as it is stored, to `take`.
    pub(super) fn pack<T>(repo: i64, did: &str, take: impl FnOnce(Entry<'_>) -> T) -> T {
        let did = did.as_bytes();
        match pack(did) {
            Some(packed) => take(Entry { repo, did: PackedDid::Plc(&packed) }),
            None => take(Entry { repo, did: PackedDid::Text(did) }),
        }
    }
}

impl PackedDid<'_> {
    /// Gives the DID's text to `take`.
    #[inline]
    pub(super) fn give<T>(&self, take: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            PackedDid::Plc(packed) => take(&unpack(packed)),
            PackedDid::Text(text) => take(text),
        }
    }
}

/// The repos of a row, ascending.
#[derive(Debug, Clone)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    last: i64,
}

impl<'a> Entries<'a> {
    pub(super) fn of(chunk: &'a [u8]) -> Entries<'a> {
        Entries { rest: chunk, last: 0 }
    }

    /// Goes on where another walk over the same row stood.
    pub(super) fn at(chunk: &'a [u8], place: Place) -> Entries<'a> {
        Entries { rest: &chunk[place.offset..], last: place.last }
    }

    /// Where this walk stands in its row.
    pub(super) fn place(&self, chunk: &[u8]) -> Place {
        Place { offset: chunk.len() - self.rest.len(), last: self.last }
    }

    #[inline]
    fn read(&mut self) -> Option<Entry<'a>> {
        let head = self.varint()?;
        let repo = self.last.checked_add(i64::try_from(head >> 1).ok()?)?;
        let did = if head & 1 == 0 {
            let (packed, rest) = self.rest.split_first_chunk::<PLC_BYTES>()?;
            self.rest = rest;
            PackedDid::Plc(packed)
        } else {
            let length = usize::try_from(self.varint()?).ok()?;
            let (text, rest) = self.rest.split_at_checked(length)?;
            self.rest = rest;
            PackedDid::Text(text)
        };
        self.last = repo;
        Some(Entry { repo, did })
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        while let Some((byte, rest)) = self.rest.split_first()
            && shift < 63
        {
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
        None
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Damaged>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.read().ok_or(Damaged);
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// A place between two repos of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    offset: usize,
    last: i64,
}

/// Writes a row's repos one after the other, ascending.
#[derive(Debug, Default)]
pub(super) struct ChunkWriter {
    pub bytes: Vec<u8>,
    pub last: i64,
}

impl ChunkWriter {
    pub(super) fn push(&mut self, Entry { repo, did }: Entry<'_>) {
        let distance = (repo - self.last).unsigned_abs() << 1;
        self.last = repo;
        match did {
            PackedDid::Plc(packed) => {
                self.varint(distance);
                self.bytes.extend_from_slice(packed);
            }
            PackedDid::Text(text) => {
                self.varint(distance | 1);
                self.varint(text.len() as u64);
                self.bytes.extend_from_slice(text);
            }
        }
    }

    fn push_listed(&mut self, change: &Change) {
        if let Some(did) = change.listed {
            Entry::pack(change.repo, did, |entry| self.push(entry));
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// What is to be true of a repo in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub repo: i64,
    /// The DID that it is listed with; None: it is not.
    pub listed: Option<&'a str>,
}

/// A row that differs from what it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merged {
    pub bytes: Vec<u8>,
    /// What is new stands behind all that was there.
    pub only_grew: bool,
}

/// The row with all changes, which ascend; None where it stays as it is.
pub(super) fn merge(chunk: &[u8], changes: &[Change]) -> Result<Option<Merged>, Damaged> {
    let bytes = Vec::with_capacity(chunk.len() + changes.len() * (PLC_BYTES + 3));
    let (mut writer, mut changes) = (ChunkWriter { bytes, last: 0 }, changes.iter().peekable());
    for entry in Entries::of(chunk) {
        let entry = entry?;
        while let Some(change) = changes.next_if(|change| change.repo < entry.repo) {
            writer.push_listed(change);
        }
        let own = changes.next_if(|change| change.repo == entry.repo);
        if own.is_none_or(|change| change.listed.is_some()) {
            writer.push(entry);
        }
    }
    changes.for_each(|change| writer.push_listed(change));
    let Merged { bytes, only_grew } = Merged { only_grew: writer.bytes.starts_with(chunk), bytes: writer.bytes };
    Ok((bytes != chunk).then_some(Merged { bytes, only_grew }))
}

/// A part of a row, which ends with a repo.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    pub last: i64,
}

/// A row in pieces, none for an empty one: one that has `enough_bytes` ends, and so does one that would grow beyond `most_bytes`.
pub(super) fn cut(chunk: &[u8], enough_bytes: usize, most_bytes: usize) -> Result<Vec<Piece>, Damaged> {
    let (mut pieces, mut writer) = (Vec::new(), ChunkWriter::default());
    for entry in Entries::of(chunk) {
        let entry = entry?;
        let size_bytes = writer.bytes.len();
        if size_bytes > 0 && (size_bytes >= enough_bytes || size_bytes + entry.most_bytes() > most_bytes) {
            let ChunkWriter { bytes, last } = std::mem::take(&mut writer);
            pieces.push(Piece { bytes, last });
        }
        writer.push(entry);
    }
    let ChunkWriter { bytes, last } = writer;
    pieces.extend((!bytes.is_empty()).then_some(Piece { bytes, last }));
    Ok(pieces)
}

fn pack(did: &[u8]) -> Option<[u8; PLC_BYTES]> {
    let digits = did.strip_prefix(PLC).filter(|digits| digits.len() == PLC_CHARS - PLC.len())?;
    let mut packed = [0; PLC_BYTES];
    for (group, five) in digits.chunks_exact(8).zip(packed.chunks_exact_mut(5)) {
        let mut bits = 0_u64;
        for digit in group {
            let value = match digit {
                b'a'..=b'z' => digit - b'a',
                b'2'..=b'7' => digit - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(packed)
}

#[inline]
fn unpack(packed: &[u8; PLC_BYTES]) -> [u8; PLC_CHARS] {
    let bits = |from: usize| {
        let [a, b, c, d, e] = [packed[from], packed[from + 1], packed[from + 2], packed[from + 3], packed[from + 4]];
        u64::from_be_bytes([0, 0, 0, a, b, c, d, e])
    };
    let mut did = [0; PLC_CHARS];
    did[..8].copy_from_slice(PLC);
    did[8..16].copy_from_slice(&base32(bits(0)));
    did[16..24].copy_from_slice(&base32(bits(5)));
    did[24..].copy_from_slice(&base32(bits(10)));
    did
}

/// Eight digits at once, one in each byte of a word: 40 bits are parted into halves, quarters and eighths.
#[inline]
fn base32(bits: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let halves = (bits << 12 & 0x000f_ffff_0000_0000) | (bits & 0x000f_ffff);
    let quarters = (halves << 6 & 0x03ff_0000_03ff_0000) | (halves & 0x0000_03ff_0000_03ff);
    let values = (quarters << 3 & 0x1f00_1f00_1f00_1f00) | (quarters & 0x001f_001f_001f_001f);
    // From 26 on it is a figure and no letter: adding 102 then sets the highest bit of its byte.
    let figures = (values + u64::from(128_u8 - 26) * ONES) >> 7 & ONES;
    (values + u64::from(b'a') * ONES - figures * u64::from(b'a' + 26 - b'2')).to_be_bytes()
}

#[cfg(test)]
mod tests;
