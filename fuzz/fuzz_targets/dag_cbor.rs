//! Any bytes as a record or a commit: whatever is read is JSON, and canonical only if the strict reader agrees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::repo::dag_cbor::{Reader, record_to_json};
use signpost::repo::{DagCid, commit};

fuzz_target!(|bytes: &[u8]| {
    let mut strict = Reader::strict(bytes);
    let is_strict = strict.skip().is_ok() && strict.finish().is_ok();
    if let Ok(record) = record_to_json(bytes) {
        serde_json::from_str::<serde_json::Value>(&record.json).expect("JSON");
        assert_eq!(record.canonical, is_strict);
    }
    let _ = commit::parse(DagCid::for_block(bytes), bytes);
});
