//! The backfill: the firehose first, and what happens to an account while its repo is being fetched.

use std::time::Duration;

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network, Write};
use serde_json::json;

use crate::await_condition::await_condition;
use crate::signpost::{Signpost, impatient};
use crate::{CAPTAIN, CREW, DESCRIBE_SERVER, GET_REPO, LIST_REPOS, POST, SUBSCRIBE_REPOS};

#[tokio::test(flavor = "multi_thread")]
async fn repos_are_not_listed_before_the_firehose_is_connected() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let refusal = Fault::Status { method: SUBSCRIBE_REPOS, code: 503 };
    host.fault(refusal.clone(), FaultScope::Always);
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&refusal, 4).await;
    assert_eq!(host.requests(LIST_REPOS), 0);
    host.clear(&refusal);
    signpost.await_listed(CAPTAIN, &[&did]).await;
    assert_eq!(host.requests(LIST_REPOS), 2, "one page with the account, and an empty one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_firehose_is_backfilled_and_listed_again_once_it_connects() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let refusal = Fault::Status { method: SUBSCRIBE_REPOS, code: 426 };
    host.fault(refusal.clone(), FaultScope::Always);
    let mut timing = impatient();
    timing.crawl.firehose_wait = Duration::from_millis(200);
    let signpost = Signpost::start_with(&network, timing).await;
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    let fired = host.fired(&refusal);
    assert!(fired > 0);

    host.put_record(&did, CREW, "one", json!({ "written": "between" }));
    host.delete_record(&did, CAPTAIN, "self");
    let newcomer = host.create_account(AccountOptions::default());
    host.put_record(&newcomer, CAPTAIN, "self", json!({}));
    host.wait_fired(&refusal, fired + 1).await;
    host.clear(&refusal);
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    assert_eq!(host.requests(LIST_REPOS), 4, "two listings of two pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lacks_describe_server_is_known_by_its_list() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::web());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let lacking = Fault::Status { method: DESCRIBE_SERVER, code: 501 };
    host.fault(lacking.clone(), FaultScope::Always);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    assert_eq!(host.fired(&lacking), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_during_a_fetch_are_held_and_applied_after_it() {
    let (network, host, did, signpost, slow) = account_in_fetch().await;
    host.put_record(&did, CAPTAIN, "self", json!({ "version": 2 }));
    host.delete_record(&did, CREW, "gone");
    host.put_record(&did, CREW, "new", json!({}));
    await_held(&signpost, 3).await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]), "nothing is listed before it is verified");
    host.clear(&slow);
    signpost.await_truth(&network).await;
    signpost.await_heard(&host).await;
    assert_eq!(host.requests(GET_REPO), 1, "the held events continue the fetched repo");
    assert_eq!(signpost.metric("signpost_events_total{kind=\"commit\",outcome=\"held\"}").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_writes_than_are_held_cause_another_fetch() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let slow = Fault::Stall { method: GET_REPO };
    host.fault(slow.clone(), FaultScope::Next(1));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&slow, 1).await;
    (0..100).for_each(|number| drop(host.put_record(&did, CREW, &number.to_string(), json!({}))));
    await_cursor(&signpost, &host).await;
    host.clear(&slow);
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    assert_eq!(host.requests(GET_REPO), 2);
    host.put_record(&did, CREW, "after", json!({}));
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 2, "the chain of commits holds again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_repo_is_indexed_whole() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    let record = |number: usize| {
        let collection = [CAPTAIN, CREW, POST][number % 3];
        Write::put(collection, &format!("record-{number}"), json!({ "number": number }))
    };
    host.load_records(&did, (0..3000).map(record));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    host.put_record(&did, CREW, "after", json!({}));
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 1);
}

/// An account whose repo is on its way, and stays there until the fault is cleared.
async fn account_in_fetch() -> (Network, FakeHost, String, Signpost, Fault) {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    host.put_record(&did, CREW, "gone", json!({}));
    let slow = Fault::Stall { method: GET_REPO };
    host.fault(slow.clone(), FaultScope::Next(1));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&slow, 1).await;
    (network, host, did, signpost, slow)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_switched_off_during_its_fetch_stays_off() {
    let (network, host, did, signpost, slow) = account_in_fetch().await;
    host.put_record(&did, CREW, "one", json!({}));
    host.deactivate(&did);
    signpost.await_status(&did, Some("deactivated")).await;
    host.clear(&slow);
    signpost.await_heard(&host).await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
    host.activate(&did);
    signpost.await_listed(CREW, &[&did]).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_switched_off_and_on_during_its_fetch_is_listed() {
    let (network, host, did, signpost, slow) = account_in_fetch().await;
    host.deactivate(&did);
    host.put_record(&did, CREW, "one", json!({}));
    host.activate(&did);
    await_cursor(&signpost, &host).await;
    host.clear(&slow);
    signpost.await_listed(CREW, &[&did]).await;
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_deleted_during_its_fetch_leaves_no_row() {
    let (_network, host, did, signpost, slow) = account_in_fetch().await;
    host.delete_account(&did);
    signpost.await_status(&did, Some("deleted")).await;
    host.clear(&slow);
    signpost.await_heard(&host).await;
    assert_eq!(signpost.index().number("SELECT count(*) FROM indexed_records", []), 0);
    signpost.await_status(&did, Some("deleted")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rotated_during_the_fetch_is_taken_from_the_document_again() {
    let (network, host, did, signpost, slow) = account_in_fetch().await;
    host.rotate_key(&did);
    host.put_record(&did, CREW, "one", json!({}));
    await_cursor(&signpost, &host).await;
    host.clear(&slow);
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

async fn await_held(signpost: &Signpost, events: i64) {
    await_condition("events are held", async || {
        match signpost.index().number("SELECT count(*) FROM held_events", []) {
            held if held == events => Ok(()),
            held => Err(format!("{held} of {events}")),
        }
    })
    .await;
}

async fn await_cursor(signpost: &Signpost, host: &FakeHost) {
    await_condition("every event is read", async || match signpost.index().host_cursor(host.name()) {
        cursor if cursor == Some(host.latest_seq()) => Ok(()),
        cursor => Err(format!("at {cursor:?}")),
    })
    .await;
}
