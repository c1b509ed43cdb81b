//! What hosts do of their own accord: accounts that are made and that write, the events that say so, and what may be wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fake_network::offline::{self, OfflineRepo, Telling};
use fake_network::{Damage, Record, Write};
use serde_json::json;

use super::{Account, COLLECTIONS, OUTSIDE, Person, RKEYS, SentEvent, World, rows};
use crate::repo::DagCid;

impl World {
    /// Numbers an event and puts it into the host's history; things may go wrong with it.
    pub(super) fn emit(&mut self, host: usize, did: &str, frame: impl FnOnce(i64) -> Vec<u8>) {
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

    pub(super) fn emit_account(&mut self, host: usize, did: &str) {
        let status = self.hosts[host].accounts[did].status;
        self.emit(host, did, |seq| offline::account_frame(did, seq, status.is_none(), status));
    }

    pub(super) fn emit_identity(&mut self, host: usize, did: &str) {
        self.emit(host, did, |seq| offline::identity_frame(did, seq, Some("someone.example.com")));
    }

    pub(super) fn emit_sync(&mut self, host: usize, did: &str) {
        if self.hosts[host].legacy {
            return;
        }
        let account = self.hosts[host].accounts[did].clone();
        let key = self.people[did].key.clone();
        self.emit(host, did, |seq| account.repo.sync_frame(seq, &account.told_rev, &key));
    }

    /// Remembers what the head of an account says.
    pub(super) fn sign(&mut self, host: usize, did: &str) {
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
        let is_outside = self.rng.u8(0..3) == 0;
        let account = Account { repo: repo.clone(), status: None, told_rev: rev, bad: BTreeSet::new(), is_outside };
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
        let comes_inside = self.rng.u8(0..8) == 0;
        let account = self.hosts[host].accounts.get_mut(did).expect("it is there");
        account.is_outside &= !comes_inside;
        let collections = if account.is_outside { OUTSIDE } else { &COLLECTIONS };
        for _ in 0..self.rng.usize(1..=10) {
            let collection = *self.rng.choice(collections).expect("one");
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

    pub fn damage(&mut self, what: &str, one_in: u32) -> Option<Damage> {
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
