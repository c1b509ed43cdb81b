//! Records as the protocol's JSON: <https://atproto.com/specs/data-model#json-representation>.

use std::fmt::Write;

use data_encoding::BASE64_NOPAD;

use super::reader::{MAX_DEPTH, canonical_order};
use super::{DagCborError as Error, Item, Reader};

/// Keys that are open at once in all likelihood.
const USUAL_KEYS: usize = 16;

/// A record in the protocol's JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordJson {
    /// An object, without white space; links are `{"$link"}` and bytes `{"$bytes"}`.
    pub json: String,
    /// False when the record holds what the protocol forbids but its reference reads: floating-point numbers,
    /// unsorted keys, numbers longer than needed.
    pub canonical: bool,
}

/// Decodes a record leniently and writes it as JSON; the error says why it cannot be decoded.
pub fn record_to_json(bytes: &[u8]) -> Result<RecordJson, Error> {
    let mut reader = Reader::lenient(bytes);
    let mut writer =
        Writer { json: String::with_capacity(bytes.len() + bytes.len() / 4), keys: Vec::with_capacity(USUAL_KEYS) };
    match reader.item()? {
        Item::Map(count) => writer.map(&mut reader, count, MAX_DEPTH - 1)?,
        _ => return Err(Error::Expected("a map")),
    }
    let canonical = reader.is_canonical();
    reader.finish()?;
    Ok(RecordJson { json: writer.json, canonical })
}

struct Writer<'a> {
    json: String,
    /// The keys of the maps that are open, the innermost map's last: one list, so that maps allocate nothing.
    keys: Vec<&'a str>,
}

impl<'a> Writer<'a> {
    /// Writes the next item; `depth` is how many lists and maps may still open.
    fn value(&mut self, reader: &mut Reader<'a>, depth: usize) -> Result<(), Error> {
        let inner = || depth.checked_sub(1).ok_or(Error::TooDeep);
        match reader.item()? {
            Item::Map(count) => return self.map(reader, count, inner()?),
            Item::List(count) => return self.list(reader, count, inner()?),
            Item::Text(text) => self.text(text),
            Item::Bytes(bytes) => {
                self.json.push_str("{\"$bytes\":\"");
                BASE64_NOPAD.encode_append(bytes, &mut self.json);
                self.json.push_str("\"}");
            }
            Item::Link(link) => self.display(format_args!("{{\"$link\":\"{link}\"}}")),
            Item::Unsigned(value) => self.display(format_args!("{value}")),
            Item::Negative(value) => self.display(format_args!("{}", -1 - i128::from(value))),
            Item::Float(value) => self.display(format_args!("{value:?}")),
            Item::Bool(value) => self.display(format_args!("{value}")),
            Item::Null => self.json.push_str("null"),
        }
        Ok(())
    }

    fn list(&mut self, reader: &mut Reader<'a>, count: usize, depth: usize) -> Result<(), Error> {
        self.json.push('[');
        for index in 0..count {
            if index > 0 {
                self.json.push(',');
            }
            self.value(reader, depth)?;
        }
        self.json.push(']');
        Ok(())
    }

