//! The firehose as a connection: frames that are no events, and connections that end.

use std::time::Duration;

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::{Signpost, impatient};
use crate::{CAPTAIN, CREW, GET_REPO, LIST_REPOS, SUBSCRIBE_REPOS};

fn host_with_account(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    (host, did)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_sense_and_broken_connections_cost_no_event_and_no_fetch() {
    let faults = [
        Fault::GarbageFrame,
        Fault::TextFrame,
        Fault::UnknownType,
        Fault::Info,
        Fault::OversizedFrame,
        Fault::ErrorFrame,
        Fault::Disconnect,
    ];
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let hosts: Vec<(FakeHost, String)> = faults.iter().map(|_| host_with_account(&network)).collect();
    signpost.follow(&network, hosts.iter().map(|(host, _)| host)).await;
    for (host, did) in &hosts {
        // From here on there is a cursor to come back to.
        host.put_record(did, CREW, "one", json!({}));
        signpost.await_heard(host).await;
    }
    for ((host, did), fault) in hosts.iter().zip(&faults) {
        host.fault(fault.clone(), FaultScope::Next(1));
        host.put_record(did, CREW, "two", json!({}));
        host.wait_fired(fault, 1).await;
        host.put_record(did, CAPTAIN, "self", json!({ "version": 2 }));
    }
    signpost.await_truth(&network).await;
    for ((host, _), fault) in hosts.iter().zip(&faults) {
        signpost.await_heard(host).await;
        assert_eq!((host.requests(GET_REPO), host.requests(LIST_REPOS)), (1, 2), "{fault:?}");
        let breaks = matches!(fault, Fault::ErrorFrame | Fault::Disconnect);
        assert_eq!(host.requests(SUBSCRIBE_REPOS), if breaks { 2 } else { 1 }, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_accepts_and_closes_is_dialled_until_it_stays() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    host.fault(Fault::AcceptThenClose, FaultScope::Next(3));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&Fault::AcceptThenClose, 3).await;
    host.wait_for_subscribers(1).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_falls_silent_is_replaced() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    host.fault(Fault::SilentSocket, FaultScope::Next(1));
    let mut timing = impatient();
    timing.subscribe.ping_every = Duration::from_millis(200);
    timing.subscribe.dead_after = Duration::from_millis(600);
    let signpost = Signpost::start_with(&network, timing).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&Fault::SilentSocket, 1).await;
    host.put_record(&did, CREW, "one", json!({}));
    host.wait_requests(SUBSCRIBE_REPOS, 2).await;
    host.put_record(&did, CREW, "two", json!({}));
    signpost.await_truth(&network).await;
    // Pongs are heard: a quiet connection is not a dead one.
    tokio::time::timeout(Duration::from_millis(1500), host.wait_requests(SUBSCRIBE_REPOS, 3))
        .await
        .expect_err("the second connection lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_restarts_is_followed_from_the_cursor() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    host.down().await;
    host.put_record(&did, CREW, "two", json!({}));
    host.delete_record(&did, CREW, "one");
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![did.clone()]), "a host that is down stays listed");
    host.up();
    signpost.await_truth(&network).await;
    assert_eq!((host.requests(GET_REPO), host.requests(LIST_REPOS)), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_its_first_event_leaves_no_gap() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    assert_eq!(signpost.index().host_cursor(host.name()), None);
    host.down().await;
    host.put_record(&did, CREW, "one", json!({}));
    host.up();
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_numbering_starts_again_is_compared_and_followed_anew() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    host.down().await;
    host.put_record(&did, CREW, "two", json!({}));
    host.reset_sequence();
    host.up();
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    assert_eq!(host.requests(GET_REPO), 2);
    host.put_record(&did, CREW, "three", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!(signpost.index().host_cursor(host.name()), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_forgot_events_is_compared_whole() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let unchanged = host.create_account(AccountOptions::default());
    host.put_record(&unchanged, CAPTAIN, "self", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    host.down().await;
    host.put_record(&did, CREW, "two", json!({}));
    host.delete_record(&did, CAPTAIN, "self");
    host.forget_events(host.latest_seq());
    host.up();
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    assert_eq!(host.requests(GET_REPO), 3, "only the repo that changed is fetched again");
}
