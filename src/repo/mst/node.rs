//! One node: its bytes, its keys, and the level at which a key must stand.

use super::MstError;
use crate::repo::cid::{DagCid, Link};
use crate::repo::dag_cbor::{DagCborError, Reader, major, write_bytes, write_head, write_link};
use crate::repo::sha256;

/// The longest key that the reference allows, in bytes.
const MAX_KEY_LEN: usize = 1024;
/// An honest node has 4 entries on average; 2,000 in one node happen once in 10^249.
const MAX_ENTRIES: usize = 10_000;

/// Each level costs whoever mines a key for it four times the work: nobody has one for the 32nd, which takes 2^64 hashes.
const MAX_DEPTH: u8 = 32;

/// What a node takes in all likelihood: its frame, and an entry with two links and a key.
const ROUGH_NODE_LEN: usize = 64;
const ROUGH_ENTRY_LEN: usize = 150;

/// A key and its value, as they stand in a node.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// How many bytes the key shares with the one before it in the node.
    pub shared: usize,
    /// The rest of the key.
    pub suffix: &'a [u8],
    /// The record.
    pub value: Link<'a>,
    /// The child between this key and the next.
    pub right: Option<DagCid>,
}

/// Reads a node: appends its entries, and gives its child before the first of them.
///
/// The fields are a closed set in canonical order, so the reading is also the check for it.
pub(super) fn decode<'a>(block: &'a [u8], entries: &mut Vec<Entry<'a>>) -> Result<Option<DagCid>, MstError> {
    let mut reader = Reader::strict(block);
    expect_map(&mut reader, 2)?;
    expect_key(&mut reader, b'e')?;
    let count = reader.list()?;
    if count > MAX_ENTRIES {
        return Err(MstError::TooManyEntries);
    }
    for _ in 0..count {
        expect_map(&mut reader, 4)?;
        expect_key(&mut reader, b'k')?;
        let suffix = reader.bytes()?;
        expect_key(&mut reader, b'p')?;
        let shared = usize::try_from(reader.unsigned()?).map_err(|_| MstError::PrefixLength)?;
        expect_key(&mut reader, b't')?;
        let right = node_link(&mut reader)?;
        expect_key(&mut reader, b'v')?;
        let value = reader.link()?;
        entries.push(Entry { shared, suffix, value, right });
    }
    expect_key(&mut reader, b'l')?;
    let left = node_link(&mut reader)?;
    reader.finish()?;
    Ok(left)
}

/// Makes the key of `entry` out of `key`, which is the one before it in the node, or empty at the first.
pub(super) fn advance_key(key: &mut Vec<u8>, entry: &Entry<'_>) -> Result<(), MstError> {
    check_entry(key, entry)?;
    key.truncate(entry.shared);
    key.extend_from_slice(entry.suffix);
    check_key_len(key)
}

/// Checks an entry against the key before it in the node, which is empty at the first.
///
/// Its key ascends and its prefix is the longest possible exactly when its first byte of its own is greater
/// than the byte that it replaces.
pub(super) fn check_entry(previous: &[u8], entry: &Entry<'_>) -> Result<(), MstError> {
    let replaced = previous.get(entry.shared..).ok_or(MstError::PrefixLength)?;
    match (entry.suffix.first(), replaced.first()) {
        (None, _) if previous.is_empty() => Err(MstError::KeyLength),
        (None, _) => Err(MstError::KeyOrder),
        (Some(own), Some(theirs)) if own == theirs => Err(MstError::PrefixLength),
        (Some(own), Some(theirs)) if own < theirs => Err(MstError::KeyOrder),
        _ => Ok(()),
    }
}

/// Refuses keys that no tree may hold.
pub(super) fn check_key_len(key: &[u8]) -> Result<(), MstError> {
    if (1..=MAX_KEY_LEN).contains(&key.len()) { Ok(()) } else { Err(MstError::KeyLength) }
}

/// The level of a key, counted from the leaves: half the leading zero bits of its SHA-256.
pub(super) fn key_level(key: &[u8]) -> u8 {
    let mut zeros = 0;
    for byte in sha256::digest(key) {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    (zeros / 2) as u8
}

/// The level of a root, which is that of its keys; None for that of an empty tree.
pub(super) fn root_level(entries: &[Entry<'_>], left: Option<DagCid>) -> Result<Option<u8>, MstError> {
    match (entries.first(), left) {
        (Some(first), _) => check_depth(key_level(first.suffix)).map(Some),
        (None, Some(_)) => Err(MstError::BareRoot),
        (None, None) => Ok(None),
    }
}

fn check_depth(level: u8) -> Result<u8, MstError> {
    if level < MAX_DEPTH { Ok(level) } else { Err(MstError::TooDeep) }
}

/// Writes a node in its canonical form; keys must ascend.
pub(super) fn encode<'k>(
    left: Option<DagCid>,
    entries: impl ExactSizeIterator<Item = (&'k [u8], Link<'k>, Option<DagCid>)>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROUGH_NODE_LEN + entries.len() * ROUGH_ENTRY_LEN);
    let mut previous: &[u8] = &[];
    write_head(&mut out, major::MAP, 2);
    write_name(&mut out, b'e');
    write_head(&mut out, major::LIST, entries.len() as u64);
    for (key, value, right) in entries {
        let shared = common_prefix_len(previous, key);
        write_head(&mut out, major::MAP, 4);
        write_name(&mut out, b'k');
        write_bytes(&mut out, key.get(shared..).unwrap_or_default());
        write_name(&mut out, b'p');
        write_head(&mut out, major::UNSIGNED, shared as u64);
        write_name(&mut out, b't');
        write_link(&mut out, right.map(Link::Dag));
        write_name(&mut out, b'v');
        write_link(&mut out, Some(value));
        previous = key;
    }
    write_name(&mut out, b'l');
    write_link(&mut out, left.map(Link::Dag));
    out
}

