//! Blocks: DAG-CBOR bytes with the CID that names them, the CAR that carries them, and the protocol's JSON read into Ipld.

use bytes::Bytes;
use cid::Cid;
use cid::multihash::Multihash;
use futures_util::FutureExt;
use ipld_core::ipld::Ipld;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

const DAG_CBOR: u64 = 0x71;
const SHA2_256: u64 = 0x12;

/// Bytes and the CID under which a CAR carries them (a fault may make the two disagree).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The CID that names the block.
    pub cid: Cid,
    /// The block's bytes.
    pub bytes: Bytes,
}

impl Block {
    /// The value as DAG-CBOR, under its CID.
    pub fn encode<T: Serialize>(value: &T) -> Block {
        let bytes = serde_ipld_dagcbor::to_vec(value).expect("every value of this crate can be encoded");
        Block::of_bytes(Bytes::from(bytes))
    }

    /// Any bytes, under the CID that a DAG-CBOR block of these bytes has.
    pub fn of_bytes(bytes: Bytes) -> Block {
        Block { cid: cid_of(&bytes), bytes }
    }
}

/// The CIDv1 (dag-cbor, SHA-256) of these bytes.
pub fn cid_of(bytes: &[u8]) -> Cid {
    let hash = Multihash::wrap(SHA2_256, &Sha256::digest(bytes)).expect("32 bytes fit into 64");
    Cid::new_v1(DAG_CBOR, hash)
}

/// A CAR v1 of these blocks, in this order.
pub fn write_car<'a>(roots: Vec<Cid>, blocks: impl IntoIterator<Item = &'a Block>) -> Vec<u8> {
    const WHY: &str = "writing to a Vec neither fails nor waits";
    let mut car = iroh_car::CarWriter::new(iroh_car::CarHeader::new_v1(roots), Vec::new());
    car.write_header().now_or_never().expect(WHY).expect(WHY);
    for block in blocks {
        car.write(block.cid, &block.bytes).now_or_never().expect(WHY).expect(WHY);
    }
    car.into_inner()
}

/// Reads the protocol's JSON: `{"$link": cid}` is a link and `{"$bytes": base64}` is bytes; an error says what is wrong.
pub fn ipld_from_json(value: &Value) -> Result<Ipld, String> {
    Ok(match value {
        Value::Null => Ipld::Null,
        Value::Bool(flag) => Ipld::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Ipld::Integer(integer.into()),
            (None, Some(float)) => Ipld::Float(float),
            (None, None) => return Err("a number that is neither integer nor float".to_owned()),
        },
        Value::String(text) => Ipld::String(text.clone()),
        Value::Array(items) => Ipld::List(items.iter().map(ipld_from_json).collect::<Result<_, _>>()?),
        Value::Object(map) => match (map.len(), map.get("$link"), map.get("$bytes")) {
            (1, Some(Value::String(cid)), _) => {
                Ipld::Link(cid.parse().map_err(|_| "$link does not hold a CID".to_owned())?)
            }
            (1, _, Some(Value::String(base64))) => Ipld::Bytes(
                data_encoding::BASE64_NOPAD
                    .decode(base64.trim_end_matches('=').as_bytes())
                    .map_err(|_| "$bytes does not hold base64".to_owned())?,
            ),
            _ => Ipld::Map(
                map.iter()
                    .map(|(key, item)| Ok((key.clone(), ipld_from_json(item)?)))
                    .collect::<Result<_, String>>()?,
            ),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_cid_of_the_published_data_model_fixture() {
        // The first entry of the atproto interop file data-model-fixtures.json.
        let json = serde_json::json!({
            "string": "abc", "unicode": "a~öñ©⽘☎𓋓😀👨‍👩‍👧‍👧", "integer": 123, "bool": true, "null": null,
            "array": ["abc", "def", "ghi"],
            "object": { "string": "abc", "number": 123, "bool": true, "arr": ["abc", "def", "ghi"] }
        });
        let block = Block::encode(&ipld_from_json(&json).unwrap());
        assert_eq!(block.cid.to_string(), "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq");
    }

    #[test]
    fn a_car_starts_with_its_header_and_counts_its_blocks() {
        let block = Block::encode(&Ipld::Null);
        let car = write_car(vec![block.cid], [&block, &block]);
        let sections = 2 * (1 + block.cid.to_bytes().len() + block.bytes.len());
        assert_eq!(car.len(), 1 + usize::from(car[0]) + sections);
    }
}
