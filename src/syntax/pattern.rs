//! Patterns over collections (`io.atcr.*`) and the filter that is made of them.
//!
//! Invariant: a pattern matches whole segments, so that `io.atcr.*` never matches `io.atcrx.y`.

use std::fmt;
use std::str::FromStr;

use super::nsid::{MAX_LENGTH, is_authority};
use super::{Nsid, SyntaxError};

/// One collection, all below a prefix, or all there are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NsidPattern {
    /// `*`
    Everything,
    /// `io.atcr.*`, kept as `io.atcr`.
    Prefix(Box<str>),
    /// `io.atcr.hold.captain`
    Exact(Nsid),
}

impl NsidPattern {
    /// Reads `*`, `prefix.*` or an NSID.
    pub fn parse(text: &str) -> Result<NsidPattern, SyntaxError> {
        if text == "*" {
            return Ok(NsidPattern::Everything);
        }
        if let Some(prefix) = text.strip_suffix(".*") {
            return match text.len() <= MAX_LENGTH && is_authority(prefix) {
                true => Ok(NsidPattern::Prefix(prefix.into())),
                false => {
                    Err(SyntaxError::new(text, "a collection pattern", "before .* stands the beginning of an NSID"))
                }
            };
        }
        if text.contains('*') {
            let rule = "a * stands alone or as the last segment, as in io.atcr.*";
            return Err(SyntaxError::new(text, "a collection pattern", rule));
        }
        Nsid::parse(text).map(NsidPattern::Exact)
    }

    /// Whether a collection, as it stands in a record's path, is one of the pattern's.
    pub fn matches(&self, collection: &str) -> bool {
        match self {
            NsidPattern::Everything => true,
            NsidPattern::Prefix(prefix) => is_below(collection, prefix),
            NsidPattern::Exact(nsid) => nsid.as_str() == collection,
        }
    }

    /// Whether every collection that `other` matches is matched by `self` too.
    pub fn covers(&self, other: &NsidPattern) -> bool {
        match (self, other) {
            (NsidPattern::Everything, _) => true,
            (_, NsidPattern::Exact(nsid)) => self.matches(nsid.as_str()),
            (NsidPattern::Prefix(ours), NsidPattern::Prefix(theirs)) => ours == theirs || is_below(theirs, ours),
            _ => false,
        }
    }
}

/// Whether `name` is `prefix`, a dot, and at least one character more.
fn is_below(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| !rest.is_empty())
}

impl fmt::Display for NsidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NsidPattern::Everything => f.write_str("*"),
            NsidPattern::Prefix(prefix) => write!(f, "{prefix}.*"),
            NsidPattern::Exact(nsid) => f.write_str(nsid.as_str()),
        }
    }
}

impl FromStr for NsidPattern {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<NsidPattern, SyntaxError> {
        NsidPattern::parse(text)
    }
}

/// Which collections an instance indexes: a union of patterns in canonical form (sorted, none covered by another).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CollectionFilter(Box<[NsidPattern]>);

