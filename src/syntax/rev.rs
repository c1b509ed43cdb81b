//! Revs, the logical clock of a repo: TIDs, <https://atproto.com/specs/tid>.

use serde::{Deserialize, Serialize};

use super::SyntaxError;

const LENGTH: usize = 13;
const CLOCK_ID_BITS: u32 = 10;

/// A repo's revision; later ones compare greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rev([u8; LENGTH]);

impl Rev {
    /// Reads a TID.
    pub fn parse(text: &str) -> Result<Rev, SyntaxError> {
        let fault = |rule| Err(SyntaxError::new(text, "a rev", rule));
        let Ok(bytes) = <[u8; LENGTH]>::try_from(text.as_bytes()) else {
            return fault("it has 13 characters");
        };
        if !bytes.iter().all(|b| digit(*b).is_some()) {
            return fault("it is digits 2 to 7 and letters a to z");
        }
        // 13 characters hold 65 bits, one more than the value has.
        if bytes[0] > b'j' {
            return fault("its first character is 2 to 7 or a to j");
        }
        Ok(Rev(bytes))
    }

    /// The rev as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII was let in")
    }

    /// When the rev was made by its host's clock, in microseconds since 1970.
    pub fn timestamp_micros(&self) -> u64 {
        let digits = self.0.iter().map(|byte| digit(*byte).expect("only the alphabet was let in"));
        let value = digits.fold(0, |value, digit| value << 5 | u64::from(digit));
        value >> CLOCK_ID_BITS
    }
}

/// What a letter stands for: base32 in an alphabet whose byte order is the order of the values.
fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'2'..=b'7' => Some(letter - b'2'),
        b'a'..=b'z' => Some(letter - b'a' + 6),
        _ => None,
    }
}

impl std::fmt::Display for Rev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for Rev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rev({self})")
    }
}

impl AsRef<str> for Rev {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::str::FromStr for Rev {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Rev, SyntaxError> {
        Rev::parse(text)
    }
}

impl TryFrom<String> for Rev {
    type Error = SyntaxError;

    fn try_from(text: String) -> Result<Rev, SyntaxError> {
        Rev::parse(&text)
    }
}

impl From<Rev> for String {
    fn from(rev: Rev) -> String {
        rev.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::test_vectors;

    #[test]
    fn interop_vectors_hold() {
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/tid_syntax_valid.txt")) {
            assert_eq!(Rev::parse(line).expect(line).as_str(), line);
        }
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/tid_syntax_invalid.txt")) {
            assert!(Rev::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn timestamp_is_the_upper_53_bits() {
        let micros = |text| Rev::parse(text).expect(text).timestamp_micros();
        assert_eq!(micros("2222222222222"), 0);
        assert_eq!(micros("22222222222zz"), 0);
        assert_eq!(micros("2222222222322"), 1);
        assert_eq!(micros("jzzzzzzzzzzzz"), (1 << 54) - 1);
        // 2023-06-01, from the specification's example.
        assert_eq!(micros("3jzfcijpj2z2a") / 1_000_000, 1_688_137_381);
    }

    #[test]
    fn later_revs_compare_greater() {
        let rev = |text| Rev::parse(text).expect(text);
        assert!(rev("3jzfcijpj2z2a") < rev("3jzfcijpj2z2b"));
        assert!(rev("3jzfcijpj2z7z") < rev("3jzfcijpj2za2"));
    }
}
