//! A pull reader of DAG-CBOR over a borrowed slice.
//!
//! Strict, it refuses what is not canonical. Lenient, it reads it, and remembers that it did.

use super::DagCborError as Error;
use super::write::major;
use crate::repo::cid::{DagCid, Link};

/// Lists and maps may stand this deep within one another. serde_json, and who reads our JSON with it, refuses one more.
pub(super) const MAX_DEPTH: usize = 127;
pub(super) const TAG_CID: u64 = 42;
/// How a dag-cbor SHA-256 link begins, in its one canonical form: tag 42 in two bytes, a byte string of 37 bytes, a zero, the CID up
/// to its digest. Nearly all links are of this kind.
pub(super) const DAG_LINK: &[u8; 9] = &[0xd8, TAG_CID as u8, 0x58, 37, 0, 0x01, 0x71, 0x12, 32];

/// One item, or the head of a list or map whose items follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// A number from 0 on.
    Unsigned(u64),
    /// The number `-1 - n`.
    Negative(u64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A string.
    Text(&'a str),
    /// A list of as many items.
    List(usize),
    /// A map of as many keys, each followed by its value.
    Map(usize),
    /// A link, tag 42.
    Link(Link<'a>),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
    /// A finite floating-point number.
    Float(f64),
}

/// A position in DAG-CBOR bytes.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
    form: Form,
    canonical: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Strict,
    Lenient,
}

impl<'a> Reader<'a> {
    /// Refuses everything that is not canonical, and floating-point numbers, which the protocol's own objects lack.
    pub fn strict(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, len: bytes.len(), form: Form::Strict, canonical: true }
    }

    /// Accepts unsorted keys, numbers longer than needed, finite floating-point numbers, and undefined as null.
    pub fn lenient(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, len: bytes.len(), form: Form::Lenient, canonical: true }
    }

    /// Whether all that has been read was in canonical form.
    pub fn is_canonical(&self) -> bool {
        self.canonical
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Checks that nothing is left.
    pub fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::TrailingBytes) }
    }

    /// Reads the next item; of a list or map only its head.
    pub fn item(&mut self) -> Result<Item<'a>, Error> {
        let head = self.head()?;
        Ok(match head.major {
            0 => Item::Unsigned(head.argument),
            1 => Item::Negative(head.argument),
            2 => Item::Bytes(self.take(head.argument)?),
            3 => Item::Text(std::str::from_utf8(self.take(head.argument)?).map_err(|_| Error::Utf8)?),
            4 => Item::List(self.count(head.argument, 1)?),
            5 => Item::Map(self.count(head.argument, 2)?),
            6 => Item::Link(self.tagged(head.argument)?),
            _ => self.simple(head)?,
        })
    }

    /// Passes over these bytes if they come next.
    pub(in crate::repo) fn skip_exactly(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads a string.
    pub fn text(&mut self) -> Result<&'a str, Error> {
        if let Some(len) = self.short_head(major::TEXT) {
            return std::str::from_utf8(self.take(len)?).map_err(|_| Error::Utf8);
        }
        match self.item()? {
            Item::Text(text) => Ok(text),
            _ => Err(Error::Expected("a string")),
        }
    }

    /// Reads a byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        if let Some(len) = self.short_head(major::BYTES) {
            return self.take(len);
        }
        match self.item()? {
            Item::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::Expected("bytes")),
        }
    }

    /// Reads a number from 0 on.
    pub fn unsigned(&mut self) -> Result<u64, Error> {
        if let Some(value) = self.short_head(major::UNSIGNED) {
            return Ok(value);
        }
        match self.item()? {
            Item::Unsigned(value) => Ok(value),
            _ => Err(Error::Expected("an unsigned number")),
        }
    }

    /// Reads a link.
    pub fn link(&mut self) -> Result<Link<'a>, Error> {
        self.link_or_null()?.ok_or(Error::Expected("a link"))
    }

    /// Reads a link or null.
    pub fn link_or_null(&mut self) -> Result<Option<Link<'a>>, Error> {
        if let Some((DAG_LINK, rest)) = self.rest.split_first_chunk()
            && let Some((digest, rest)) = rest.split_first_chunk()
        {
            self.rest = rest;
            return Ok(Some(Link::Dag(DagCid::from_digest(*digest))));
        }
        match self.item()? {
            Item::Link(link) => Ok(Some(link)),
            Item::Null => Ok(None),
            _ => Err(Error::Expected("a link or null")),
        }
    }

    /// Reads the head of a list; gives the number of its items.
    pub fn list(&mut self) -> Result<usize, Error> {
        if let Some(count) = self.short_head(major::LIST) {
            return self.count(count, 1);
        }
        match self.item()? {
            Item::List(count) => Ok(count),
            _ => Err(Error::Expected("a list")),
        }
    }

    /// Reads the head of a map; gives the number of its keys.
    pub fn map(&mut self) -> Result<usize, Error> {
        if let Some(count) = self.short_head(major::MAP) {
            return self.count(count, 2);
        }
        match self.item()? {
            Item::Map(count) => Ok(count),
            _ => Err(Error::Expected("a map")),
        }
    }

    /// Reads a map's next key; `previous` is the one before it in the same map, and becomes this one.
    pub fn key(&mut self, previous: &mut Option<&'a str>) -> Result<&'a str, Error> {
        let key = self.text()?;
        if let Some(previous) = previous.replace(key) {
            match canonical_order(previous, key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Err(Error::DuplicateKey),
                std::cmp::Ordering::Greater => self.depart(Error::UnsortedKeys)?,
            }
        }
        Ok(key)
    }

    /// Reads one item with all that is in it.
    pub fn skip(&mut self) -> Result<(), Error> {
        self.skip_within(MAX_DEPTH)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), Error> {
        let inner = || depth.checked_sub(1).ok_or(Error::TooDeep);
        match self.item()? {
            Item::List(count) => {
                let depth = inner()?;
                (0..count).try_for_each(|_| self.skip_within(depth))
            }
            Item::Map(count) => {
                let (depth, mut previous) = (inner()?, None);
                (0..count).try_for_each(|_| {
                    self.key(&mut previous)?;
                    self.skip_within(depth)
                })
            }
            _ => Ok(()),
        }
    }

    /// Refuses what is not canonical, or remembers it.
    fn depart(&mut self, error: Error) -> Result<(), Error> {
        match self.form {
            Form::Strict => Err(error),
            Form::Lenient => {
                self.canonical = false;
                Ok(())
            }
        }
    }

    /// Passes over a head of this kind in one of its two shortest forms, which nearly all have, and gives its argument.
    fn short_head(&mut self, major: u8) -> Option<u64> {
        let (first, rest) = self.rest.split_first()?;
        let (argument, rest) = match first ^ major << 5 {
            argument @ 0..24 => (argument, rest),
            24 => {
                rest.split_first().filter(|(argument, _)| **argument >= 24).map(|(argument, rest)| (*argument, rest))?
            }
            _ => return None,
        };
        self.rest = rest;
        Some(u64::from(argument))
    }

    fn head(&mut self) -> Result<Head, Error> {
        let (&first, rest) = self.rest.split_first().ok_or(Error::UnexpectedEnd)?;
        self.rest = rest;
        let (major, info) = (first >> 5, first & 0x1f);
        let (argument, smallest) = match info {
            0..24 => (u64::from(info), 0),
            24 => (u64::from(self.array::<1>()?[0]), 24),
            25 => (u64::from(u16::from_be_bytes(self.array()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.array()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.array()?), 1 << 32),
            31 if (2..=5).contains(&major) => return Err(Error::IndefiniteLength),
            _ => return Err(Error::UnknownKind),
        };
        if argument < smallest && major != 7 {
            self.depart(Error::NotMinimal)?;
        }
        Ok(Head { major, info, argument })
    }

    /// Major type 7: null and the like, and floating-point numbers, whose bits are the argument.
    fn simple(&mut self, head: Head) -> Result<Item<'a>, Error> {
        let value = match head.info {
            20 => return Ok(Item::Bool(false)),
            21 => return Ok(Item::Bool(true)),
            22 => return Ok(Item::Null),
            23 => {
                // The reference reads undefined as null.
                self.depart(Error::UnknownKind)?;
                return Ok(Item::Null);
            }
            25 => half_to_double(head.argument as u16),
            26 => f64::from(f32::from_bits(head.argument as u32)),
            27 => f64::from_bits(head.argument),
            _ => return Err(Error::UnknownKind),
        };
        if !value.is_finite() {
            return Err(Error::NotFinite);
        }
        self.depart(Error::Float)?;
        Ok(Item::Float(value))
    }

    fn tagged(&mut self, tag: u64) -> Result<Link<'a>, Error> {
        if tag != TAG_CID {
            return Err(Error::Tag);
        }
        let Item::Bytes([0, cid @ ..]) = self.untagged()? else {
            return Err(Error::Tag);
        };
        Link::from_cid_bytes(cid).map_err(|_| Error::Cid)
    }

    /// The item under a tag: never another tag, or a chain of them would recurse without end.
    fn untagged(&mut self) -> Result<Item<'a>, Error> {
        match self.rest.first() {
            Some(first) if first >> 5 == 2 => self.item(),
            Some(_) => Err(Error::Tag),
            None => Err(Error::UnexpectedEnd),
        }
    }

    /// A count of items of at least `item_len` bytes each: more than the bytes left can hold is refused at once.
    fn count(&self, argument: u64, item_len: usize) -> Result<usize, Error> {
        usize::try_from(argument).ok().filter(|count| *count <= self.rest.len() / item_len).ok_or(Error::UnexpectedEnd)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Error> {
        let len = usize::try_from(len).map_err(|_| Error::UnexpectedEnd)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::UnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::UnexpectedEnd)?;
        self.rest = rest;
        Ok(*taken)
    }
}

