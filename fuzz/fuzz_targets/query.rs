//! Any query string: its parameters are what another decoder reads, and are decoded once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::api::fuzzing::{query_limit, query_values};
use url::form_urlencoded;

fuzz_target!(|query: &str| {
    for name in ["collection", "did", "limit"] {
        let Some(values) = query_values(query, name) else { continue };
        // A # ends the query of a URI.
        let read = query.split('#').next().unwrap_or_default();
        let expected: Vec<String> = form_urlencoded::parse(read.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect();
        // The other decoder passes over empty pairs, which have no name; ours names them with the empty name.
        assert_eq!(values, expected);
        let mut again = form_urlencoded::Serializer::new(String::new());
        again.extend_pairs(values.iter().map(|value| (name, value)));
        assert_eq!(query_values(&again.finish(), name), Some(values));
    }
    assert!(query_limit(query).is_none_or(|limit| (1..=1000).contains(&limit)));
});
