//! From requestCrawl to the list; a host that asks again, and one that was down when it asked.

use fake_network::{AccountOptions, Curve, DocumentForm, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::{Signpost, patient};
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
async fn a_firehose_that_is_down_is_dialled_at_its_hosts_next_announcement() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    host.fault(Fault::AcceptThenClose, FaultScope::Next(1));
    let signpost = Signpost::start_with(&network, patient()).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&Fault::AcceptThenClose, 1).await;
    signpost.await_truth(&network).await;
    let is_down = |report: &serde_json::Value| report["connected"] == false && report["last_error"].is_string();
    signpost.await_host_report(&host, "the firehose is down", is_down).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.request_crawl(&host).await;
    host.wait_for_subscribers(1).await;
    signpost.await_truth(&network).await;
}
