//! Names of hosts that can be crawled, as people and hosts write them and as we keep them.
//!
//! Owns what may be named at all (policy, reserved names, address literals); the addresses that a name resolves to are
//! judged in `host::guard`.
//! Invariant: `Host::parse(host.origin(), policy)` gives the same host again.

mod error;
mod name;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

pub use error::HostSyntaxError;

/// Which hosts may be named and dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// Public names only, by https on port 443.
    PublicOnly,
    /// Also loopback, private networks, reserved names, any port and plain http: for development.
    AllowPrivate,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// http and ws
    Http,
    /// https and wss
    Https,
}

impl Scheme {
    /// The scheme's name in an HTTP URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL of this scheme need not name.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A host that can be crawled; equal when key and scheme are.
#[derive(Clone)]
pub struct Host {
    key: Box<str>,
    name_length: usize,
    port: u16,
    scheme: Scheme,
    scheme_is_explicit: bool,
}

impl Host {
    /// Reads a `hostname` of requestCrawl: a host name, or its https URL without a path; in development more.
    pub fn parse(input: &str, policy: HostPolicy) -> Result<Host, HostSyntaxError> {
        let parts = name::split(input, policy)?;
        name::check_punycode(&parts.name)?;
        let scheme = parts.scheme.unwrap_or(match parts.port.is_some() || name::is_loopback(&parts.name) {
            true => Scheme::Http,
            false => Scheme::Https,
        });
        Ok(Host::new(parts.name, parts.port, scheme, parts.scheme.is_some()))
    }

    /// A host as the database holds it: its key and its scheme.
    pub fn from_key(key: &str, scheme: Scheme) -> Result<Host, HostSyntaxError> {
        let parts = name::split(key, HostPolicy::AllowPrivate)?;
        Ok(Host::new(parts.name, parts.port, scheme, true))
    }

    fn new(name: String, port: Option<u16>, scheme: Scheme, scheme_is_explicit: bool) -> Host {
        let name_length = name.len();
        let port = port.unwrap_or(scheme.default_port());
        let key = if port == scheme.default_port() { name } else { format!("{name}:{port}") };
        Host { key: key.into(), name_length, port, scheme, scheme_is_explicit }
    }

    /// The public name and database key: `hold01.example.com`, in development also `localhost:2583` or `[::1]:2583`.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The name without the port; an IPv6 address stands in brackets.
    pub fn name(&self) -> &str {
        &self.key[..self.name_length]
    }

    /// The domain that somebody registered to have this name, by the public suffix list; without one, and for a local host, with the port.
    pub fn registrable_domain(&self) -> &str {
        match self.is_local() {
            // All names before it are one machine's.
            true => self.key.rfind("localhost").map_or(&self.key, |at| &self.key[at..]),
            false => psl::domain_str(self.name()).unwrap_or(&self.key),
        }
    }

    /// Whether it is an address or a name of this machine, which only development lets in: nobody has registered it.
    pub fn is_local(&self) -> bool {
        self.ip().is_some() || self.name() == "localhost" || self.name().ends_with(".localhost")
    }

    /// The address, when the name is an address literal.
    pub fn ip(&self) -> Option<IpAddr> {
        self.name().trim_matches(['[', ']']).parse().ok()
    }

    /// The port that is dialled.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the host is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the scheme was named, and not guessed from the port and the name.
    pub fn scheme_is_explicit(&self) -> bool {
        self.scheme_is_explicit
    }

    /// The host's HTTP origin, without a trailing slash.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.key)
    }

    /// The host's WebSocket origin, without a trailing slash.
    pub fn websocket_origin(&self) -> String {
        match self.scheme {
            Scheme::Http => format!("ws://{}", self.key),
            Scheme::Https => format!("wss://{}", self.key),
        }
    }

    /// Whether both name the same service: name and port are equal, the scheme may differ.
    pub fn same_service(&self, other: &Host) -> bool {
        self.name() == other.name() && self.port == other.port
    }

    /// Whether a host that was read under one policy, perhaps by an earlier run, may be dialled under another.
    pub fn check(&self, policy: HostPolicy) -> Result<(), HostSyntaxError> {
        Host::parse(&self.origin(), policy).map(drop)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.origin())
    }
}

impl PartialEq for Host {
    fn eq(&self, other: &Host) -> bool {
        self.key == other.key && self.scheme == other.scheme
    }
}

impl Eq for Host {}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        self.scheme.hash(state);
    }
}