impl CollectionFilter {
    /// Reads patterns separated by commas, with blanks around them; an empty item is an error.
    pub fn parse(text: &str) -> Result<CollectionFilter, SyntaxError> {
        let items = text.split(',').map(str::trim);
        let patterns = items
            .map(|item| match item {
                "" => {
                    Err(SyntaxError::new(text, "a collection filter", "no item of the comma separated list is empty"))
                }
                item => NsidPattern::parse(item),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(CollectionFilter(canonical(patterns)))
    }

    /// Whether a collection, as it stands in a record's path, is to be indexed.
    pub fn matches(&self, collection: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(collection))
    }

    /// Whether every collection that `pattern` matches is indexed.
    pub fn covers(&self, pattern: &NsidPattern) -> bool {
        self.0.iter().any(|ours| ours.covers(pattern))
    }

    /// The patterns in canonical order.
    pub fn patterns(&self) -> &[NsidPattern] {
        &self.0
    }
}

fn canonical(mut patterns: Vec<NsidPattern>) -> Box<[NsidPattern]> {
    patterns.sort_by_cached_key(NsidPattern::to_string);
    patterns.dedup();
    let covered = |one: &NsidPattern| patterns.iter().any(|other| other != one && other.covers(one));
    patterns.iter().filter(|one| !covered(one)).cloned().collect()
}

impl fmt::Display for CollectionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pattern) in self.0.iter().enumerate() {
            write!(f, "{}{pattern}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for CollectionFilter {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<CollectionFilter, SyntaxError> {
        CollectionFilter::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> NsidPattern {
        NsidPattern::parse(text).expect(text)
    }

    fn filter(text: &str) -> CollectionFilter {
        CollectionFilter::parse(text).expect(text)
    }

    #[test]
    fn patterns_are_read_and_shown_as_written() {
        for text in ["*", "io.*", "io.atcr.*", "io.atcr.hold.captain", "io.a-b.c.*", "io.4chan.*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        let faults = [
            "",
            ".*",
            "**",
            "*.*",
            "*.atcr",
            "io.*.x",
            "io.atcr*",
            "io.atcr.h*",
            "io..*",
            ".io.*",
            "-io.*",
            "io.a_b.*",
            "4io.*",
            "io",
            "io.atcr",
            "io.atcr.",
            " io.atcr.*",
            "io.atcr.* ",
            "io.atcr.**",
            "ïo.*",
        ];
        for text in faults {
            assert!(NsidPattern::parse(text).is_err(), "{text}");
        }
        assert!(NsidPattern::parse(&format!("io.{}.*", "a.".repeat(200))).is_err());
    }

    #[test]
    fn patterns_match_on_segment_boundaries() {
        let cases = [
            ("*", "any.thing.atAll", true),
            ("io.atcr.*", "io.atcr.manifest", true),
            ("io.atcr.*", "io.atcr.hold.captain", true),
            ("io.atcr.*", "io.atcrx.y", false),
            ("io.atcr.*", "io.atcr", false),
            ("io.atcr.*", "io.atcr.", false),
            ("io.atcr.*", "xio.atcr.y", false),
            ("io.atcr.*", "IO.atcr.y", false),
            ("io.atcr.hold.captain", "io.atcr.hold.captain", true),
            ("io.atcr.hold.captain", "io.atcr.hold.captains", false),
            ("io.atcr.hold.captain", "io.atcr.hold.Captain", false),
            ("io.*", "io.atcr.manifest", true),
        ];
        for (text, collection, expected) in cases {
            assert_eq!(pattern(text).matches(collection), expected, "{text} {collection}");
        }
    }

    #[test]
    fn covering_is_matching_everything_that_the_other_matches() {
        let cases = [
            ("*", "*", true),
            ("*", "io.*", true),
            ("*", "io.atcr.hold.captain", true),
            ("io.*", "*", false),
            ("io.*", "io.atcr.*", true),
            ("io.atcr.*", "io.*", false),
            ("io.atcr.*", "io.atcr.*", true),
            ("io.atcr.*", "io.atcrx.*", false),
            ("io.atcr.*", "io.atcr.hold.*", true),
            ("io.atcr.*", "io.atcr.hold.captain", true),
            ("io.atcr.hold.captain", "io.atcr.hold.captain", true),
            ("io.atcr.hold.captain", "io.atcr.hold.captain.*", false),
            ("io.atcr.hold.captain", "io.atcr.*", false),
        ];
        for (ours, theirs, expected) in cases {
            assert_eq!(pattern(ours).covers(&pattern(theirs)), expected, "{ours} {theirs}");
        }
    }

    #[test]
    fn filter_has_one_canonical_form() {
        let cases = [
            ("io.atcr.*", "io.atcr.*"),
            (" io.atcr.* , app.bsky.feed.post ", "app.bsky.feed.post,io.atcr.*"),
            ("io.atcr.*,io.atcr.*", "io.atcr.*"),
            ("io.atcr.hold.captain,io.atcr.*,io.atcr.hold.*", "io.atcr.*"),
            ("io.atcr.*,*,app.bsky.feed.post", "*"),
            ("b.c.d,a.b.c", "a.b.c,b.c.d"),
        ];
        for (text, canonical) in cases {
            assert_eq!(filter(text).to_string(), canonical);
            assert_eq!(filter(canonical), filter(text));
        }
        for text in ["", " ", ",", "io.atcr.*,", ",io.atcr.*", "io.atcr.*,,a.b.c", "io.atcr.*;a.b.c", "io.atcr.* a.b.c"]
        {
            assert!(CollectionFilter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn filter_matches_and_covers_as_the_union_of_its_patterns() {
        let filter = filter("io.atcr.*,app.bsky.feed.post");
        assert!(filter.matches("io.atcr.manifest") && filter.matches("app.bsky.feed.post"));
        assert!(!filter.matches("app.bsky.feed.like"));
        assert!(filter.covers(&pattern("io.atcr.hold.*")) && filter.covers(&pattern("app.bsky.feed.post")));
        assert!(!filter.covers(&pattern("io.*")) && !filter.covers(&pattern("app.bsky.feed.*")));
    }
}