    fn map(&mut self, reader: &mut Reader<'a>, count: usize, depth: usize) -> Result<(), Error> {
        let (first_key, mut previous) = (self.keys.len(), None);
        self.json.push('{');
        for index in 0..count {
            if index > 0 {
                self.json.push(',');
            }
            let key = reader.key(&mut previous)?;
            self.keys.push(key);
            self.text(key);
            self.json.push(':');
            self.value(reader, depth)?;
        }
        self.json.push('}');
        // Sorted keys were compared with their neighbours as they came; unsorted ones are compared here.
        let keys = self.keys.get_mut(first_key..).unwrap_or_default();
        if !reader.is_canonical() {
            keys.sort_unstable_by(|a, b| canonical_order(a, b));
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Error::DuplicateKey);
            }
        }
        self.keys.truncate(first_key);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.json.push('"');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            let (plain, special) = rest.split_at(at);
            self.json.push_str(plain);
            let mut chars = special.chars();
            match chars.next() {
                Some('"') => self.json.push_str("\\\""),
                Some('\\') => self.json.push_str("\\\\"),
                Some('\n') => self.json.push_str("\\n"),
                Some(control) => self.display(format_args!("\\u{:04x}", u32::from(control))),
                None => {}
            }
            rest = chars.as_str();
        }
        self.json.push_str(rest);
        self.json.push('"');
    }

    fn display(&mut self, text: std::fmt::Arguments<'_>) {
        self.json.write_fmt(text).expect("a String takes all that is written to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipld_core::ipld::Ipld;
    use proptest::prelude::*;

    fn json(bytes: &[u8]) -> Result<String, Error> {
        record_to_json(bytes).map(|record| record.json)
    }

    #[test]
    fn records_read_as_the_interop_vectors_say() {
        let file = include_str!("../../../tests/interop/data-model/data-model-fixtures.json");
        let vectors: Vec<serde_json::Value> = serde_json::from_str(file).expect("a list");
        for vector in vectors {
            let cbor = vector["cbor_base64"].as_str().expect("base64");
            let cbor = BASE64_NOPAD.decode(cbor.as_bytes()).expect("base64");
            let record = record_to_json(&cbor).expect("decodes");
            assert!(record.canonical);
            let value: serde_json::Value = serde_json::from_str(&record.json).expect("JSON");
            assert_eq!(value, vector["json"]);
            assert_eq!(crate::repo::DagCid::for_block(&cbor).to_string(), vector["cid"].as_str().expect("a CID"));
        }
    }

    #[test]
    fn valid_and_invalid_interop_values_are_told_apart_where_bytes_can() {
        let encode = |value: &serde_json::Value| serde_ipld_dagcbor::to_vec(value).expect("encodes");
        let vectors = |file| serde_json::from_str::<Vec<serde_json::Value>>(file).expect("a list");
        for vector in vectors(include_str!("../../../tests/interop/data-model/data-model-valid.json")) {
            let record = record_to_json(&encode(&vector["json"])).expect("decodes");
            let value: serde_json::Value = serde_json::from_str(&record.json).expect("JSON");
            assert_eq!(value, vector["json"]);
        }
        let invalid = vectors(include_str!("../../../tests/interop/data-model/data-model-invalid.json"));
        let find = |note: &str| invalid.iter().find(|vector| vector["note"] == note).expect("a vector");
        assert_eq!(json(&encode(&find("top-level not an object")["json"])), Err(Error::Expected("a map")));
        assert!(!record_to_json(&encode(&find("float")["json"])).expect("decodes").canonical);
    }

    #[test]
    fn lenient_records_are_read_and_marked() {
        let cases: [(&[u8], &str); 5] = [
            (&[0xa1, 0x61, b'a', 0xfb, 0x40, 0x5e, 0xdd, 0x2f, 0x1a, 0x9f, 0xbe, 0x77], r#"{"a":123.456}"#),
            (&[0xa1, 0x61, b'a', 0xf9, 0x3c, 0x00], r#"{"a":1.0}"#),
            (&[0xa2, 0x61, b'b', 0x01, 0x61, b'a', 0x02], r#"{"b":1,"a":2}"#),
            (&[0xa1, 0x61, b'a', 0x18, 0x01], r#"{"a":1}"#),
            (&[0xa1, 0x61, b'a', 0xf7], r#"{"a":null}"#),
        ];
        for (bytes, json) in cases {
            assert_eq!(record_to_json(bytes), Ok(RecordJson { json: json.to_owned(), canonical: false }));
        }
    }

    #[test]
    fn repeated_keys_are_found_wherever_they_stand() {
        let key = |key: u8| vec![0x61, key, 0x00];
        let map = |keys: &[u8]| {
            let head = vec![0xa0 | keys.len() as u8];
            [head, keys.iter().flat_map(|k| key(*k)).collect()].concat()
        };
        for keys in ["aa", "aba", "bab", "cabc", "abca"] {
            assert_eq!(json(&map(keys.as_bytes())), Err(Error::DuplicateKey), "{keys}");
        }
        // The same key in an outer, an inner and a following map is not a repetition.
        let nested = [vec![0xa3, 0x61, b'b'], map(b"ba"), vec![0x61, b'a'], map(b"ab"), key(b'c')].concat();
        assert_eq!(json(&nested).as_deref(), Ok(r#"{"b":{"b":0,"a":0},"a":{"a":0,"b":0},"c":0}"#));
        // A repetition in an inner map is found even when an outer map was unsorted before.
        let nested = [vec![0xa3, 0x61, b'b', 0x00, 0x61, b'a'], map(b"aba"), key(b'c')].concat();
        assert_eq!(json(&nested), Err(Error::DuplicateKey));
    }

    #[test]
    fn numbers_at_the_edges_are_written_in_full() {
        let cases: [(&[u8], &str); 4] = [
            (&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "18446744073709551615"),
            (&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "-18446744073709551616"),
            (&[0x20], "-1"),
            (&[0xfb, 0x7e, 0x37, 0xe4, 0x3c, 0x88, 0x00, 0x75, 0x9c], "1e300"),
        ];
        for (bytes, number) in cases {
            let record = [&[0xa1, 0x61, b'a'], bytes].concat();
            assert_eq!(json(&record), Ok(format!("{{\"a\":{number}}}")));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| [vec![0xa1, 0x61, b'a'], vec![0x81; depth - 1], vec![0x00]].concat();
        assert!(json(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(json(&nested(MAX_DEPTH + 1)), Err(Error::TooDeep));
    }

    fn any_ipld() -> impl Strategy<Value = Ipld> {
        let leaf = prop_oneof![
            Just(Ipld::Null),
            any::<bool>().prop_map(Ipld::Bool),
            any::<i64>().prop_map(|n| Ipld::Integer(n.into())),
            any::<String>().prop_map(Ipld::String),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Ipld::List),
                prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(Ipld::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_holds_what_the_record_holds(map in prop::collection::btree_map(any::<String>(), any_ipld(), 0..8)) {
            let bytes = serde_ipld_dagcbor::to_vec(&map).expect("encodes");
            let record = record_to_json(&bytes).expect("decodes");
            prop_assert!(record.canonical);
            let value: serde_json::Value = serde_json::from_str(&record.json).expect("JSON");
            prop_assert_eq!(value, serde_json::to_value(&map).expect("JSON"));
        }

        #[test]
        fn whatever_is_read_is_json(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for bytes in [bytes.clone(), [&[0xa1, 0x61, b'a'], bytes.as_slice()].concat()] {
                if let Ok(record) = record_to_json(&bytes) {
                    serde_json::from_str::<serde_json::Value>(&record.json).expect("JSON");
                }
            }
        }
    }
}
