//! Any bytes as a CAR: whatever is accepted holds only blocks with the hash that their CID names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::repo::{DagCid, Link, car};

fuzz_target!(|bytes: &[u8]| {
    let Ok(car) = car::read(bytes) else { return };
    for root in car.roots().iter().filter_map(Link::dag) {
        assert!(car.get(&root).is_none_or(|block| DagCid::for_block(block) == root));
    }
});
