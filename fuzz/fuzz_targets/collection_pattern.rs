//! Any text as a filter, and any as a collection: the canonical filter means what its patterns mean, on whole segments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::syntax::{CollectionFilter, NsidPattern};

fuzz_target!(|text: &str| {
    let (filter_text, collection) = text.split_once('\n').unwrap_or((text, "io.atcr.tag"));
    let patterns: Result<Vec<NsidPattern>, _> =
        filter_text.split(',').map(|item| NsidPattern::parse(item.trim())).collect();
    let filter = CollectionFilter::parse(filter_text);
    assert_eq!(filter.is_ok(), patterns.is_ok());
    let (Ok(filter), Ok(patterns)) = (filter, patterns) else { return };

    assert_eq!(CollectionFilter::parse(&filter.to_string()).as_ref(), Ok(&filter));
    assert_eq!(filter.matches(collection), patterns.iter().any(|pattern| pattern.matches(collection)));
    for pattern in &patterns {
        assert_eq!(NsidPattern::parse(&pattern.to_string()).as_ref(), Ok(pattern));
        assert!(filter.covers(pattern), "a filter covers what it was made of");
        if let NsidPattern::Prefix(prefix) = pattern {
            let below = collection.strip_prefix(&**prefix).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'));
            assert_eq!(pattern.matches(collection), below);
        }
        for other in &patterns {
            assert!(!(pattern.covers(other) && other.matches(collection)) || pattern.matches(collection));
        }
    }
});