fn write_name(out: &mut Vec<u8>, name: u8) {
    out.extend_from_slice(&[major::TEXT << 5 | 1, name]);
}

fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    let (words_of_a, words_of_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let words = words_of_a.iter().zip(words_of_b).take_while(|(a, b)| a == b).count();
    let bytes = a.iter().zip(b).skip(8 * words).take_while(|(a, b)| a == b).count();
    8 * words + bytes
}

fn expect_map(reader: &mut Reader<'_>, len: usize) -> Result<(), DagCborError> {
    if reader.map()? == len { Ok(()) } else { Err(DagCborError::Expected("exactly the fields of a tree node")) }
}

fn expect_key(reader: &mut Reader<'_>, name: u8) -> Result<(), DagCborError> {
    // A name of one letter has one form: a look is enough, and what is wrong is told by the long way.
    if reader.skip_exactly(&[major::TEXT << 5 | 1, name]) || reader.text()?.as_bytes() == [name] {
        return Ok(());
    }
    Err(DagCborError::Expected("exactly the fields of a tree node"))
}

fn node_link(reader: &mut Reader<'_>) -> Result<Option<DagCid>, MstError> {
    let link = reader.link_or_null()?;
    link.map(|link| link.dag().ok_or(MstError::ForeignNodeLink)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_interop_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/interop/mst/key_heights.json")).expect("JSON");
        for vector in vectors.as_array().expect("a list") {
            let key = vector["key"].as_str().expect("a key");
            assert_eq!(u64::from(key_level(key.as_bytes())), vector["height"], "{key}");
        }
        for line in include_str!("../../../tests/interop/mst/example_keys.txt").lines() {
            let level = line.as_bytes().get(1).expect("a letter and a level") - b'0';
            assert_eq!(key_level(line.as_bytes()), level, "{line}");
        }
    }

    #[test]
    fn trees_are_less_than_32_levels_deep() {
        assert_eq!(check_depth(31), Ok(31));
        assert_eq!(check_depth(32), Err(MstError::TooDeep));
        assert_eq!(check_depth(128), Err(MstError::TooDeep));
    }

    #[test]
    fn common_prefixes_are_those_of_the_interop_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/interop/mst/common_prefix.json")).expect("JSON");
        for vector in vectors.as_array().expect("a list") {
            let side = |name: &str| vector[name].as_str().expect("a key").as_bytes().to_vec();
            assert_eq!(common_prefix_len(&side("left"), &side("right")) as u64, vector["len"], "{vector}");
        }
    }

    #[test]
    fn keys_advance_only_by_their_exact_prefix() {
        let advance = |key: &str, shared, suffix: &str| {
            let (mut key, value) = (key.as_bytes().to_vec(), Link::Other(&[]));
            let entry = Entry { shared, suffix: suffix.as_bytes(), value, right: None };
            advance_key(&mut key, &entry).map(|()| String::from_utf8(key).expect("UTF-8"))
        };
        assert_eq!(advance("", 0, "abc"), Ok("abc".into()));
        assert_eq!(advance("abc", 2, "d"), Ok("abd".into()));
        assert_eq!(advance("abc", 3, "d"), Ok("abcd".into()));
        assert_eq!(advance("abc", 0, "b"), Ok("b".into()));
        assert_eq!(advance("abc", 1, "bd"), Err(MstError::PrefixLength));
        assert_eq!(advance("abc", 4, "d"), Err(MstError::PrefixLength));
        assert_eq!(advance("abc", usize::MAX, "d"), Err(MstError::PrefixLength));
        assert_eq!(advance("abc", 2, "b"), Err(MstError::KeyOrder));
        assert_eq!(advance("abc", 3, ""), Err(MstError::KeyOrder));
        assert_eq!(advance("abc", 1, ""), Err(MstError::KeyOrder));
        assert_eq!(advance("", 0, ""), Err(MstError::KeyLength));
        assert_eq!(advance("", 0, &"a".repeat(1025)), Err(MstError::KeyLength));
        assert!(advance("", 0, &"a".repeat(1024)).is_ok());
    }
}
