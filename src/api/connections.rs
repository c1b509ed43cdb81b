//! Who is connected: so many in all, so many from one client address.
//!
//! Invariant: who keeps us waiting never keeps others out. When all places are taken, the connection that has been waiting for
//! its client longest (for a head, a body, or an answer to be read) goes for the next one; one that waits for us stays.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Nobody is sent away who was not waited for so long: whoever has a request has it ready.
const GRACE: Duration = Duration::from_millis(250);

/// How many connections a listener holds.
#[derive(Clone)]
pub struct ConnectionLimits {
    /// In all.
    pub most: usize,
    /// From one client address: an IPv4 address, or an IPv6 network of 64 bits.
    pub most_per_client: usize,
    /// Whose connections are not counted by address: proxies, which speak for many.
    pub is_trusted: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

/// Why a connection was closed before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its address has as many as it may have.
    TooManyOfClient,
    /// All places are taken by requests that are being worked on, or by clients who have only just come: wait.
    Full,
}

/// The connections of one listener; a clone is the same ones.
#[derive(Clone)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next_id: u64,
    places: HashMap<u64, Taken>,
    by_client: HashMap<IpAddr, usize>,
}

struct Taken {
    client: Option<IpAddr>,
    /// None: the client waits for us.
    waiting_since: Option<Instant>,
    evicted: CancellationToken,
}

/// A connection's place, until it is dropped.
pub(super) struct Place {
    id: u64,
    open: Arc<Mutex<Open>>,
    evicted: CancellationToken,
}

impl ConnectionLimits {
    /// What the internal listener holds: nobody is told from another there.
    pub fn internal() -> ConnectionLimits {
        ConnectionLimits { most: 256, most_per_client: 256, is_trusted: Arc::new(|_| true) }
    }
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Connections {
        Connections { limits, open: Arc::default() }
    }

    /// A place for a new connection, and whether another had to go for it.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<(Place, bool), Refusal> {
        let client = (!(self.limits.is_trusted)(peer.to_canonical())).then(|| network_of(peer));
        let mut open = lock(&self.open);
        if let Some(client) = client
            && open.by_client.get(&client).is_some_and(|count| *count >= self.limits.most_per_client)
        {
            return Err(Refusal::TooManyOfClient);
        }
        let is_full = open.places.len() >= self.limits.most;
        if is_full {
            open.evict(GRACE).ok_or(Refusal::Full)?;
        }
        if let Some(client) = client {
            *open.by_client.entry(client).or_default() += 1;
        }
        let evicted = CancellationToken::new();
        let id = open.next_id;
        open.next_id += 1;
        let taken = Taken { client, waiting_since: Some(Instant::now()), evicted: evicted.clone() };
        open.places.insert(id, taken);
        Ok((Place { id, open: self.open.clone(), evicted }, is_full))
    }

    /// Ends the connection that has been waiting for its client longest; answers whether there was one.
    pub(super) fn evict(&self) -> bool {
        lock(&self.open).evict(Duration::ZERO).is_some()
    }

    /// Connections now.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).places.len()
    }
}

impl Open {
    fn evict(&mut self, grace: Duration) -> Option<()> {
        let waiting = self.places.iter().filter_map(|(id, place)| Some((place.waiting_since?, *id)));
        let (_, longest) = waiting.min().filter(|(since, _)| since.elapsed() >= grace)?;
        self.remove(longest)?.evicted.cancel();
        Some(())
    }

    fn remove(&mut self, id: u64) -> Option<Taken> {
        let taken = self.places.remove(&id)?;
        if let Some(client) = taken.client
            && let Some(count) = self.by_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
        Some(taken)
    }
}

impl Place {
    /// The client's turn: its request or its reading is awaited.
    pub(super) fn waits_for_client(&self) {
        self.turn(Some(Instant::now()));
    }

    /// Our turn: the whole request is here.
    pub(super) fn works(&self) {
        self.turn(None);
    }

    /// Resolves when the place was given to another connection.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    fn turn(&self, waiting_since: Option<Instant>) {
        if let Some(taken) = lock(&self.open).places.get_mut(&self.id) {
            taken.waiting_since = waiting_since;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.open).remove(self.id);
    }
}

/// One client has a whole IPv6 /64, so that is what counts as its address.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_client: usize) -> Connections {
        Connections::new(ConnectionLimits { most, most_per_client, is_trusted: Arc::new(|peer| peer.is_loopback()) })
    }

    fn admit(connections: &Connections, peer: &str) -> Result<(Place, bool), Refusal> {
        connections.admit(peer.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_and_an_ipv6_network_counts_as_one() {
        let connections = connections(100, 2);
        let one = admit(&connections, "198.51.100.1").ok();
        let _two = admit(&connections, "::ffff:198.51.100.1").ok();
        assert_eq!(admit(&connections, "198.51.100.1").err(), Some(Refusal::TooManyOfClient));
        drop(one);
        assert!(admit(&connections, "198.51.100.1").is_ok());
        let _three = admit(&connections, "2001:db8:1:2::1").ok();
        let _four = admit(&connections, "2001:db8:1:2:ffff::").ok();
        assert_eq!(admit(&connections, "2001:db8:1:2:3::").err(), Some(Refusal::TooManyOfClient));
        assert!(admit(&connections, "2001:db8:1:3::1").is_ok());
        let proxied: Vec<_> = (0..10).map(|_| admit(&connections, "::ffff:127.0.0.1").unwrap()).collect();
        assert_eq!(connections.count(), proxied.len() + 3);
    }

    #[tokio::test]
    async fn when_it_is_full_the_one_that_was_waited_for_longest_goes() {
        let connections = connections(3, 3);
        let grow_old = |place: &Place, seconds| place.turn(Instant::now().checked_sub(Duration::from_secs(seconds)));
        let (worked_on, _) = admit(&connections, "127.0.0.1").unwrap();
        let (dripping, _) = admit(&connections, "127.0.0.1").unwrap();
        let (idle, _) = admit(&connections, "127.0.0.1").unwrap();
        worked_on.works();
        assert_eq!(admit(&connections, "127.0.0.1").err(), Some(Refusal::Full), "all have only just come");
        grow_old(&dripping, 5);
        grow_old(&idle, 10);
        let (next, someone_went) = admit(&connections, "127.0.0.1").unwrap();
        assert!(someone_went);
        idle.evicted().await;
        let (_last, _) = admit(&connections, "127.0.0.1").unwrap();
        dripping.evicted().await;
        assert!(!worked_on.evicted.is_cancelled() && !next.evicted.is_cancelled());
        drop((idle, dripping));
        assert_eq!(connections.count(), 3, "a place is given back once");
    }

    #[test]
    fn requests_that_are_worked_on_are_not_cut_for_new_ones() {
        let connections = connections(2, 3);
        let places: Vec<_> = (0..2).map(|_| admit(&connections, "127.0.0.1").unwrap().0).collect();
        places.iter().for_each(Place::works);
        assert_eq!(admit(&connections, "127.0.0.1").err(), Some(Refusal::Full));
        places[0].turn(Instant::now().checked_sub(GRACE));
        assert!(admit(&connections, "127.0.0.1").is_ok());
    }
}
