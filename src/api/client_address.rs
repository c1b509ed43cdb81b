//! Who calls, when proxies stand in between.
//!
//! Each proxy adds the address that it was called from at the right end of X-Forwarded-For, so the header is read from there, and only
//! as far as trusted proxies wrote it: what stands further left is whatever the client made up.

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

use crate::syntax::AddressBlock;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Whom a connection was accepted from: an extension of every request on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerAddr(pub SocketAddr);

/// The clients that share a quota: an IPv4 address, or an IPv6 /64, of which one customer has at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Client(IpAddr);

impl Client {
    /// The client of a request.
    pub(super) fn of(extensions: &Extensions, headers: &HeaderMap, trusted_proxies: &[AddressBlock]) -> Client {
        // A request without a connection is one of a test.
        let peer = extensions.get::<PeerAddr>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
        Client::at(client_address(peer, headers, trusted_proxies))
    }

    /// The client that an address belongs to.
    pub(super) fn at(address: IpAddr) -> Client {
        Client(AddressBlock::around(address, 32, 64).first())
    }
}

/// The rightmost address of X-Forwarded-For (all its lines, joined in order) that is not a trusted proxy's, when the peer is one. What
/// is no address ends the walk at the one to the right of it.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[AddressBlock]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted_proxies.iter().any(|block| block.contains(address));
    let mut client = peer.to_canonical();
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            if !is_trusted(client) {
                return client;
            }
            let Some(address) = parse(entry) else { return client };
            client = address;
        }
    }
    client
}

/// An address, perhaps with a port behind it; IPv6 in brackets or without.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim();
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().or_else(|_| entry.parse().map(|address: SocketAddr| address.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, axum::http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted: Vec<AddressBlock> = trusted.iter().map(|block| AddressBlock::parse(block).unwrap()).collect();
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

    #[test]
    fn a_peer_that_is_no_proxy_is_the_client_whatever_it_says() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"], &LOOPBACK), "203.0.113.9");
        assert_eq!(client("127.0.0.1", &["198.51.100.1"], &[]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &[], &LOOPBACK), "127.0.0.1");
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        assert_eq!(client("127.0.0.1", &["198.51.100.1"], &LOOPBACK), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["6.6.6.6, 198.51.100.1"], &LOOPBACK), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["6.6.6.6", "198.51.100.1, 127.0.0.2"], &LOOPBACK), "198.51.100.1");
        let proxies = ["127.0.0.1", "10.0.0.0/8"];
        assert_eq!(client("127.0.0.1", &["6.6.6.6,198.51.100.1,10.1.1.1,10.2.2.2"], &proxies), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["127.0.0.3, 127.0.0.2"], &LOOPBACK), "127.0.0.3");
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_last_good_one() {
        for garbage in ["", "unknown", "198.51.100.1 203.0.113.9", "198.51.100", "a\u{e9}", "[::1", ":80", "1.2.3.4:x"]
        {
            let line = format!("6.6.6.6, {garbage}, 127.0.0.9");
            assert_eq!(client("127.0.0.1", &[&line], &LOOPBACK), "127.0.0.9", "{garbage}");
            assert_eq!(client("127.0.0.1", &[garbage], &LOOPBACK), "127.0.0.1", "{garbage}");
        }
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        for (entry, address) in [
            ("198.51.100.1:4711", "198.51.100.1"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
        ] {
            assert_eq!(client("::ffff:127.0.0.1", &[entry], &LOOPBACK), address, "{entry}");
        }
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_64() {
        let at = |address: &str| Client::at(address.parse().unwrap());
        assert_ne!(at("198.51.100.1"), at("198.51.100.2"));
        assert_eq!(at("198.51.100.1"), at("::ffff:198.51.100.1"));
        assert_eq!(at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff::2"));
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8:0:2::1"));
    }
}
