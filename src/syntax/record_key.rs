//! Record keys, the second half of a record's path: <https://atproto.com/specs/record-key>.

use serde::{Deserialize, Serialize};

use super::{SyntaxError, checked_string};

const MAX_LENGTH: usize = 512;

/// A record key of any type (TID, NSID, literal or any other); it may hold colons.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordKey(Box<str>);

checked_string!(RecordKey);

impl RecordKey {
    fn check(text: &str) -> Result<(), SyntaxError> {
        let fault = |rule| Err(SyntaxError::new(text, "a record key", rule));
        if !(1..=MAX_LENGTH).contains(&text.len()) {
            return fault("it has 1 to 512 characters");
        }
        if text == "." || text == ".." {
            return fault("it is neither . nor ..");
        }
        // All are looked at: without a branch for each, many go at once.
        if !text.bytes().fold(true, |are_allowed, b| are_allowed & is_allowed(b)) {
            return fault("it is letters, digits and . _ : ~ -");
        }
        Ok(())
    }
}

fn is_allowed(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'_' | b':' | b'~' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::test_vectors;

    #[test]
    fn interop_vectors_hold() {
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/recordkey_syntax_valid.txt")) {
            assert_eq!(RecordKey::parse(line).expect(line).as_str(), line);
        }
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/recordkey_syntax_invalid.txt")) {
            assert!(RecordKey::parse(line).is_err(), "{line}");
        }
        assert!(RecordKey::parse("").is_err());
    }
}
