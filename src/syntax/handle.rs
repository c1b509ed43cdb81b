//! Handles: <https://atproto.com/specs/handle>.

use serde::{Deserialize, Serialize};

use super::{SyntaxError, checked_string, is_domain_label};

const MAX_LENGTH: usize = 253;

/// A handle as an account claims it; nothing here says that the claim is true.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handle(Box<str>);

checked_string!(Handle);

impl Handle {
    /// The same handle in lower case, its canonical form.
    pub fn to_lowercase(&self) -> Handle {
        Handle(self.0.to_ascii_lowercase().into())
    }

    fn check(text: &str) -> Result<(), SyntaxError> {
        let fault = |rule| Err(SyntaxError::new(text, "a handle", rule));
        if text.len() > MAX_LENGTH {
            return fault("it has at most 253 characters");
        }
        let Some((_, top_level)) = text.rsplit_once('.') else {
            return fault("it has at least two labels, separated by dots");
        };
        if !text.split('.').all(is_domain_label) {
            return fault("its labels are 1 to 63 letters, digits and inner hyphens");
        }
        if !top_level.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return fault("its last label starts with a letter");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::test_vectors;

    #[test]
    fn interop_vectors_hold() {
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/handle_syntax_valid.txt")) {
            assert_eq!(Handle::parse(line.trim_end()).expect(line).as_str(), line.trim_end());
        }
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/handle_syntax_invalid.txt")) {
            assert!(Handle::parse(line).is_err(), "{line}");
        }
    }
}
