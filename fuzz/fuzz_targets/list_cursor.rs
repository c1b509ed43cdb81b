//! Any text as a list cursor: what one list accepts it has written itself, and no other list accepts it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::api::fuzzing::ListCursors;

fuzz_target!(|text: &str| {
    let instance = *b"instance";
    let list = ListCursors::new(instance, &["listReposByCollection", "io.atcr.*"]);
    let others = [
        ListCursors::new(instance, &["listReposByCollection", "io.atcr.tag"]),
        ListCursors::new(instance, &["listRepos"]),
        ListCursors::new(*b"another.", &["listReposByCollection", "io.atcr.*"]),
    ];
    if let Some(id) = list.read(text) {
        assert!(id >= 0);
        assert_eq!(list.write(id), text);
        assert!(others.iter().all(|other| other.read(text).is_none()));
    }
    if let Some(id) = text.as_bytes().first_chunk().map(|bytes| i64::from_be_bytes(*bytes).saturating_abs()) {
        assert_eq!(list.read(&list.write(id)), Some(id));
    }
});
