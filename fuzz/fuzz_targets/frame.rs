//! Any bytes as a frame: a frame ends where it ends, and what it names lies within it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::subscribe::fuzzing::{Action, Body, Message, decode};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = decode(bytes) else { return };
    assert!(decode(&[bytes, &[0xf6]].concat()).is_err(), "something behind the body");
    assert!(decode(&bytes[..bytes.len() - 1]).is_err(), "a body cut short");
    let Message::Event { body: Body::Commit(commit), .. } = message else { return };
    let within = |part: &[u8]| part.is_empty() || bytes.as_ptr_range().contains(&part.as_ptr());
    assert!(within(commit.blocks));
    for op in commit.ops.iter().flatten() {
        assert!(within(op.path.as_bytes()));
        assert_eq!(op.cid.is_none(), op.action == Action::Delete);
    }
});
