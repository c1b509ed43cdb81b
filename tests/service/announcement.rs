//! From requestCrawl to the list: the backfill, and what is written while it runs.

use std::time::Duration;

use fake_network::{AccountOptions, Curve, DocumentForm, Fault, FaultScope, Network, Write};
use serde_json::json;

use crate::signpost::{Signpost, impatient, patient};
use crate::{CAPTAIN, CREW, DESCRIBE_SERVER, GET_REPO, LIST_REPOS, POST, SUBSCRIBE_REPOS};

#[tokio::test(flavor = "multi_thread")]
async fn records_from_before_the_announcement_are_listed_and_later_writes_follow() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::web());
    host.put_record(&did, CAPTAIN, "self", json!({ "owner": "alice" }));
    host.put_record(&did, CREW, "bob", json!({ "role": "admin" }));
    host.put_record(&did, POST, "one", json!({ "text": "not for the index" }));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    signpost.await_truth(&network).await;
    host.wait_for_subscribers(1).await;

    host.put_record(&did, CREW, "carol", json!({ "role": "crew" }));
    host.put_record(&did, CREW, "bob", json!({ "role": "crew" }));
    host.put_record(&did, POST, "two", json!({ "text": "not for the index either" }));
    host.delete_record(&did, CREW, "carol");
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;

    host.delete_record(&did, CAPTAIN, "self");
    signpost.await_listed(CAPTAIN, &[]).await;
    signpost.await_listed("io.atcr.*", &[&did]).await;
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 1, "a good commit costs no request");
    assert_eq!(host.requests("did.json"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_did_document_and_both_curves_are_understood() {
    let network = Network::start().await;
    let host = network.add_host();
    let mut dids = vec![host.create_account(AccountOptions { curve: Curve::P256, ..AccountOptions::web() })];
    for curve in [Curve::K256, Curve::P256] {
        for document in [DocumentForm::Multikey, DocumentForm::Legacy] {
            dids.push(host.create_account(AccountOptions { curve, document, ..AccountOptions::default() }));
        }
    }
    for did in &dids {
        host.put_record(did, CAPTAIN, "self", json!({ "owner": did }));
    }
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    signpost.await_listed(CAPTAIN, &dids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for did in &dids {
        host.put_record(did, CREW, "one", json!({ "member": did }));
    }
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), dids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_announcement_fetches_nothing_again() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(3);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    let requests = || [DESCRIBE_SERVER, LIST_REPOS, GET_REPO, SUBSCRIBE_REPOS].map(|method| host.requests(method));
    let before = requests();
    signpost.request_crawl(&host).await;
    signpost.request_crawl(&host).await;
    // An event that is heard after them shows that they set nothing off.
    host.put_record(&dids[0], CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    assert_eq!(requests(), before);
    assert_eq!(before[2], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_down_is_not_public_and_is_crawled_at_its_next_announcement() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    host.down().await;
    let signpost = Signpost::start_with(&network, patient()).await;
    signpost.request_crawl(&host).await;
    signpost.await_host_report(&host, "the probe fails", |report| report["crawl"] == "failed").await;
    assert!(signpost.host_report(&host).await["last_error"].is_string());
    let hosts = signpost.get("/xrpc/com.atproto.sync.listHosts").await.json();
    assert_eq!(hosts["hosts"], json!([]), "a host that was never reached is not listed");
    let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name());
    assert_eq!(signpost.get(&path).await.json()["error"], "HostNotFound");

    host.up();
    signpost.request_crawl(&host).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    let status = signpost.get(&path).await.json();
    assert_eq!((&status["hostname"], &status["status"]), (&json!(host.name()), &json!("active")));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_repos_are_fetched_at_their_hosts_next_announcement() {
    // After the first the host's other repos may still be fetched, after the second nothing is asked of it for a while.
    for code in [500, 502] {
        let network = Network::start().await;
        let host = network.add_host();
        let did = host.create_account(AccountOptions::default());
        host.put_record(&did, CAPTAIN, "self", json!({}));
        let fault = Fault::Status { method: GET_REPO, code };
        host.fault(fault.clone(), FaultScope::Next(1));
        let signpost = Signpost::start_with(&network, patient()).await;
        signpost.request_crawl(&host).await;
        host.wait_fired(&fault, 1).await;
        signpost.await_host_report(&host, "the fetch fails", |report| report["queue"]["failed"] == 1).await;
        assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
        signpost.request_crawl(&host).await;
        signpost.await_listed(CAPTAIN, &[&did]).await;
        assert_eq!(host.requests(GET_REPO), 2);
    }
}

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

async fn await_held(signpost: &Signpost, events: i64) {
    crate::await_condition::await_condition("events are held", async || {
        match signpost.index().number("SELECT count(*) FROM held_events", []) {
            held if held == events => Ok(()),
            held => Err(format!("{held} of {events}")),
        }
    })
    .await;
}

async fn await_cursor(signpost: &Signpost, host: &fake_network::FakeHost) {
    crate::await_condition::await_condition("every event is read", async || {
        match signpost.index().host_cursor(host.name()) {
            cursor if cursor == Some(host.latest_seq()) => Ok(()),
            cursor => Err(format!("at {cursor:?}")),
        }
    })
    .await;
}
