//! The world that a simulation runs in, and the truth about it: accounts, their keys and documents, hosts with their repos and event
//! histories. Everything that happens is drawn from one seed. The bytes are signed for real.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use fake_network::offline::{self, OfflineRepo, Telling};
use fake_network::{Curve, Damage, Record, SigningKey, Write, tid};
use fastrand::Rng;
use serde_json::json;

use crate::repo::DagCid;
use crate::store::Row;
use crate::syntax::{CollectionFilter, Host, HostPolicy};

pub(super) const COLLECTIONS: [&str; 5] =
    ["io.atcr.hold.captain", "io.atcr.hold.crew", "io.atcr.manifest", "app.bsky.feed.post", "io.atcrx.fake"];
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

    /// Numbers an event and puts it into the host's history; things may go wrong with it.
    fn emit(&mut self, host: usize, did: &str, frame: impl FnOnce(i64) -> Vec<u8>) {
        let gap = if self.rng.u8(0..8) == 0 { self.rng.i64(1..5) } else { 0 };
        self.hosts[host].seq += 1 + gap;
        let seq = self.hosts[host].seq;
        let mut frame = frame(seq);
        if self.fires("event dropped", 25) {
            return;
        }
        if self.fires("frame truncated", 80) {
            frame.truncate(self.rng.usize(0..frame.len()));
        } else if self.fires("frame bit flipped", 80) {
            let at = self.rng.usize(0..frame.len());
            frame[at] ^= 1 << self.rng.u8(0..8);
            // A host that numbers its events wrongly is another matter.
            if crate::subscribe::verify::seq_of(&frame).is_some_and(|told| told != seq) {
                frame[at] = 0xff;
            }
        } else if self.fires("frame replaced by garbage", 80) {
            frame = (0..self.rng.usize(0..64)).map(|_| self.rng.u8(..)).collect();
        } else if self.fires("frame of an unknown type", 80) {
            frame = offline::unknown_frame(seq);
        }
        if crate::subscribe::verify::seq_of(&frame).is_some_and(|told| told != seq) {
            return;
        }
        self.tell(|| format!("host {host} sends {seq} about {did}"));
        let host = &mut self.hosts[host];
        host.history.push(SentEvent { seq, did: did.to_owned(), frame: frame.into() });
        if let Some(unsettled) = &mut host.unsettled {
            unsettled.insert(seq);
        }
    }

    fn emit_account(&mut self, host: usize, did: &str) {
        let status = self.hosts[host].accounts[did].status;
        self.emit(host, did, |seq| offline::account_frame(did, seq, status.is_none(), status));
    }

    fn emit_identity(&mut self, host: usize, did: &str) {
        self.emit(host, did, |seq| offline::identity_frame(did, seq, Some("someone.example.com")));
    }

    fn emit_sync(&mut self, host: usize, did: &str) {
        if self.hosts[host].legacy {
            return;
        }
        let account = self.hosts[host].accounts[did].clone();
        let key = self.people[did].key.clone();
        self.emit(host, did, |seq| account.repo.sync_frame(seq, &account.told_rev, &key));
    }

    /// Remembers what the head of an account says.
    fn sign(&mut self, host: usize, did: &str) {
        let account = &self.hosts[host].accounts[did];
        let rows = rows(account, &self.filter);
        self.tell(|| format!("{did} at host {host} is at {} {}", account.repo.rev(), account.repo.head()));
        self.signed.insert((did.to_owned(), DagCid::parse(&account.repo.data()).expect("a CID")), rows);
    }

    pub fn create_account(&mut self, host: usize) {
        let n = self.people.len();
        let did = if self.rng.u8(0..5) == 0 {
            format!("did:web:user{n}.example.com")
        } else {
            format!("did:plc:{:a>24}", ["b", "c", "d", "e", "f", "g", "h"][n % 7].repeat(1 + n / 7))
        };
        let key = self.new_key();
        let rev = self.rev();
        let repo = OfflineRepo::create(&did, &rev, &key);
        self.people.insert(did.clone(), Person { key: key.clone(), earlier: Vec::new(), pds: host, tombstone: false });
        let account = Account { repo: repo.clone(), status: None, told_rev: rev, bad: BTreeSet::new() };
        self.hosts[host].accounts.insert(did.clone(), account);
        self.sign(host, &did);
        self.emit_identity(host, &did);
        self.emit_account(host, &did);
        self.emit(host, &did, |seq| repo.first_commit_frame(seq, &key));
        self.emit_sync(host, &did);
    }

    /// One commit of 1 to 10 writes.
    pub fn write(&mut self, host: usize, did: &str) {
        let key = self.people[did].key.clone();
        let mut writes = BTreeMap::new();
        for _ in 0..self.rng.usize(1..=10) {
            let collection = *self.rng.choice(&COLLECTIONS).expect("one");
            let rkey = format!("r{}", self.rng.usize(0..RKEYS));
            let path = format!("{collection}/{rkey}");
            self.values += 1;
            let account = self.hosts[host].accounts.get_mut(did).expect("it is there");
            account.bad.remove(&path);
            let write = match self.rng.u8(0..20) {
                0..6 => Write::delete(collection, &rkey),
                6 => {
                    account.bad.insert(path.clone());
                    Write::put(collection, &rkey, Record::Raw(Bytes::from(format!("\u{ff}{}", self.values))))
                }
                _ => Write::put(collection, &rkey, json!({"$type": collection, "n": self.values})),
            };
            writes.insert(path, write);
        }
        let rev = self.rev();
        let legacy = self.hosts[host].legacy;
        let account = self.hosts[host].accounts.get_mut(did).expect("it is there");
        let Some(change) = account.repo.apply(writes.into_values().collect(), &rev, &key) else { return };
        account.told_rev = rev;
        let repo = account.repo.clone();
        self.sign(host, did);
        self.count("commit");
        let telling = Telling {
            legacy,
            too_big: self.fires("tooBig", 40),
            missing_op: self.fires("an op not told", 60),
            wrong_since: self.fires("wrong since", 60),
            wrong_prev_data: self.fires("wrong prevData", 60),
            damage: if host == 0 && self.fires("future rev", 60) {
                Some(Damage::FutureRev)
            } else {
                self.damage("event", 12)
            },
        };
        self.emit(host, did, |seq| repo.commit_frame(seq, change, telling, &key));
    }

    fn damage(&mut self, what: &str, one_in: u32) -> Option<Damage> {
        if !self.faulty || self.rng.u32(0..one_in) != 0 {
            return None;
        }
        let (name, damage) = *self
            .rng
            .choice(&[
                ("wrong key", Damage::WrongKey),
                ("high S", Damage::HighS),
                ("wrong DID", Damage::WrongDid),
                ("block bit flipped", Damage::FlippedBit),
                ("missing node", Damage::MissingNode),
                ("missing records", Damage::MissingRecords),
                ("missing commit", Damage::MissingCommit),
                ("CAR truncated", Damage::Truncated),
                ("CAR cut in a length", Damage::TruncatedLength),
                ("no blocks", Damage::NoBlocks),
                ("blocks twice", Damage::DuplicateBlocks),
                ("extra block", Damage::ExtraBlock),
            ])
            .expect("one");
        self.count(if what == "event" { "event CAR damaged" } else { "getRepo CAR damaged" });
        self.count(name);
        Some(damage)
    }

    /// The answer of getRepo for an account that is served.
    pub fn car(&mut self, host: usize, did: &str) -> Vec<u8> {
        if let Some(car) = self.hosts[host].stale.get(did).cloned()
            && self.fires("stale getRepo answer", 4)
        {
            return car;
        }
        let mut damage = self.damage("getRepo", 12);
        // One host alone: when most are ahead of our clock, it is our clock that is behind, and they are believed.
        if host == 0 && self.fires("future rev", 20) {
            damage = Some(Damage::FutureRev);
        }
        self.hosts[host].accounts[did].repo.car(damage, &self.people[did].key)
    }

    /// An account that lives where its document says.
    fn someone(&mut self, wanted: impl Fn(&Account) -> bool) -> Option<(usize, String)> {
        let all: Vec<(usize, String)> = self
            .people
            .iter()
            .filter(|(did, person)| self.hosts[person.pds].accounts.get(*did).is_some_and(&wanted))
            .map(|(did, person)| (person.pds, did.clone()))
            .collect();
        self.rng.choice(&all).cloned()
    }

    /// Something happens.
    pub fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..60 => {
                if let Some((host, did)) = self.someone(|account| account.status.is_none()) {
                    self.write(host, &did);
                }
            }
            60..63 if self.people.len() < 10 => {
                let host = self.rng.usize(0..self.hosts.len());
                self.create_account(host);
                self.count("account created");
            }
            63..67 => {
                if let Some((host, did)) = self.someone(|account| account.status.is_none()) {
                    let status = *self.rng.choice(&["deactivated", "takendown", "suspended"]).expect("one");
                    self.set_status(host, &did, Some(status));
                    self.count("account switched off");
                }
            }
            67..73 => {
                if let Some((host, did)) = self.someone(|account| account.status.is_some()) {
                    self.activate(host, &did);
                    self.count("account switched on");
                }
            }
            73 => {
                if let Some((host, did)) = self.someone(|_| true) {
                    self.delete(host, &did);
                }
            }
            74..77 => {
                if let Some((host, did)) = self.someone(|_| true)
                    && !(self.is_calm && did.starts_with("did:web"))
                {
                    self.rotate(&did);
                    if self.is_calm || self.rng.bool() {
                        self.count("key rotated with #identity");
                        self.emit_identity(host, &did);
                    } else {
                        self.count("key rotated silently");
                    }
                }
            }
            77..81 => {
                if let Some((from, did)) = self.someone(|account| account.status.is_none()) {
                    let to = self.rng.usize(0..self.hosts.len());
                    // A did:web's earlier keys are nowhere to be found.
                    if to != from && !(self.is_calm && did.starts_with("did:web")) {
                        self.migrate(from, to, &did);
                    }
                }
            }
            81 => {
                if let Some((host, did)) = self.someone(|_| true) {
                    self.count("handle changed");
                    self.emit_identity(host, &did);
                }
            }
            82..84 => {
                if let Some((host, did)) = self.someone(|account| account.status.is_none()) {
                    self.count("#sync");
                    self.emit_sync(host, &did);
                }
            }
            84 if self.rng.u8(0..3) == 0 => {
                if let Some((host, did)) = self.someone(|account| account.status.is_none()) {
                    self.count("70 commits in a burst");
                    (0..70).for_each(|_| self.write(host, &did));
                }
            }
            _ if self.is_calm => {}
            84 | 85 => self.keep_stale(),
            86 => {
                let host = self.rng.usize(0..self.hosts.len());
                self.reset_sequence(host);
            }
            87..89 => {
                let host = &mut self.hosts;
                let at = self.rng.usize(0..host.len());
                let host = &mut host[at];
                host.backup = Some((host.accounts.clone(), host.seq, host.history.clone()));
            }
            89..91 => {
                let host = self.rng.usize(0..self.hosts.len());
                self.restore(host);
            }
            91..93 => {
                let host = self.rng.usize(0..self.hosts.len());
                self.forget_events(host);
            }
            93..95 => {
                let host = self.rng.usize(0..self.hosts.len());
                self.hosts[host].up = self.rng.u8(0..3) > 0;
                if !self.hosts[host].up {
                    self.count("host down");
                    self.hosts[host].epoch += 1;
                }
            }
            95..97 => self.impostor(),
            _ => {}
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].history.len() > HISTORY && !self.is_calm {
                self.forget_events(host);
            }
        }
    }

    pub fn set_status(&mut self, host: usize, did: &str, status: Option<&'static str>) {
        self.hosts[host].accounts.get_mut(did).expect("it is there").status = status;
        self.emit_account(host, did);
    }

    fn activate(&mut self, host: usize, did: &str) {
        self.set_status(host, did, None);
        self.emit_identity(host, did);
        self.emit_sync(host, did);
    }

    fn delete(&mut self, host: usize, did: &str) {
        self.count("account deleted");
        let place = &mut self.hosts[host];
        place.accounts.remove(did);
        let gone: Vec<i64> = place.history.iter().filter(|event| event.did == did).map(|event| event.seq).collect();
        place.history.retain(|event| event.did != did);
        if let Some(unsettled) = &mut place.unsettled {
            unsettled.retain(|seq| !gone.contains(seq));
        }
        if self.rng.bool() && did.starts_with("did:plc") {
            self.people.get_mut(did).expect("known").tombstone = true;
            self.count("DID tombstoned");
        }
        self.emit(host, did, |seq| offline::account_frame(did, seq, false, Some("deleted")));
    }

    fn rotate(&mut self, did: &str) {
        let key = self.new_key();
        let person = self.people.get_mut(did).expect("known");
        let old = std::mem::replace(&mut person.key, key);
        person.earlier.push(old);
    }

    /// Until its first write over there the head is signed by the old key, and the host tells a later rev.
    fn migrate(&mut self, from: usize, to: usize, did: &str) {
        self.count("account migrated");
        let mut moved = self.hosts[from].accounts[did].clone();
        self.rotate(did);
        moved.told_rev = self.rev();
        self.people.get_mut(did).expect("known").pds = to;
        self.hosts[to].accounts.insert(did.to_owned(), moved);
        self.tell(|| format!("{did} moves from host {from} to {to}"));
        self.emit_account(to, did);
        self.emit_identity(to, did);
        self.emit_sync(to, did);
        self.set_status(from, did, Some("deactivated"));
    }

    fn keep_stale(&mut self) {
        for host in &mut self.hosts {
            let people = &self.people;
            host.stale = host
                .accounts
                .iter()
                .map(|(did, account)| (did.clone(), account.repo.car(None, &people[did].key)))
                .collect();
        }
    }

    /// The numbering begins anew, and what was numbered before is forgotten.
    fn reset_sequence(&mut self, host: usize) {
        self.count("sequence reset");
        let host = &mut self.hosts[host];
        host.seq = 0;
        host.history.clear();
        host.forgotten = 0;
        host.epoch += 1;
        host.unsettled = None;
    }

    fn restore(&mut self, host: usize) {
        let Some((accounts, seq, history)) = self.hosts[host].backup.take() else { return };
        self.count("backup restored");
        self.tell(|| format!("host {host} is at {seq} again"));
        let place = &mut self.hosts[host];
        place.accounts = accounts;
        place.seq = seq;
        place.history = history;
        place.epoch += 1;
        place.unsettled = None;
        place.forgotten = place.history.first().map_or(place.seq, |event| event.seq - 1);
    }

    fn forget_events(&mut self, host: usize) {
        let place = &mut self.hosts[host];
        let Some(keep_from) = place.history.len().checked_sub(3) else { return };
        for event in place.history.drain(..keep_from) {
            place.forgotten = event.seq;
            if let Some(unsettled) = &mut place.unsettled {
                unsettled.remove(&event.seq);
            }
        }
        // A connection that has not sent them yet ends.
        place.epoch += 1;
        self.count("events forgotten by the host");
    }

    /// A host that does not have an account goes on writing to the copy that it has, or says that it is active.
    fn impostor(&mut self) {
        let copies: Vec<(usize, String)> = (0..self.hosts.len())
            .flat_map(|host| self.hosts[host].accounts.keys().map(move |did| (host, did.clone())).collect::<Vec<_>>())
            .filter(|(host, did)| self.people[did].pds != *host && !self.people[did].earlier.is_empty())
            .collect();
        let Some((host, did)) = self.rng.choice(&copies).cloned() else { return };
        self.count("impostor");
        let key = self.people[&did].earlier[0].clone();
        let (rev, n) = (self.rev(), self.rng.u32(..));
        let account = self.hosts[host].accounts.get_mut(&did).expect("it is there");
        let write = Write::put(COLLECTIONS[0], "forged", json!({"$type": COLLECTIONS[0], "n": n}));
        let Some(change) = account.repo.apply(vec![write], &rev, &key) else { return };
        account.told_rev = rev;
        let repo = account.repo.clone();
        // With a key that was the account's: true for whoever has not heard of the move yet.
        self.sign(host, &did);
        self.emit(host, &did, |seq| repo.commit_frame(seq, change, Telling::default(), &key));
        self.emit(host, &did, |seq| offline::account_frame(&did, seq, false, Some("deleted")));
        self.emit(host, &did, |seq| offline::account_frame(&did, seq, true, None));
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

impl World {
    /// Gives every did:web that changed its key a write.
    pub fn write_where_only_an_earlier_key_signed(&mut self) {
        let all: Vec<(usize, String)> = self
            .people
            .iter()
            .filter(|(did, person)| did.starts_with("did:web") && !person.earlier.is_empty())
            .map(|(did, person)| (person.pds, did.clone()))
            .collect();
        for (host, did) in all {
            if self.hosts[host].accounts.get(&did).is_some_and(|account| account.status.is_none()) {
                for _ in 0..3 {
                    self.write(host, &did);
                }
            }
        }
    }
}
