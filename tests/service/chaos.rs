//! Seeded random lives: writes, faults, restarts, resets, migrations, keys and statuses over real sockets. At each quiet point the
//! index equals the truth. A failing seed is named; `SIGNPOST_SEED=7 cargo test --test service chaos` lives it again, and
//! `SIGNPOST_SEEDS=100` lives so many.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use fake_network::{AccountOptions, Backup, Damage, FakeHost, Fault, FaultScope, Network, RecordPlace};
use fastrand::Rng;
use serde_json::json;

use crate::await_condition::await_condition;
use crate::index::is_atcr;
use crate::signpost::{Signpost, comparing};
use crate::{CAPTAIN, CREW, GET_REPO, LIST_REPOS, POST};

const HOSTS: usize = 3;
const QUIET_POINTS: usize = 4;
const STEPS: usize = 60;

const FAULTS: [Fault; 32] = [
    Fault::DroppedEvent,
    Fault::DuplicatedEvent,
    Fault::ReversedEvents,
    Fault::WrongSince,
    Fault::WrongPrevData,
    Fault::MissingOp,
    Fault::TooBig,
    Fault::BadRev,
    Fault::Legacy,
    Fault::Event(Damage::WrongKey),
    Fault::Event(Damage::WrongDid),
    Fault::Event(Damage::FlippedBit),
    Fault::Event(Damage::MissingNode),
    Fault::Event(Damage::MissingRecord),
    Fault::Event(Damage::Truncated),
    Fault::Event(Damage::NoBlocks),
    Fault::GarbageFrame,
    Fault::TextFrame,
    Fault::UnknownType,
    Fault::Info,
    Fault::ErrorFrame,
    Fault::Disconnect,
    Fault::AcceptThenClose,
    Fault::ReplaysAll,
    Fault::StaleRepo,
    Fault::Repo(Damage::MissingNode),
    Fault::Repo(Damage::Truncated),
    Fault::Repo(Damage::WrongKey),
    Fault::Status { method: GET_REPO, code: 500 },
    Fault::CutOff { method: GET_REPO },
    Fault::NonsenseRow,
    Fault::CutOff { method: LIST_REPOS },
];

struct Life {
    random: Rng,
    network: Network,
    hosts: Vec<FakeHost>,
    /// What each host could be restored from.
    backups: Vec<Option<Backup>>,
    /// Every account that lives, and on which host.
    accounts: Vec<(String, usize)>,
    /// A host that was refused an account is not believed again for a minute, so an account moves once.
    moved: HashSet<String>,
}

impl Life {
    async fn new(seed: u64) -> Life {
        let network = Network::with_seed(seed).await;
        let hosts: Vec<FakeHost> = (0..HOSTS).map(|_| network.add_host()).collect();
        let backups = vec![None; HOSTS];
        let mut life =
            Life { random: Rng::with_seed(seed), network, hosts, backups, accounts: Vec::new(), moved: HashSet::new() };
        (0..6).for_each(|_| life.create_account());
        life
    }

    fn create_account(&mut self) {
        let host = self.random.usize(..HOSTS);
        let did = self.hosts[host].create_account(AccountOptions::default());
        self.hosts[host].put_record(&did, CAPTAIN, "self", json!({ "owner": did }));
        self.accounts.push((did, host));
        self.backups[host] = None;
    }

