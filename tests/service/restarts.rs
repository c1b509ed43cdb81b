//! Stopping in order and starting again, in this process.

use fake_network::{AccountOptions, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW, GET_REPO, LIST_REPOS};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_signpost_goes_on_from_its_cursor_and_fetches_nothing() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    let signpost = signpost
        .restart_after(async || {
            host.wait_for_subscribers(0).await;
            host.put_record(&did, CREW, "two", json!({}));
            host.delete_record(&did, CREW, "one");
        })
        .await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![did]), "the list is there at once");
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!((host.requests(GET_REPO), host.requests(LIST_REPOS)), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_cursor_outlives_a_restart() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(5);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    let path = "/xrpc/com.atproto.sync.listReposByCollection?limit=3&collection=io.atcr.hold.captain";
    let first = signpost.get(path).await.json();
    let signpost = signpost.restart().await;
    let second = signpost.get(&format!("{path}&cursor={}", first["cursor"].as_str().unwrap())).await.json();
    let mut walked: Vec<&str> = [&first, &second]
        .iter()
        .flat_map(|page| page["repos"].as_array().unwrap())
        .map(|repo| repo["did"].as_str().unwrap())
        .collect();
    walked.sort();
    let mut expected: Vec<&str> = dids.iter().map(String::as_str).collect();
    expected.sort();
    assert_eq!(walked, expected);
    assert!(second.get("cursor").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_backfill_leaves_nothing_half_done() {
    let network = Network::start().await;
    let host = network.add_host();
    for did in host.create_accounts(40) {
        (0..5).for_each(|number| drop(host.put_record(&did, CREW, &number.to_string(), json!({}))));
    }
    let slow = Fault::Stall { method: GET_REPO };
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_requests(GET_REPO, 10).await;
    host.fault(slow.clone(), FaultScope::Always);
    host.wait_fired(&slow, 4).await;
    let signpost = signpost.restart_after(async || host.clear(&slow)).await;
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    assert!(host.requests(GET_REPO) <= 44, "only what was under way is fetched twice");
}
