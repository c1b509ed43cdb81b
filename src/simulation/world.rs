//! The world that a simulation runs in, and the truth about it: accounts, their keys and documents, hosts with their repos and event
//! histories. Everything that happens is drawn from one seed. The bytes are signed for real.

mod events;
mod happenings;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use fake_network::offline::OfflineRepo;
use fake_network::{Curve, SigningKey, tid};
use fastrand::Rng;

use crate::repo::DagCid;
use crate::store::Row;
use crate::syntax::{CollectionFilter, Host, HostPolicy};

pub(super) const COLLECTIONS: [&str; 5] =
    ["io.atcr.hold.captain", "io.atcr.hold.crew", "io.atcr.manifest", "app.bsky.feed.post", "io.atcrx.fake"];
/// Those of them that the filter does not match.
const OUTSIDE: &[&str] = COLLECTIONS.last_chunk::<2>().expect("there are more");
const RKEYS: usize = 12;
/// A host remembers so many events.
const HISTORY: usize = 200;

/// An account, wherever its repo lies.
pub(super) struct Person {
    pub key: SigningKey,
    pub earlier: Vec<SigningKey>,
    /// The host that its DID document names.
    pub pds: usize,
    pub tombstone: bool,
}

/// An account as one host has it.
#[derive(Clone)]
pub(super) struct Account {
    pub repo: OfflineRepo,
    /// None: active.
    pub status: Option<&'static str>,
    pub told_rev: String,
    /// Paths whose record cannot be indexed.
    pub bad: BTreeSet<String>,
    /// It writes nothing inside the filter, so far.
    pub is_outside: bool,
}

/// What a host does with a cursor that it has not reached.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum AtFutureCursor {
    Refuse,
    Wait,
    Replay,
}

#[derive(Clone)]
pub(super) struct SentEvent {
    pub seq: i64,
    pub did: String,
    pub frame: Bytes,
}

pub(super) struct SimHost {
    pub host: Host,
    pub accounts: BTreeMap<String, Account>,
    pub seq: i64,
    pub history: Vec<SentEvent>,
    pub legacy: bool,
    pub at_future_cursor: AtFutureCursor,
    pub is_requested: bool,
    pub up: bool,
    /// Counts restarts of the host, which end its connections.
    pub epoch: u64,
    pub page_size: usize,
    backup: Option<(BTreeMap<String, Account>, i64, Vec<SentEvent>)>,
    pub stale: BTreeMap<String, Vec<u8>>,
    /// Events that a connection with our cursor would bring and that we have not settled; None: the cursor is not of this sequence.
    pub unsettled: Option<BTreeSet<i64>>,
    /// The highest seq that was forgotten.
    pub forgotten: i64,
}

pub(super) struct World {
    pub rng: Rng,
    pub micros: u64,
    pub hosts: Vec<SimHost>,
    pub people: BTreeMap<String, Person>,
    /// What each tree that an account really signed says, inside the filter.
    pub signed: HashMap<(String, DagCid), Vec<Row>>,
    pub fired: BTreeMap<&'static str, u64>,
    /// Whether things go wrong at hosts and on the way.
    pub faulty: bool,
    /// Whether our process dies and loses connections.
    pub deadly: bool,
    /// Hosts do nothing wrong all the time: then events alone must be enough, without any comparison.
    pub is_calm: bool,
    pub filter: CollectionFilter,
    /// Whether to tell what happens: for one seed.
    pub told: bool,
    keys: u64,
    seed: u64,
    values: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(2..=4);
        let hosts = (0..count)
            .map(|n| SimHost {
                host: Host::parse(&format!("host{n}.example.com"), HostPolicy::PublicOnly).expect("a host"),
                accounts: BTreeMap::new(),
                seq: rng.i64(0..50),
                history: Vec::new(),
                legacy: rng.u8(0..5) == 0,
                at_future_cursor: *rng
                    .choice(&[AtFutureCursor::Refuse, AtFutureCursor::Wait, AtFutureCursor::Replay])
                    .expect("one"),
                is_requested: false,
                up: true,
                epoch: 0,
                page_size: rng.usize(1..5),
                backup: None,
                stale: BTreeMap::new(),
                unsettled: None,
                forgotten: 0,
            })
            .collect();
        let mut world = World {
            rng,
            micros: 1_700_000_000_000_000,
            hosts,
            people: BTreeMap::new(),
            signed: HashMap::new(),
            fired: BTreeMap::new(),
            faulty: true,
            deadly: true,
            is_calm: seed.is_multiple_of(4),
            filter: CollectionFilter::parse("io.atcr.*").expect("a filter"),
            told: std::env::var_os("SIGNPOST_SIM_SEED").is_some(),
            keys: 0,
            seed,
            values: 0,
        };
        if world.is_calm {
            world.faulty = false;
            world.hosts.iter_mut().for_each(|host| host.legacy = false);
        }
        for host in 0..count {
            for _ in 0..world.rng.usize(1..4) {
                world.create_account(host);
            }
        }
        world
    }

    pub fn now(&self) -> i64 {
        (self.micros / 1000) as i64
    }

    pub fn count(&mut self, what: &'static str) {
        *self.fired.entry(what).or_default() += 1;
        self.tell(|| what.to_owned());
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            println!("{} {}", self.micros / 1000 % 1_000_000_000_000, what());
        }
    }

    /// Whether a fault of this rarity fires; it is counted if so.
    pub fn fires(&mut self, what: &'static str, one_in: u32) -> bool {
        let fires = self.faulty && self.rng.u32(0..one_in) == 0;
        if fires {
            self.count(what);
        }
        fires
    }

    /// Likewise, for what happens to our process.
    pub fn strikes(&mut self, what: &'static str, one_in: u32) -> bool {
        let strikes = self.deadly && self.rng.u32(0..one_in) == 0;
        if strikes {
            self.count(what);
        }
        strikes
    }

    fn rev(&mut self) -> String {
        self.micros += 1000;
        tid(self.micros)
    }

    fn new_key(&mut self) -> SigningKey {
        self.keys += 1;
        let curve = if self.rng.u8(0..6) == 0 { Curve::P256 } else { Curve::K256 };
        SigningKey::derive(curve, self.seed, &format!("key {}", self.keys))
    }
}

/// What is to be indexed of an account.
pub(super) fn rows(account: &Account, filter: &CollectionFilter) -> Vec<Row> {
    let mut rows: Vec<Row> = account
        .repo
        .records()
        .filter(|(path, _)| !account.bad.contains(*path))
        .filter_map(|(path, cid)| {
            let (collection, rkey) = path.split_once('/')?;
            let cid = DagCid::parse(&cid).expect("a CID");
            filter.matches(collection).then(|| (collection.to_owned(), rkey.to_owned(), cid))
        })
        .collect();
    rows.sort();
    rows
}
