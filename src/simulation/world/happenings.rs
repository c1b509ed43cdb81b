//! What befalls accounts and hosts: status, deletion, new keys, migrations, resets, backups that are restored, impostors.

use fake_network::Write;
use fake_network::offline::{self, Telling};
use serde_json::json;

use super::{Account, COLLECTIONS, HISTORY, World};

impl World {
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
