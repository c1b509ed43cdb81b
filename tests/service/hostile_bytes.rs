//! Hosts whose bytes are an attack: each is refused for what it is, soon, and a bystander notices nothing.

use std::io::Write as _;
use std::time::{Duration, Instant};

use cid::Cid;
use fake_network::block::Block;
use fake_network::mst::height;
use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network};
use ipld_core::ipld::Ipld;
use serde_json::json;
use signpost::config::{Flags, RepoFlags};

use crate::signpost::{Signpost, generous, patient};
use crate::{CAPTAIN, CREW, DESCRIBE_SERVER, GET_REPO, LIST_REPOS};

/// Repos up to 2 MiB only: an endless one ends sooner.
async fn start(network: &Network) -> Signpost {
    let repos = RepoFlags { max_repo_size: Some("2MiB".to_owned()), ..RepoFlags::default() };
    Signpost::start_with_flags(network, patient(), Flags { repos, quotas: generous(), ..Flags::default() }).await
}

fn hold(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::web());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    (host, did)
}

/// A bystander that is followed, and whose writes have to be listed whatever goes on.
struct Bystander {
    host: FakeHost,
    did: String,
    writes: usize,
}

impl Bystander {
    async fn new(network: &Network, signpost: &Signpost) -> Bystander {
        let (host, did) = hold(network);
        signpost.request_crawl(&host).await;
        signpost.await_listed(CAPTAIN, &[&did]).await;
        host.wait_for_subscribers(1).await;
        Bystander { host, did, writes: 0 }
    }

    async fn is_served(&mut self, signpost: &Signpost) {
        self.writes += 1;
        let collection = format!("io.atcr.test.write{}", self.writes);
        self.host.put_record(&self.did, &collection, "self", json!({}));
        signpost.await_listed(&collection, &[&self.did]).await;
    }
}

fn zeros(bytes: usize) -> Vec<u8> {
    vec![0; bytes]
}

