//! NSIDs, the names of collections: <https://atproto.com/specs/nsid>.

use serde::{Deserialize, Serialize};

use super::{SyntaxError, checked_string, is_domain_label};

/// The specification also limits the domain name to 253 characters; the reference and the interop vectors do not.
pub(super) const MAX_LENGTH: usize = 317;

/// An NSID such as `io.atcr.hold.captain`; compared as it is written, as collections in record paths are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nsid(Box<str>);

checked_string!(Nsid);

impl Nsid {
    fn check(text: &str) -> Result<(), SyntaxError> {
        let fault = |rule| Err(SyntaxError::new(text, "an NSID", rule));
        if text.len() > MAX_LENGTH {
            return fault("it has at most 317 characters");
        }
        let Some((authority, name)) = text.rsplit_once('.') else {
            return fault("it has at least three segments, separated by dots");
        };
        if !authority.contains('.') {
            return fault("it has at least three segments, separated by dots");
        }
        if !is_authority(authority) {
            return fault("all but the last segment are a domain name in reverse order");
        }
        let letters_and_digits = name.bytes().all(|b| b.is_ascii_alphanumeric());
        if !letters_and_digits || name.len() > 63 || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return fault("its last segment is 1 to 63 letters and digits, a letter first");
        }
        Ok(())
    }
}

/// Whether `text` is a domain name in reverse order, or the beginning of one.
pub(super) fn is_authority(text: &str) -> bool {
    text.split('.').all(is_domain_label) && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::test_vectors;

    #[test]
    fn interop_vectors_hold() {
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/nsid_syntax_valid.txt")) {
            assert_eq!(Nsid::parse(line).expect(line).as_str(), line);
        }
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/nsid_syntax_invalid.txt")) {
            assert!(Nsid::parse(line).is_err(), "{line}");
        }
    }
}
