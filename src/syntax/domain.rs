//! Domains that stand for every name below them: what an operator bans or trusts.

use std::fmt;

use super::{Host, SyntaxError, is_domain_label};

const MAX_LENGTH: usize = 253;

/// A domain name in lower case: it covers itself and all names that end in it, on label boundaries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// Reads a domain: any case, with or without a trailing dot or a leading `*.`.
    pub fn parse(text: &str) -> Result<Domain, SyntaxError> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > MAX_LENGTH {
            return Err(SyntaxError::new(text, "a domain", "it has at most 253 characters"));
        }
        if !name.split('.').all(is_domain_label) {
            return Err(SyntaxError::new(text, "a domain", "its labels are letters, digits and inner hyphens"));
        }
        Ok(Domain(name.to_ascii_lowercase().into()))
    }

    /// The domain, without a dot at either end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a host lies in it, whatever its port.
    pub fn covers(&self, host: &Host) -> bool {
        let name = host.name();
        name.strip_suffix(self.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::HostPolicy;

    #[test]
    fn any_spelling_of_a_domain_is_one_domain() {
        for text in ["example.com", "Example.COM", "example.com.", "*.example.com"] {
            assert_eq!(Domain::parse(text).expect(text).as_str(), "example.com");
        }
        assert_eq!(Domain::parse("zip").expect("one label").as_str(), "zip");
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        let long = "a.".repeat(128);
        for text in
            ["", ".", "*", "*.", "*.*.com", ".com", "a..b", "-a.com", "a_b.com", "a b", "a.com/", "a.com:1", &long]
        {
            assert!(Domain::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_domain_covers_itself_and_what_lies_below_it() {
        let covers = |domain, host| {
            let host = Host::parse(host, HostPolicy::AllowPrivate).expect(host);
            Domain::parse(domain).expect(domain).covers(&host)
        };
        assert!(covers("example.com", "example.com"));
        assert!(covers("example.com", "a.b.example.com"));
        assert!(covers("com", "example.com"));
        assert!(!covers("example.com", "notexample.com"));
        assert!(!covers("a.example.com", "example.com"));
        assert!(covers("localhost", "localhost:2583"));
        assert!(!covers("com", "[::1]:2583"));
    }
}