/// 4 MiB of spaces in 4 KiB.
fn gzip_bomb() -> Vec<u8> {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&[b' '; 4 << 20]).unwrap();
    bomb.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_repo_are_refused_each_for_its_reason() {
    let body = |body: Vec<u8>, encoding| Fault::Body { method: GET_REPO, body: body.into(), encoding };
    let attacks = [
        ("too_large", Fault::Endless { method: GET_REPO }),
        ("too_large", body(gzip_bomb(), Some("gzip"))),
        ("car_truncated", body(gzip_bomb(), Some("br"))),
        ("broken", body(zeros(100), Some("gzip"))),
        ("broken", Fault::CutOff { method: GET_REPO }),
        ("car_truncated", Fault::Html { method: GET_REPO }),
        ("car_truncated", body(Vec::new(), None)),
        ("car_header", body(zeros(1_000_000), None)),
        ("car_varint", body(vec![0xff; 1_000_000], None)),
        ("http_status", Fault::Status { method: GET_REPO, code: 500 }),
        ("redirect", Fault::Redirect { method: GET_REPO }),
    ];
    let network = Network::start().await;
    let signpost = start(&network).await;
    let mut bystander = Bystander::new(&network, &signpost).await;
    for (reason, attack) in attacks {
        let (host, _) = hold(&network);
        host.fault(attack.clone(), FaultScope::Always);
        let name = format!("signpost_crawl_jobs_total{{kind=\"repo\",outcome=\"{reason}\"}}");
        let before = signpost.metric(&name).await;
        signpost.request_crawl(&host).await;
        host.wait_fired(&attack, 1).await;
        bystander.is_served(&signpost).await;
        signpost.await_host_report(&host, "its job failed", |report| report["queue"]["failed"] == 1).await;
        assert_eq!(signpost.metric(&name).await, before + 1.0, "{reason}: {}", signpost.host_report(&host).await);
    }
    signpost.await_listed(CAPTAIN, &[&bystander.did]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_never_end_an_answer_take_no_worker_from_others() {
    let network = Network::start().await;
    let signpost = start(&network).await;
    let mut bystander = Bystander::new(&network, &signpost).await;
    let methods = [DESCRIBE_SERVER, LIST_REPOS, GET_REPO, "did.json"];
    for method in methods {
        for attack in [Fault::Drip { method }, Fault::Hang { method }] {
            let (host, _) = hold(&network);
            host.fault(attack.clone(), FaultScope::Always);
            signpost.request_crawl(&host).await;
            host.wait_fired(&attack, 1).await;
            bystander.is_served(&signpost).await;
        }
    }
    let (late, late_did) = hold(&network);
    signpost.request_crawl(&late).await;
    signpost.await_listed(CAPTAIN, &[&bystander.did, &late_did]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repos_that_never_come_to_their_end_give_their_workers_back() {
    let network = Network::start().await;
    let mut timing = patient();
    timing.crawl.long_fetch = Duration::from_millis(300);
    let signpost = Signpost::start_with(&network, timing).await;
    let mut bystander = Bystander::new(&network, &signpost).await;
    // Four repos of each at a time, and sixteen workers: three times as many as there are.
    let slow = Fault::Stall { method: GET_REPO };
    let hosts: Vec<FakeHost> = (0..12).map(|_| network.add_host()).collect();
    for host in &hosts {
        let dids = host.create_accounts(4);
        dids.iter().for_each(|did| drop(host.put_record(did, CREW, "one", json!({}))));
        host.fault(slow.clone(), FaultScope::Always);
        signpost.request_crawl(host).await;
    }
    for host in &hosts {
        host.wait_fired(&slow, 4).await;
    }
    let (late, late_did) = hold(&network);
    signpost.request_crawl(&late).await;
    signpost.await_listed(CAPTAIN, &[&bystander.did, &late_did]).await;
    bystander.is_served(&signpost).await;
    // There is no place left aside: the next ones are cut, and tried again.
    let next = network.add_host();
    let did = next.create_account(AccountOptions::default());
    next.put_record(&did, CREW, "one", json!({}));
    next.fault(slow.clone(), FaultScope::Always);
    signpost.request_crawl(&next).await;
    signpost.await_host_report(&next, "its job failed", |report| report["queue"]["failed"] == 1).await;
    assert_eq!(signpost.metric("signpost_crawl_jobs_total{kind=\"repo\",outcome=\"crowded\"}").await, 1.0);
    // Those aside go on as if nothing were.
    hosts.iter().for_each(|host| host.clear(&slow));
    for host in &hosts {
        signpost.await_host_report(host, "its repos came", |report| report["queue"]["in_progress"] == 0).await;
        assert_eq!(host.requests(GET_REPO), 4);
    }
}

/// Nodes made by hand.
#[derive(Default)]
struct Forge(Vec<Block>);

impl Forge {
    fn put(&mut self, value: Ipld) -> Cid {
        let block = Block::encode(&value);
        let cid = block.cid;
        self.0.push(block);
        cid
    }

    fn record(&mut self) -> Cid {
        self.put(Ipld::Map([("n".to_owned(), Ipld::Integer(1))].into()))
    }

    /// A node of whole keys, with the same child in every gap.
    fn node(&mut self, keys: &[String], child: Option<Cid>) -> Cid {
        let record = self.record();
        let link = |cid: Option<Cid>| cid.map_or(Ipld::Null, Ipld::Link);
        let mut before = "";
        let mut entries = Vec::new();
        for key in keys {
            let shared = key.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
            let fields = [
                ("k", Ipld::Bytes(key.as_bytes()[shared..].to_vec())),
                ("p", Ipld::Integer(shared as i128)),
                ("t", link(child)),
                ("v", Ipld::Link(record)),
            ];
            entries.push(Ipld::Map(fields.map(|(name, value)| (name.to_owned(), value)).into()));
            before = key;
        }
        self.put(Ipld::Map([("e".to_owned(), Ipld::List(entries)), ("l".to_owned(), link(child))].into()))
    }
}

/// So many keys of this height, in order.
fn keys(height_wanted: u8, count: usize) -> Vec<String> {
    let keys = (0..).map(|n: u32| format!("{CREW}/{height_wanted}{n:08}"));
    keys.filter(|key| height(key) == height_wanted).take(count).collect()
}

/// Each node has the next one eleven times as a child: eleven to the fifth paths.
fn shared_nodes(forge: &mut Forge) -> Cid {
    let mut child = None;
    for level in 0..5 {
        child = Some(forge.node(&keys(level, 10), child));
    }
    child.unwrap()
}

/// A chain of nodes without keys, deeper than the levels of its root.
fn chain(forge: &mut Forge) -> Cid {
    let mut child = forge.node(&keys(0, 1), None);
    for _ in 0..10_000 {
        child = forge.node(&[], Some(child));
    }
    forge.node(&keys(3, 1), Some(child))
}

fn unordered(forge: &mut Forge) -> Cid {
    let mut keys = keys(0, 2);
    keys.reverse();
    forge.node(&keys, None)
}

fn crowded(forge: &mut Forge) -> Cid {
    forge.node(&keys(0, 10_001), None)
}

/// Lists in lists in the place of a node.
fn nested(forge: &mut Forge) -> Cid {
    let bytes = [vec![0x81; 1_000_000], vec![0x80]].concat();
    let block = Block::of_bytes(bytes.into());
    let cid = block.cid;
    forge.0.push(block);
    cid
}

/// A child that is not there, behind a hundred that are.
fn incomplete(forge: &mut Forge) -> Cid {
    let missing = Block::encode(&"nowhere").cid;
    let child = forge.node(&keys(1, 100), Some(missing));
    forge.node(&keys(2, 1), Some(child))
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_that_are_traps_are_refused_at_once_each_for_its_reason() {
    type Trap = fn(&mut Forge) -> Cid;
    let traps: [(&str, Trap); 6] = [
        ("mst_key_order", shared_nodes),
        ("mst_depth", chain),
        ("mst_key_order", unordered),
        ("mst_too_many_entries", crowded),
        ("mst_encoding", nested),
        ("mst_node_missing", incomplete),
    ];
    let network = Network::start().await;
    let signpost = start(&network).await;
    let mut bystander = Bystander::new(&network, &signpost).await;
    for (reason, trap) in traps {
        let (host, did) = hold(&network);
        let mut forge = Forge::default();
        let root = trap(&mut forge);
        let body = host.car_of_tree(&did, root, &forge.0).into();
        let attack = Fault::Body { method: GET_REPO, body, encoding: None };
        host.fault(attack.clone(), FaultScope::Always);
        let name = format!("signpost_repos_rejected_total{{reason=\"{reason}\"}}");
        let before = signpost.metric(&name).await;
        signpost.request_crawl(&host).await;
        host.wait_fired(&attack, 1).await;
        let fired_at = Instant::now();
        signpost.await_host_report(&host, "its job failed", |report| report["queue"]["failed"] == 1).await;
        let took = fired_at.elapsed();
        assert_eq!(signpost.metric(&name).await, before + 1.0, "{reason}: {}", signpost.host_report(&host).await);
        assert!(took.as_secs() < 2, "{reason} took {took:?}");
        bystander.is_served(&signpost).await;
    }
}
