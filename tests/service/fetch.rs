//! getRepo, DID documents and what else is fetched: everything that can be wrong with an answer.

use cid::Cid;
use cid::multihash::Multihash;
use fake_network::{AccountOptions, Damage, FakeHost, Fault, FaultScope, HostOptions, Network, Record};
use ipld_core::ipld::Ipld;
use serde_json::json;

use crate::index::is_atcr;
use crate::signpost::{Signpost, patient};
use crate::{CAPTAIN, CREW, DESCRIBE_SERVER, GET_REPO, LIST_REPOS, SUBSCRIBE_REPOS};

/// What no repo may be indexed from.
const FATAL: [Damage; 10] = [
    Damage::WrongKey,
    Damage::HighS,
    Damage::WrongDid,
    Damage::FutureRev,
    Damage::FlippedBit,
    Damage::MissingNode,
    Damage::MissingCommit,
    Damage::Truncated,
    Damage::TruncatedLength,
    Damage::NoBlocks,
];

/// A host with one account, whose repo has enough records for a tree of several nodes.
fn host_with_account(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    (0..30).for_each(|number| drop(host.put_record(&did, CREW, &format!("{number}"), json!({ "number": number }))));
    (host, did)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_fails_once_is_asked_for_again() {
    let faults = [
        Fault::Status { method: GET_REPO, code: 500 },
        Fault::Status { method: GET_REPO, code: 503 },
        Fault::Status { method: GET_REPO, code: 404 },
        Fault::RateLimited { method: GET_REPO, retry_after: 1 },
        Fault::CutOff { method: GET_REPO },
        Fault::Html { method: GET_REPO },
        Fault::Html { method: LIST_REPOS },
        Fault::CutOff { method: LIST_REPOS },
        Fault::Endless { method: LIST_REPOS },
        Fault::RateLimited { method: LIST_REPOS, retry_after: 1 },
        Fault::Html { method: DESCRIBE_SERVER },
        Fault::Endless { method: DESCRIBE_SERVER },
        Fault::RateLimited { method: DESCRIBE_SERVER, retry_after: 1 },
        Fault::Html { method: SUBSCRIBE_REPOS },
        Fault::RateLimited { method: SUBSCRIBE_REPOS, retry_after: 1 },
    ];
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let hosts: Vec<FakeHost> = faults.iter().map(|_| host_with_account(&network).0).collect();
    for (host, fault) in hosts.iter().zip(&faults) {
        host.fault(fault.clone(), FaultScope::Next(1));
        signpost.request_crawl(host).await;
    }
    for (host, fault) in hosts.iter().zip(&faults) {
        host.wait_fired(fault, 1).await;
    }
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    for (host, fault) in hosts.iter().zip(&faults) {
        assert!(host.requests(GET_REPO) <= 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_did_document_that_does_not_come_is_asked_for_again() {
    let faults = [
        Fault::Status { method: "plc", code: 500 },
        Fault::Html { method: "plc" },
        Fault::RateLimited { method: "plc", retry_after: 1 },
    ];
    for fault in faults {
        let network = Network::start().await;
        let (host, _) = host_with_account(&network);
        network.plc_fault(fault.clone(), FaultScope::Next(1));
        let signpost = Signpost::start(&network).await;
        signpost.request_crawl(&host).await;
        network.wait_plc_fired(&fault, 1).await;
        signpost.await_truth(&network).await;
        assert_eq!(host.requests(GET_REPO), 1, "no repo is fetched before its key is known");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_asks_to_wait_is_left_alone_for_so_long_and_not_longer() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(10);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let limit = Fault::RateLimited { method: "plc", retry_after: 3 };
    network.plc_fault(limit.clone(), FaultScope::Next(1));
    let signpost = Signpost::start_with(&network, patient()).await;
    signpost.request_crawl(&host).await;
    network.wait_plc_fired(&limit, 1).await;
    let asked = network.plc_requests();
    signpost.await_truth(&network).await;
    assert!(asked <= 4 && network.plc_requests() <= asked + 10, "{asked}, {}", network.plc_requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_is_followed() {
    let methods = [DESCRIBE_SERVER, LIST_REPOS, GET_REPO, SUBSCRIBE_REPOS, "did.json"];
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let hosts: Vec<FakeHost> = methods.iter().map(|_| network.add_host()).collect();
    for (host, method) in hosts.iter().zip(methods) {
        let did = host.create_account(AccountOptions::web());
        host.put_record(&did, CAPTAIN, "self", json!({}));
        host.fault(Fault::Redirect { method }, FaultScope::Next(1));
        signpost.request_crawl(host).await;
        host.wait_fired(&Fault::Redirect { method }, 1).await;
    }
    signpost.await_truth(&network).await;
    for (host, method) in hosts.iter().zip(methods) {
        assert_eq!(host.requests("redirected"), 0, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_repo_is_not_indexed_and_costs_nothing_that_was() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let hosts: Vec<(FakeHost, String)> = FATAL.iter().map(|_| host_with_account(&network)).collect();

    // At the first fetch: nothing is indexed, and the next fetch mends it.
    for ((host, _), damage) in hosts.iter().zip(&FATAL) {
        host.fault(Fault::Repo(*damage), FaultScope::Next(1));
        signpost.request_crawl(host).await;
    }
    signpost.await_truth(&network).await;
    for ((host, _), damage) in hosts.iter().zip(&FATAL) {
        assert_eq!(host.fired(&Fault::Repo(*damage)), 1, "{damage:?}");
        assert_eq!(host.requests(GET_REPO), 2, "{damage:?}");
        host.wait_for_subscribers(1).await;
    }
    signpost.await_idle().await;

    // At a later one: what was indexed stays until there is a good one.
    let before = signpost.index().records();
    for ((host, did), damage) in hosts.iter().zip(&FATAL) {
        host.fault(Fault::Repo(*damage), FaultScope::Always);
        host.fault(Fault::WrongSince, FaultScope::Next(1));
        host.put_record(did, CREW, "0", json!({ "number": "changed" }));
        assert_eq!(host.fired(&Fault::WrongSince), 1);
    }
    for ((host, did), damage) in hosts.iter().zip(&FATAL) {
        host.wait_fired(&Fault::Repo(*damage), 3).await;
        let is_noted = |report: &serde_json::Value| report["last_error"].is_string();
        signpost.await_host_report(host, "the repo's error is shown", is_noted).await;
        assert_eq!(signpost.repo_status(did).await["status"], "desynchronized", "{damage:?}");
    }
    assert_eq!(signpost.index().records(), before);
    for ((host, _), damage) in hosts.iter().zip(&FATAL) {
        host.clear(&Fault::Repo(*damage));
    }
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_car_with_more_blocks_than_it_needs_is_accepted() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    for damage in [Damage::DuplicateBlocks, Damage::ExtraBlock] {
        let (host, _) = host_with_account(&network);
        host.fault(Fault::Repo(damage), FaultScope::Always);
        signpost.follow(&network, [&host]).await;
        assert_eq!((host.fired(&Fault::Repo(damage)), host.requests(GET_REPO)), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_missing_from_the_car_is_skipped_and_its_older_row_goes() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    let missing = Fault::Repo(Damage::MissingRecord);
    host.fault(missing.clone(), FaultScope::Always);
    host.fault(Fault::WrongSince, FaultScope::Next(1));
    // The first record is the one whose block is missing.
    host.put_record(&did, CREW, "0", json!({ "number": "changed" }));
    host.wait_fired(&missing, 1).await;
    signpost.await_heard(&host).await;
    let mut expected = network.expected(is_atcr);
    expected.remove(&(did.clone(), CREW.to_owned(), "0".to_owned())).unwrap();
    assert_eq!(signpost.index().records(), expected);
    assert_eq!(signpost.index().wrong_counts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_indexed_have_no_row_and_the_others_do() {
    let raw_block = Cid::new_v1(0x55, Multihash::wrap(0x12, &[7; 32]).unwrap());
    let unindexable: [(&str, Record); 4] = [
        ("garbage", Record::Raw(vec![0xff, 0x00].into())),
        ("foreign", Record::Link(raw_block)),
        ("no-map", Record::Value(Ipld::String("text".into()))),
        ("too-large", Record::Value(Ipld::Map([("text".into(), "x".repeat(1_000_001).into())].into()))),
    ];
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CREW, "float", Ipld::Map([("share".into(), Ipld::Float(0.5))].into()));
    for (rkey, record) in &unindexable {
        host.put_record(&did, CAPTAIN, rkey, record.clone());
    }
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    signpost.await_listed(CREW, &[&did]).await;
    host.wait_for_subscribers(1).await;
    let indexed = || signpost.index().records().into_keys().map(|(_, _, rkey)| rkey).collect::<Vec<_>>();
    assert_eq!(indexed(), ["float"]);
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));

    // And live: a good record comes, and turns bad.
    for (rkey, _) in &unindexable {
        host.put_record(&did, CREW, rkey, json!({ "good": true }));
    }
    signpost.await_heard(&host).await;
    assert_eq!(indexed().len(), 1 + unindexable.len());
    for (rkey, record) in unindexable {
        host.put_record(&did, CREW, rkey, record);
    }
    signpost.await_heard(&host).await;
    assert_eq!(indexed(), ["float"]);
    assert_eq!(signpost.index().wrong_counts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_compresses_is_crawled_like_any_other() {
    let network = Network::start().await;
    let host = network.add_host_with(HostOptions { compress: true, ..HostOptions::default() }).unwrap();
    for did in host.create_accounts(3) {
        (0..200).for_each(|number| drop(host.put_record(&did, CREW, &number.to_string(), json!({ "number": number }))));
    }
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    assert_eq!(host.requests(GET_REPO), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_older_than_what_is_indexed_changes_nothing() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    host.fault(Fault::StaleRepo, FaultScope::Next(1));
    host.put_record(&did, CREW, "new", json!({}));
    signpost.await_heard(&host).await;
    host.fault(Fault::WrongSince, FaultScope::Next(1));
    host.put_record(&did, CREW, "newer", json!({}));
    host.wait_fired(&Fault::StaleRepo, 1).await;
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 3);
}
