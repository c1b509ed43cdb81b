//! Which addresses may be dialled, and the only DNS resolution there is.
//!
//! A host name is chosen by whoever calls requestCrawl, so it may point into our own network. Names are resolved here,
//! for each connection, which is made to the very addresses that passed and whose peer is judged once more.
//! The table is that of the IANA special-purpose address registries (IPv4 and IPv6), read strictly: what is set aside for any
//! purpose is no public service, reachable or not.

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
const SPECIAL_V4: [(Ipv4Addr, u32); 14] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by carriers (CGNAT)
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, cloud metadata
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // IETF protocol assignments, anycast for PCP and TURN
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24), // AMT
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relay anycast, deprecated
    (Ipv4Addr::new(192, 175, 48, 0), 24), // AS112, direct delegation
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and limited broadcast
];

/// IPv6 networks inside 2000::/3, the only global unicast, whose addresses are not those of a public service. What lies outside
/// it needs no entry: IPv4-compatible, NAT64 of both kinds, discard, SRv6, link-local, multicast.
const SPECIAL_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // IETF protocol assignments: Teredo, benchmarking, AMT, AS112, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: what it embeds may be anything
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112, direct delegation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether a connection to the address may be made.
fn may_dial(address: IpAddr, policy: HostPolicy) -> bool {
    // An IPv4-mapped address is another spelling of the IPv4 one, and packets to it leave as IPv4.
    match address.to_canonical() {
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
    let is_global_unicast = address.segments()[0] & 0xe000 == 0x2000;
    let within = |(net, length): &(Ipv6Addr, u32)| (address.to_bits() ^ net.to_bits()) >> (128 - length) == 0;
    is_global_unicast && !SPECIAL_V6.iter().any(within)
}

/// Resolves names to addresses that may be dialled.
#[derive(Clone)]
pub(super) struct Guard {
    policy: HostPolicy,
    timeout: Duration,
    lookups: Arc<Semaphore>,
    /// In tests, which have loopback only: who answers for names, and which addresses count as ours.
    #[cfg(test)]
    pub(super) scripted: Option<Arc<scripted::Dns>>,
}

impl Guard {
    /// A guard whose lookups take at most `timeout`.
    pub fn new(policy: HostPolicy, timeout: Duration) -> Guard {
        Guard {
            policy,
            timeout,
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            #[cfg(test)]
            scripted: None,
        }
    }

    /// The addresses of a name, at least one. One that may not be dialled condemns them all: whoever mixes them does it on purpose.
    pub async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, HostError> {
        let mut found = match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.look_up(name, port).await?,
        };
        if found.is_empty() {
            return Err(HostError::Resolve("it has no address".into()));
        }
        found.iter().try_for_each(|address| self.check(name, address.ip()))?;
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }

    /// Refuses an address that may not be dialled; asked before a connection, and of the peer after it.
    pub fn check(&self, name: &str, address: IpAddr) -> Result<(), HostError> {
        match self.may_dial(address) {
            true => Ok(()),
            false => Err(HostError::Forbidden(format!("{name} is at {address}, which is not a public address"))),
        }
    }

    fn may_dial(&self, address: IpAddr) -> bool {
        #[cfg(test)]
        if let Some(dns) = &self.scripted {
            return !dns.is_ours(address);
        }
        may_dial(address, self.policy)
    }

    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, HostError> {
        #[cfg(test)]
        if let Some(dns) = &self.scripted {
            return Ok(dns.answer(port));
        }
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
pub(super) mod scripted;
#[cfg(test)]
mod tests;
