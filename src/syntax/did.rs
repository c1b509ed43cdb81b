//! DIDs: <https://atproto.com/specs/did>.

use serde::{Deserialize, Serialize};

use super::{SyntaxError, checked_string};

const MAX_LENGTH: usize = 2048;

/// A DID of any method; only `did:plc` and `did:web` can be resolved in atproto.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Did(Box<str>);

/// The DID methods that atproto knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DidMethod {
    /// `did:plc`, resolved at the PLC directory.
    Plc,
    /// `did:web`, resolved at the host that it names.
    Web,
    /// Any other method: valid syntax, never resolved.
    Other,
}

checked_string!(Did);

impl Did {
    /// The method, the part between the first and the second colon.
    pub fn method(&self) -> DidMethod {
        match self.0.split(':').nth(1) {
            Some("plc") => DidMethod::Plc,
            Some("web") => DidMethod::Web,
            _ => DidMethod::Other,
        }
    }

    /// What follows the method, `example.com` of `did:web:example.com`.
    pub fn identifier(&self) -> &str {
        self.0.splitn(3, ':').nth(2).expect("a DID has three parts")
    }

    fn check(text: &str) -> Result<(), SyntaxError> {
        let fault = |rule| Err(SyntaxError::new(text, "a DID", rule));
        if text.len() > MAX_LENGTH {
            return fault("it has at most 2048 characters");
        }
        let Some((method, identifier)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else {
            return fault("it has the form did:method:identifier");
        };
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_lowercase()) {
            return fault("its method is lower-case letters");
        }
        if identifier.is_empty() || identifier.ends_with(':') {
            return fault("its identifier is not empty and does not end in a colon");
        }
        if !identifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:%-".contains(&b)) {
            return fault("its identifier is letters, digits and . _ : % -");
        }
        let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
        let mut escapes = identifier.split('%').skip(1).map(str::bytes);
        if !escapes.all(|mut after| hex(after.next()) && hex(after.next())) {
            return fault("each % in it is followed by two hexadecimal digits");
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
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/did_syntax_valid.txt")) {
            assert_eq!(Did::parse(line).expect(line).as_str(), line);
        }
        for line in test_vectors::lines(include_str!("../../tests/interop/syntax/did_syntax_invalid.txt")) {
            assert!(Did::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn method_and_identifier_are_read() {
        let cases = [
            ("did:plc:7iza6de2dwap2sbkpav7c6c6", DidMethod::Plc, "7iza6de2dwap2sbkpav7c6c6"),
            ("did:web:localhost%3A1234", DidMethod::Web, "localhost%3A1234"),
            ("did:web:example.com:u:me", DidMethod::Web, "example.com:u:me"),
            ("did:webs:example.com", DidMethod::Other, "example.com"),
        ];
        for (text, method, identifier) in cases {
            let did = Did::parse(text).expect(text);
            assert_eq!((did.method(), did.identifier()), (method, identifier));
        }
    }

    #[test]
    fn stray_percent_signs_are_refused() {
        for text in ["did:m:a%", "did:m:a%4", "did:m:a%zzb", "did:m:%%41", "did:m:a%4%41"] {
            assert!(Did::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_parsed_and_refused_at_the_edge() {
        let did: Did = serde_json::from_str("\"did:web:example.com\"").expect("valid");
        assert_eq!(serde_json::to_string(&did).expect("serializes"), "\"did:web:example.com\"");
        assert!(serde_json::from_str::<Did>("\"did:web\"").is_err());
        assert!(serde_json::from_str::<Did>("7").is_err());
    }
}
