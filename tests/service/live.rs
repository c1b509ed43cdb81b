//! Commits on the firehose that do not continue what is indexed, or do not prove what they say.

use fake_network::{AccountOptions, Damage, FakeHost, Fault, FaultScope, Network, Write};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW, GET_REPO};

/// After each of these the repo has to be fetched.
const DESYNC: [Fault; 17] = [
    Fault::WrongSince,
    Fault::WrongPrevData,
    Fault::MissingOp,
    Fault::TooBig,
    Fault::Legacy,
    Fault::Event(Damage::WrongKey),
    Fault::Event(Damage::HighS),
    Fault::Event(Damage::WrongDid),
    Fault::Event(Damage::FutureRev),
    Fault::Event(Damage::FlippedBit),
    Fault::Event(Damage::MissingNode),
    Fault::Event(Damage::MissingCommit),
    Fault::Event(Damage::MissingRecord),
    Fault::Event(Damage::Truncated),
    Fault::Event(Damage::TruncatedLength),
    Fault::Event(Damage::NoBlocks),
    Fault::DroppedEvent,
];

fn host_with_account(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    (0..30).for_each(|number| drop(host.put_record(&did, CREW, &number.to_string(), json!({ "number": number }))));
    (host, did)
}

/// One commit with an update, a create and a delete.
fn write(host: &FakeHost, did: &str) {
    let writes = vec![
        Write::put(CREW, "7", json!({ "number": "changed" })),
        Write::put(CAPTAIN, "self", json!({ "owner": did })),
        Write::delete(CREW, "9"),
    ];
    host.apply_writes(did, writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_whose_chain_breaks_is_fetched_again() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let hosts: Vec<(FakeHost, String)> = DESYNC.iter().map(|_| host_with_account(&network)).collect();
    signpost.follow(&network, hosts.iter().map(|(host, _)| host)).await;
    for ((host, did), fault) in hosts.iter().zip(&DESYNC) {
        host.fault(fault.clone(), FaultScope::Next(1));
        write(host, did);
        host.wait_fired(fault, 1).await;
        if *fault == Fault::DroppedEvent {
            // Nothing shows it but the commit after it.
            host.put_record(did, CREW, "one", json!({}));
        }
    }
    for ((host, _), fault) in hosts.iter().zip(&DESYNC) {
        signpost.await_heard(host).await;
        assert_eq!(host.requests(GET_REPO), 2, "{fault:?}");
    }
    signpost.await_truth(&network).await;
    for (host, did) in &hosts {
        host.put_record(did, CREW, "two", json!({}));
    }
    signpost.await_truth(&network).await;
    for ((host, _), fault) in hosts.iter().zip(&DESYNC) {
        assert_eq!(host.requests(GET_REPO), 2, "the chain holds again after {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_with_what_is_legal_costs_no_fetch() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let (host, did) = host_with_account(&network);
    signpost.follow(&network, [&host]).await;
    for fault in [Fault::Event(Damage::DuplicateBlocks), Fault::Event(Damage::ExtraBlock), Fault::DuplicatedEvent] {
        host.fault(fault.clone(), FaultScope::Next(1));
        host.put_record(&did, CREW, "one", json!({ "fault": format!("{fault:?}") }));
        host.wait_fired(&fault, 1).await;
        signpost.await_heard(&host).await;
        signpost.await_truth(&network).await;
    }
    assert_eq!(host.requests(GET_REPO), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_host_that_never_tells_prev_data_is_followed_by_fetching() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let host = network.add_host();
    host.fault(Fault::Legacy, FaultScope::Always);
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CREW, "one", json!({}));
    signpost.follow(&network, [&host]).await;
    for number in 0..10 {
        host.put_record(&did, CREW, "one", json!({ "number": number }));
        host.put_record(&did, CREW, &number.to_string(), json!({}));
        if number > 3 {
            host.delete_record(&did, CREW, &(number - 3).to_string());
        }
    }
    signpost.await_truth(&network).await;
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert!(host.fired(&Fault::Legacy) > 20 && host.requests(GET_REPO) > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_created_after_the_crawl_is_found_by_its_events() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let host = network.add_host();
    signpost.request_crawl(&host).await;
    host.wait_for_subscribers(1).await;
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    signpost.await_listed(CAPTAIN, &[&did]).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_from_many_accounts_at_once_end_with_the_truth() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let host = network.add_host();
    let dids = host.create_accounts(20);
    signpost.follow(&network, [&host]).await;
    let mut random = fastrand::Rng::with_seed(3);
    for number in 0..600 {
        let (did, rkey) = (&dids[random.usize(..20)], random.u8(..10).to_string());
        match random.u8(..4) {
            0 => host.delete_record(did, CREW, &rkey),
            _ => drop(host.put_record(did, CREW, &rkey, json!({ "number": number }))),
        }
    }
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 20);
}