struct Head {
    major: u8,
    info: u8,
    argument: u64,
}

/// DAG-CBOR's order of map keys: the shorter first, equally long ones by their bytes.
pub(super) fn canonical_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// IEEE 754 binary16.
fn half_to_double(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => fraction * f64::powi(2.0, -24),
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * f64::powi(2.0, exponent - 15),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(bytes: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::strict(bytes);
        reader.skip()?;
        reader.finish()
    }

    /// Whether a lenient reader found the bytes canonical.
    fn lenient(bytes: &[u8]) -> Result<bool, Error> {
        let mut reader = Reader::lenient(bytes);
        reader.skip()?;
        let canonical = reader.is_canonical();
        reader.finish()?;
        Ok(canonical)
    }

    #[test]
    fn departures_from_the_canonical_form_are_refused_or_remembered() {
        let cases: [(&[u8], Error); 8] = [
            (&[0x18, 0x17], Error::NotMinimal),
            (&[0x19, 0x00, 0xff], Error::NotMinimal),
            (&[0x58, 0x01, 0x00], Error::NotMinimal),
            (&[0xa2, 0x61, b'b', 0x00, 0x61, b'a', 0x00], Error::UnsortedKeys),
            (&[0xa2, 0x62, b'a', b'a', 0x00, 0x61, b'b', 0x00], Error::UnsortedKeys),
            (&[0xf9, 0x3c, 0x00], Error::Float),
            (&[0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Error::Float),
            (&[0xf7], Error::UnknownKind),
        ];
        for (bytes, error) in cases {
            assert_eq!(strict(bytes), Err(error), "{bytes:02x?}");
            assert_eq!(lenient(bytes), Ok(false), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_no_dag_cbor_is_refused_by_both() {
        let cases: [(&[u8], Error); 19] = [
            (&[], Error::UnexpectedEnd),
            (&[0x00, 0x00], Error::TrailingBytes),
            (&[0x19, 0x01], Error::UnexpectedEnd),
            (&[0x62, b'a'], Error::UnexpectedEnd),
            (&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Error::UnexpectedEnd),
            (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Error::UnexpectedEnd),
            (&[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Error::UnexpectedEnd),
            (&[0x9f, 0xff], Error::IndefiniteLength),
            (&[0x7f, 0xff], Error::IndefiniteLength),
            (&[0x1c], Error::UnknownKind),
            (&[0xf8, 0x20], Error::UnknownKind),
            (&[0x61, 0xff], Error::Utf8),
            (&[0xa1, 0x00, 0x00], Error::Expected("a string")),
            (&[0xa2, 0x61, b'a', 0x00, 0x61, b'a', 0x00], Error::DuplicateKey),
            (&[0xc1, 0x00], Error::Tag),
            (&[0xd8, 0x2a, 0x41, 0x01], Error::Tag),
            (&[0xd8, 0x2a, 0x42, 0x00, 0x01], Error::Cid),
            (&[0xf9, 0x7e, 0x00], Error::NotFinite),
            (&[0xfa, 0x7f, 0x80, 0x00, 0x00], Error::NotFinite),
        ];
        for (bytes, error) in cases {
            assert_eq!(strict(bytes), Err(error), "{bytes:02x?}");
            assert_eq!(lenient(bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| [vec![0x81; depth], vec![0x00]].concat();
        assert_eq!(strict(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(strict(&nested(MAX_DEPTH + 1)), Err(Error::TooDeep));
        assert_eq!(lenient(&nested(1_000_000)), Err(Error::TooDeep));
        assert_eq!(strict(&vec![0xd8; 1_000_000]), Err(Error::Tag));
    }

    #[test]
    fn half_floats_are_read() {
        let cases = [(0x0000, 0.0), (0x3c00, 1.0), (0xc400, -4.0), (0x7bff, 65504.0), (0x0001, 5.960464477539063e-8)];
        for (bits, value) in cases {
            assert_eq!(half_to_double(bits), value);
        }
    }
}
