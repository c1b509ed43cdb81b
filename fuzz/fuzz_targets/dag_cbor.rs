//! Any bytes as a record or a commit: whatever is read is JSON, canonical only if the strict reader agrees, and means what
//! another decoder reads.
#![no_main]

use fake_network::block::ipld_from_json;
use ipld_core::ipld::Ipld;
use libfuzzer_sys::fuzz_target;
use signpost::repo::dag_cbor::{Reader, record_to_json};
use signpost::repo::{DagCid, commit};

fuzz_target!(|bytes: &[u8]| {
    let mut strict = Reader::strict(bytes);
    let is_strict = strict.skip().is_ok() && strict.finish().is_ok();
    let ipld: Option<Ipld> = serde_ipld_dagcbor::from_slice(bytes).ok();
    if is_strict {
        match &ipld {
            Some(ipld) => assert_eq!(serde_ipld_dagcbor::to_vec(ipld).expect("encodes"), bytes),
            None => {
                assert!(bytes.len() > 100, "the other decoder refuses deep nesting, and nothing else that is canonical")
            }
        }
    }
    if let Ok(record) = record_to_json(bytes) {
        let json = serde_json::from_str(&record.json).expect("JSON");
        assert_eq!(record.canonical, is_strict);
        if let Some(ipld) = ipld.filter(|ipld| is_strict && is_told_by_json(ipld)) {
            assert_eq!(ipld_from_json(&json), Ok(ipld));
        }
    }
    let _ = commit::parse(DagCid::for_block(bytes), bytes);
});

/// Whether the other reader of JSON can tell it: integers of 64 bits, and no map that looks like a link or bytes.
fn is_told_by_json(ipld: &Ipld) -> bool {
    match ipld {
        Ipld::Integer(value) => i64::try_from(*value).is_ok(),
        Ipld::List(items) => items.iter().all(is_told_by_json),
        Ipld::Map(map) => !map.keys().any(|key| key.starts_with('$')) && map.values().all(is_told_by_json),
        _ => true,
    }
}
