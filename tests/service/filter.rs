//! Another filter at the next start.

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network};
use serde_json::{Value, json};

use crate::await_condition::await_condition;
use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW, GET_REPO, POST};

async fn followed_accounts() -> (Network, FakeHost, Vec<String>, Signpost) {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(3);
    for did in &dids {
        host.put_record(did, CAPTAIN, "self", json!({}));
        host.put_record(did, CREW, "one", json!({}));
        host.put_record(did, POST, "one", json!({ "text": "hello" }));
    }
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    // From here on there is a cursor to come back to.
    host.put_record(&dids[0], CREW, "heard", json!({}));
    signpost.await_heard(&host).await;
    (network, host, dids, signpost)
}

async fn ready(signpost: &Signpost) -> (u16, Value) {
    let answer = signpost.get_internal("/ready").await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_filter_fetches_every_repo_again_and_lists_nothing_partial() {
    let (network, host, dids, signpost) = followed_accounts().await;
    assert_eq!(ready(&signpost).await.1["index_complete"], true);
    let refusal = signpost.listed(POST).await.unwrap_err();
    assert!(refusal.contains("InvalidRequest") && refusal.contains("io.atcr.*"), "{refusal}");
    let slow = Fault::Stall { method: GET_REPO };
    host.fault(slow.clone(), FaultScope::Always);
    let signpost = signpost.restart_with_filter("io.atcr.*,app.bsky.feed.post").await;
    host.wait_fired(&slow, 3).await;
    let (status, body) = ready(&signpost).await;
    assert_eq!((status, &body["index_complete"], &body["repos_to_reindex"]), (200, &json!(false), &json!(3)), "{body}");
    let refusal = signpost.listed(POST).await.unwrap_err();
    assert!(refusal.starts_with("503"), "{refusal}");
    let dids: Vec<&str> = dids.iter().map(String::as_str).collect();
    signpost.await_listed(CAPTAIN, &dids).await;

    host.clear(&slow);
    await_condition("the new collection is listed", async || signpost.listed(POST).await).await;
    signpost.await_listed(POST, &dids).await;
    assert_eq!(ready(&signpost).await.1["index_complete"], true);
    let is_wanted = |collection: &str| collection.starts_with("io.atcr.") || collection == POST;
    signpost.index().equals(&network, is_wanted).unwrap();
    host.wait_for_subscribers(1).await;
    host.put_record(dids[0], POST, "two", json!({ "text": "live" }));
    signpost.await_heard(&host).await;
    signpost.index().equals(&network, is_wanted).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_filter_survives_a_restart_in_the_middle() {
    let (network, host, dids, signpost) = followed_accounts().await;
    let slow = Fault::Stall { method: GET_REPO };
    host.fault(slow.clone(), FaultScope::Always);
    let signpost = signpost.restart_with_filter("*").await;
    host.wait_fired(&slow, 1).await;
    let signpost = signpost.restart_with_filter("*").await;
    assert!(signpost.listed(POST).await.unwrap_err().starts_with("503"));
    host.clear(&slow);
    let dids: Vec<&str> = dids.iter().map(String::as_str).collect();
    await_condition("the new collection is listed", async || signpost.listed(POST).await).await;
    signpost.await_listed(POST, &dids).await;
    signpost.index().equals(&network, |_| true).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_filter_drops_what_no_longer_matches_and_fetches_nothing() {
    let (network, host, dids, signpost) = followed_accounts().await;
    let signpost = signpost.restart_with_filter(CREW).await;
    signpost.index().equals(&network, |collection| collection == CREW).unwrap();
    let refusal = signpost.listed(CAPTAIN).await.unwrap_err();
    assert!(refusal.starts_with("400") && refusal.contains(CREW), "{refusal}");
    signpost.await_listed(CREW, &dids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(ready(&signpost).await.1["index_complete"], true);
    host.wait_for_subscribers(1).await;
    host.put_record(&dids[0], CAPTAIN, "self", json!({ "changed": true }));
    host.put_record(&dids[0], CREW, "two", json!({}));
    signpost.await_heard(&host).await;
    signpost.index().equals(&network, |collection| collection == CREW).unwrap();
    assert_eq!(host.requests(GET_REPO), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_wider_than_the_filter_is_refused_by_name() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, "io.atcrx.thing", "one", json!({}));
    host.put_record(&did, "io.atcr.hold.crew", "one", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    for collection in ["io.*", "*", "io.atcrx.thing"] {
        let refusal = signpost.listed(collection).await.unwrap_err();
        assert!(refusal.starts_with("400") && refusal.contains("io.atcr.*"), "{refusal}");
    }
    signpost.await_listed("io.atcr.*", &[&did]).await;
    signpost.await_listed("io.atcr.nobody.has.this", &[]).await;
}
