//! Which addresses may be dialled, and the only DNS resolution there is.
//!
//! A host name is chosen by whoever calls requestCrawl, so it may point into our own network. Names are resolved here,
//! once, and connections are made to the addresses that passed: a second answer of a hostile DNS is never asked for.
//! The table is that of the IANA special-purpose address registries (IPv4 and IPv6), read strictly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::HostError;
use crate::syntax::{HostPolicy, printable};

/// A resolver call that nobody waits for any more still has a thread; this many may be under way.
const MAX_LOOKUPS: usize = 64;
/// More addresses of one name than this are not tried.
const MAX_ADDRESSES: usize = 8;

/// IPv4 networks whose addresses are not those of a public service, beside loopback and private ones.
const SPECIAL_V4: [(Ipv4Addr, u32); 11] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by carriers (CGNAT)
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, cloud metadata
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // IETF protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relay anycast, deprecated
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and limited broadcast
];

/// IPv6 networks inside 2000::/3, the only global unicast, whose addresses are not those of a public service.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // IETF protocol assignments: Teredo, benchmarking, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether a connection to the address may be made.
pub(super) fn may_dial(address: IpAddr, policy: HostPolicy) -> bool {
    match address {
        IpAddr::V4(address) => may_dial_v4(address, policy),
        IpAddr::V6(address) => may_dial_v6(address, policy),
    }
}

fn may_dial_v4(address: Ipv4Addr, policy: HostPolicy) -> bool {
    if address.is_loopback() || address.is_private() {
        return policy == HostPolicy::AllowPrivate;
    }
    let within = |(net, length): &(Ipv4Addr, u32)| (address.to_bits() ^ net.to_bits()) >> (32 - length) == 0;
    !SPECIAL_V4.iter().any(within)
}

fn may_dial_v6(address: Ipv6Addr, policy: HostPolicy) -> bool {
    if address.is_loopback() || address.is_unique_local() {
        return policy == HostPolicy::AllowPrivate;
    }
    if let Some(embedded) = embedded_v4(address) {
        return may_dial_v4(embedded, policy);
    }
    let is_global_unicast = address.segments()[0] & 0xe000 == 0x2000;
    let within = |(net, length): &(Ipv6Addr, u32)| (address.to_bits() ^ net.to_bits()) >> (128 - length) == 0;
    is_global_unicast && !SPECIAL_V6.iter().any(within)
}

/// The IPv4 address that packets to an address of a transition mechanism end at.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // IPv4-compatible, IPv4-mapped, NAT64
        [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

/// Resolves names to addresses that may be dialled.
#[derive(Clone)]
pub(super) struct Guard {
    policy: HostPolicy,
    timeout: Duration,
    lookups: Arc<Semaphore>,
}

impl Guard {
    /// A guard whose lookups take at most `timeout`.
    pub fn new(policy: HostPolicy, timeout: Duration) -> Guard {
        Guard { policy, timeout, lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// The addresses of a name that may be dialled, at least one.
    pub async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, HostError> {
        let found = match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.look_up(name, port).await?,
        };
        let Some(first) = found.first().copied() else {
            return Err(HostError::Resolve("it has no address".into()));
        };
        let allowed = found.into_iter().filter(|address| may_dial(address.ip(), self.policy));
        let allowed: Vec<SocketAddr> = allowed.take(MAX_ADDRESSES).collect();
        match allowed.is_empty() {
            false => Ok(allowed),
            true => Err(HostError::Forbidden(format!("{name} is at {}, which is not a public address", first.ip()))),
        }
    }

    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, HostError> {
        // These names are this machine's own (RFC 6761), also where the system's resolver does not know them.
        if name == "localhost" || name.ends_with(".localhost") {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(loopback.map(|address| SocketAddr::new(address, port)).to_vec());
        }
        let (lookups, name) = (self.lookups.clone(), name.to_owned());
        // A task of its own: the permit is held as long as the resolver's thread is, also after our timeout.
        let lookup = tokio::spawn(async move {
            let _permit = lookups.acquire_owned().await;
            tokio::net::lookup_host((name, port)).await.map(Vec::from_iter)
        });
        match tokio::time::timeout(self.timeout, lookup).await {
            Err(_) => Err(HostError::Timeout { missed: "its name did not resolve", after: self.timeout }),
            Ok(Err(_)) => Err(HostError::Resolve("the look-up was stopped".into())),
            Ok(Ok(Err(error))) => Err(HostError::Resolve(printable(&error.to_string(), 200))),
            Ok(Ok(Ok(found))) => Ok(found),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            // reqwest puts the port of the URL in place of the 0.
            let addresses = Guard::resolve(&guard, name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HostPolicy::{AllowPrivate, PublicOnly};

    fn may(text: &str, policy: HostPolicy) -> bool {
        may_dial(text.parse().expect(text), policy)
    }

    #[test]
    fn public_addresses_may_be_dialled() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "99.255.255.255",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "203.0.114.0",
            "223.255.255.255",
            "2600::1",
            "2a00:1450:4001::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2c0f::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ];
        for text in public {
            assert!(may(text, PublicOnly) && may(text, AllowPrivate), "{text}");
        }
    }

    #[test]
    fn loopback_and_private_addresses_may_be_dialled_in_development_only() {
        let private = [
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "::1",
            "fc00::",
            "fdff:ffff::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "::127.0.0.1",
        ];
        for text in private {
            assert!(!may(text, PublicOnly) && may(text, AllowPrivate), "{text}");
        }
    }

    #[test]
    fn special_addresses_are_never_dialled() {
        let special = [
            "0.0.0.0",
            "0.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "192.0.0.1",
            "192.0.0.171",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::2",
            "::ffff:0.0.0.0",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:0:1::808:808",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:a9fe:a9fe::1",
            "2002::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "ff02::1",
            "ffff::1",
            "1::1",
        ];
        for text in special {
            assert!(!may(text, PublicOnly) && !may(text, AllowPrivate), "{text}");
        }
    }

    #[tokio::test]
    async fn names_that_point_into_our_network_are_refused() {
        let guard = Guard::new(PublicOnly, Duration::from_secs(5));
        for name in ["localhost", "pds.localhost", "127.0.0.1", "[::1]", "169.254.169.254"] {
            let error = Guard::resolve(&guard, name, 443).await.expect_err(name);
            assert_eq!(error.reason(), "forbidden", "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn local_names_are_loopback_in_development() {
        let guard = Guard::new(AllowPrivate, Duration::from_secs(5));
        for name in ["localhost", "pds1.localhost"] {
            let found = Guard::resolve(&guard, name, 2583).await.expect(name);
            assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 2583));
        }
    }
}