    /// One thing that happens to a host or an account.
    async fn step(&mut self) {
        let account = self.random.usize(..self.accounts.len());
        let (did, at) = self.accounts[account].clone();
        let host = self.hosts[at].clone();
        let chance = self.random.u8(..100);
        println!("{chance} {did} at {}", host.name());
        match chance {
            0..50 => self.write(&host, &did),
            50..75 => {
                let fault = FAULTS[self.random.usize(..FAULTS.len())].clone();
                println!("{fault:?}");
                host.fault(fault, FaultScope::Next(self.random.usize(1..3)));
            }
            75..79 => host.restart().await,
            79..81 => {
                host.down().await;
                self.write(&host, &did);
                host.reset_sequence();
                host.up();
            }
            81..83 => host.forget_events(host.latest_seq()),
            83 => self.backups[at] = Some(host.backup()),
            84..86 => {
                if let Some(backup) = self.backups[at].take() {
                    host.down().await;
                    host.restore(backup);
                    host.up();
                }
            }
            86 => host.deactivate(&did),
            87..89 => host.activate(&did),
            89 => host.take_down(&did),
            90 => host.untake_down(&did),
            91..94 => {
                host.rotate_key(&did);
                self.backups[at] = None;
            }
            94 => host.touch_rev(&did),
            95 => host.set_hidden(&did, self.random.bool()),
            96 => self.create_account(),
            97 if self.accounts.len() > 2 => {
                host.delete_account(&did);
                self.accounts.swap_remove(account);
                self.backups[at] = None;
            }
            _ if self.moved.insert(did.clone()) => {
                let to = (at + 1) % HOSTS;
                host.move_account(&did, &self.hosts[to]);
                self.accounts[account].1 = to;
                self.backups = vec![None; HOSTS];
            }
            _ => {}
        }
    }

    /// What differs of each account, and what signpost knows and has to do of it.
    fn difference(&self, signpost: &Signpost) -> String {
        let (truth, records) = (self.network.expected(is_atcr), signpost.index().records());
        let wrong =
            |(place, cid): &(&RecordPlace, &String)| truth.get(*place) != Some(cid) || records.get(*place) != Some(cid);
        let dids: BTreeSet<&str> =
            truth.iter().chain(&records).filter(wrong).map(|(place, _)| place.0.as_str()).collect();
        let told = |did: &&str| {
            let lives = self.accounts.iter().find(|(known, _)| known == did);
            let host = lives.map(|(_, host)| self.hosts[*host].name());
            format!("\n{did} lives at {host:?}; known: {}", signpost.index().account_report(did))
        };
        dids.iter().map(told).collect()
    }

    fn write(&mut self, host: &FakeHost, did: &str) {
        let collection = [CAPTAIN, CREW, CREW, POST][self.random.usize(..4)];
        let rkey = self.random.u8(..8).to_string();
        match self.random.u8(..4) {
            0 => host.delete_record(did, collection, &rkey),
            _ => drop(host.put_record(did, collection, &rkey, json!({ "number": self.random.u32(..) }))),
        }
    }
}

async fn live(seed: u64) {
    println!("seed {seed}");
    let mut life = Life::new(seed).await;
    let signpost = Signpost::start_with(&life.network, comparing()).await;
    signpost.follow(&life.network, &life.hosts).await;
    for _ in 0..QUIET_POINTS {
        for _ in 0..STEPS {
            life.step().await;
        }
        for host in &life.hosts {
            FAULTS.iter().for_each(|fault| host.clear(fault));
        }
        // An account that its new host neither lists nor tells of cannot be found there.
        life.accounts.iter().for_each(|(did, host)| life.hosts[*host].set_hidden(did, false));
        if tokio::time::timeout(Duration::from_secs(25), signpost.await_truth(&life.network)).await.is_err() {
            panic!("seed {seed}: the index does not come to equal the truth: {}", life.difference(&signpost));
        }
        for host in &life.hosts {
            await_condition("no cursor is beyond its host", async || match signpost.index().host_cursor(host.name()) {
                cursor if cursor <= Some(host.latest_seq()) => Ok(()),
                cursor => Err(format!("{cursor:?} is beyond {}", host.latest_seq())),
            })
            .await;
        }
    }
    signpost.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_the_index_equals_the_truth_when_it_is_quiet() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    match number("SIGNPOST_SEED") {
        Some(seed) => live(seed).await,
        None => {
            for seed in 0..number("SIGNPOST_SEEDS").unwrap_or(3) {
                live(seed).await;
            }
        }
    }
}
