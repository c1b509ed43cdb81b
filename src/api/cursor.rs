//! List cursors: where the next page begins, as an opaque URL-safe text.
//!
//! 17 bytes in base64url: a version, a tag over the database and the list that the cursor belongs to, and the
//! last id that was given out. Ids are never used twice, so a cursor stays good while rows come and go. The
//! tag is no secret and no signature: it keeps a cursor from being used on another list, where it would
//! silently skip rows.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::error::ApiError;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 8;
const CURSOR_BYTES: usize = 1 + TAG_BYTES + 8;
const CURSOR_CHARS: usize = 23;

/// One list of one database: what its cursors are bound to.
pub(super) struct CursorScope {
    tag: [u8; TAG_BYTES],
}

impl CursorScope {
    /// `list` is the method and, where they choose the list, its parameters in canonical order; none holds a
    /// zero byte.
    pub(super) fn new<'a>(instance_id: [u8; 8], list: impl IntoIterator<Item = &'a str>) -> CursorScope {
        let mut hash = Sha256::new();
        hash.update(instance_id);
        for part in list {
            hash.update(part);
            hash.update([0]);
        }
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hash.finalize()[..TAG_BYTES]);
        CursorScope { tag }
    }

    /// The cursor of the page that begins after `last_id`.
    pub(super) fn write(&self, last_id: i64) -> String {
        let mut bytes = [VERSION; CURSOR_BYTES];
        bytes[1..=TAG_BYTES].copy_from_slice(&self.tag);
        bytes[1 + TAG_BYTES..].copy_from_slice(&last_id.to_be_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The id after which the page begins: 0 without a cursor, an error with one that this list did not give
    /// out.
    pub(super) fn read(&self, cursor: Option<&str>) -> Result<i64, ApiError> {
        let Some(cursor) = cursor else { return Ok(0) };
        self.last_id(cursor).ok_or_else(|| {
            ApiError::invalid_request("cursor is not one that this list gave out: begin again without it")
        })
    }

    fn last_id(&self, cursor: &str) -> Option<i64> {
        if cursor.len() != CURSOR_CHARS {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (tag, id) = rest.split_at_checked(TAG_BYTES)?;
        let id = i64::from_be_bytes(id.try_into().ok()?);
        (*version == VERSION && tag == self.tag && id >= 0).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: [u8; 8] = *b"database";

    fn scope(parts: &[&str]) -> CursorScope {
        CursorScope::new(DATABASE, parts.iter().copied())
    }

    #[test]
    fn a_cursor_is_read_back_by_its_own_list() {
        for id in [0, 1, 4711, i64::MAX] {
            let cursor = scope(&["listRepos"]).write(id);
            assert_eq!(cursor.len(), CURSOR_CHARS);
            assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{cursor}");
            assert_eq!(scope(&["listRepos"]).read(Some(&cursor)).unwrap(), id);
        }
        assert_eq!(scope(&["listRepos"]).read(None).unwrap(), 0);
    }

    #[test]
    fn another_lists_or_another_databases_cursor_is_refused() {
        let cursor = scope(&["list", "io.atcr.*"]).write(7);
        for other in
            [&["list", "io.atcr.hold.captain"][..], &["list"], &["listio", ".atcr.*"], &["lis", "t", "io.atcr.*"]]
        {
            assert!(scope(other).read(Some(&cursor)).is_err(), "{other:?}");
        }
        assert!(CursorScope::new(*b"DATABASE", ["list", "io.atcr.*"]).read(Some(&cursor)).is_err());
    }

    #[test]
    fn garbage_is_refused() {
        let good = scope(&["list"]).write(7);
        let longer = format!("{good}A");
        let padded = format!("{good}=");
        let other_version = format!("AA{}", &good[2..]);
        let trailing_bits = format!("{}H", &good[..22]);
        let negative = scope(&["list"]).write(-1);
        for text in
            ["x", "0", "....", &good[1..], &longer, &padded, &other_version, &trailing_bits, &negative, "ééééééééééé1"]
        {
            assert!(scope(&["list"]).read(Some(text)).is_err(), "{text}");
        }
    }
}
