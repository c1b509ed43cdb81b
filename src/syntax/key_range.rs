//! Where the records that a filter matches lie among a repo's keys, which are record paths in the order of their bytes.

use super::{CollectionFilter, Nsid, NsidPattern};

/// The keys from `start` on and below `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that may be in it.
    pub start: Box<str>,
    /// The first key behind it.
    pub end: Box<str>,
    /// A collection inside it, to ask a host about when nothing is known of the range.
    pub collection: Nsid,
}

impl KeyRange {
    fn of(pattern: &NsidPattern) -> Option<KeyRange> {
        // The characters around the slash are in this order: . / 0
        let (start, end, collection) = match pattern {
            NsidPattern::Everything => return None,
            NsidPattern::Exact(nsid) => (format!("{nsid}/"), format!("{nsid}0"), nsid.clone()),
            NsidPattern::Prefix(prefix) => {
                let name = if prefix.contains('.') { "A" } else { "0.A" };
                let collection = Nsid::parse(&format!("{prefix}.{name}")).ok()?;
                (format!("{prefix}."), format!("{prefix}/"), collection)
            }
        };
        Some(KeyRange { start: start.into(), end: end.into(), collection })
    }
}

impl CollectionFilter {
    /// The ranges that all matching records lie in, ascending and with something between any two; none for `*`, which has no bounds.
    ///
    /// There may be keys in them that do not match (`io.atcr.` alone is no collection): the filter is still to be asked.
    pub fn key_ranges(&self) -> Option<Vec<KeyRange>> {
        let mut all = self.patterns().iter().map(KeyRange::of).collect::<Option<Vec<KeyRange>>>()?;
        all.sort_by(|one, other| one.start.cmp(&other.start));
        let mut ranges: Vec<KeyRange> = Vec::new();
        for range in all {
            match ranges.last_mut() {
                Some(last) if last.end >= range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        Some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(filter: &str) -> Vec<(String, String, String)> {
        let ranges = CollectionFilter::parse(filter).expect("a filter").key_ranges().expect("bounds");
        let text = |range: &KeyRange| (range.start.to_string(), range.end.to_string(), range.collection.to_string());
        ranges.iter().map(text).collect()
    }

    fn range(start: &str, end: &str, collection: &str) -> (String, String, String) {
        (start.to_owned(), end.to_owned(), collection.to_owned())
    }

    #[test]
    fn a_pattern_is_one_range_and_neighbours_are_one() {
        assert_eq!(ranges("io.atcr.*"), [range("io.atcr.", "io.atcr/", "io.atcr.A")]);
        assert_eq!(ranges("io.*"), [range("io.", "io/", "io.0.A")]);
        assert_eq!(ranges("a.b.c"), [range("a.b.c/", "a.b.c0", "a.b.c")]);
        assert_eq!(ranges("a.b.c.*,a.b.c"), [range("a.b.c.", "a.b.c0", "a.b.c.A")]);
        let two = [range("a.b.c/", "a.b.c0", "a.b.c"), range("a.b.cc/", "a.b.cc0", "a.b.cc")];
        assert_eq!(ranges("a.b.cc,a.b.c"), two);
        assert_eq!(CollectionFilter::parse("*").expect("a filter").key_ranges(), None);
        let longest = format!("{}.*", ["a"; 158].join("."));
        assert_eq!(ranges(&longest).len(), 1);
    }

    #[test]
    fn what_a_filter_matches_lies_in_a_range_and_its_neighbours_do_not() {
        let filter = CollectionFilter::parse("io.atcr.*,app.bsky.feed.post").expect("a filter");
        let ranges = filter.key_ranges().expect("bounds");
        let is_inside = |key: &str| ranges.iter().any(|range| *range.start <= *key && *key < *range.end);
        for key in ["io.atcr.0.A/-", "io.atcr.A/-", "io.atcr.zz.zz/~", "io.atcr.a", "app.bsky.feed.post/self"] {
            assert!(is_inside(key), "{key}");
        }
        for key in ["io.atcr/x", "io.atcr-x.y/z", "io.atcrx.y/z", "app.bsky.feed.post.x/y", "app.bsky.feed.postgate/x"]
        {
            assert!(!is_inside(key), "{key}");
            assert!(!filter.matches(key.split('/').next().expect("one")), "{key}");
        }
        for range in &ranges {
            let key = format!("{}/-", range.collection);
            assert!(is_inside(&key) && filter.matches(range.collection.as_str()));
        }
    }
}
