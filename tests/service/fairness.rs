//! A host with many accounts and a host with one.

use fake_network::{AccountOptions, Damage, FakeHost, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW, GET_RECORD, GET_REPO};

fn hold(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::web());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    (host, did)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_host_does_not_delay_a_hold_that_announces_itself_later() {
    let network = Network::start().await;
    let large = network.add_host();
    large.create_accounts(3000);
    let (first, first_did) = hold(&network);
    let (second, second_did) = hold(&network);
    let slow = Fault::Stall { method: GET_RECORD };
    large.fault(slow.clone(), FaultScope::Always);
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&large).await;
    large.wait_fired(&slow, 4).await;
    signpost.await_host_report(&large, "its repos are listed", |report| report["repos"] == 3000).await;

    // While every worker that the large host may have waits for it.
    signpost.request_crawl(&first).await;
    signpost.await_listed(CAPTAIN, &[&first_did]).await;
    assert_eq!(large.requests(GET_RECORD), 4);

    // While the large host answers as fast as it can.
    large.clear(&slow);
    large.wait_requests(GET_RECORD, 20).await;
    let before = large.requests(GET_RECORD);
    signpost.request_crawl(&second).await;
    signpost.await_listed(CAPTAIN, &[&first_did, &second_did]).await;
    let meanwhile = large.requests(GET_RECORD) - before;
    assert!(meanwhile < 1000, "{meanwhile} repos of the large host came first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_that_cannot_be_fetched_stays_listed_and_does_not_block_its_neighbours() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(6);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    let broken = Fault::Repo(Damage::MissingNode);
    host.fault_for(&dids[0], broken.clone(), FaultScope::Always);
    host.fault(Fault::WrongSince, FaultScope::Next(6));
    dids.iter().for_each(|did| drop(host.put_record(did, CREW, "one", json!({}))));
    host.wait_fired(&broken, 3).await;
    signpost.await_listed(CREW, &dids[1..].iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(
        signpost.repo_status(&dids[0]).await,
        json!({ "did": dids[0], "active": true, "status": "desynchronized", "rev": signpost.repo_status(&dids[0]).await["rev"] })
    );
    assert!(signpost.listed(CAPTAIN).await.unwrap().contains(&dids[0]), "what is known of it stays listed");
    assert_eq!(signpost.metric("signpost_desynchronized_repos").await, 1.0);
    signpost.await_host_report(&host, "it shows", |report| report["queue"]["failed"] == 1).await;
    assert!(host.requests(GET_REPO) < 6 + 5 + 12, "it is tried less and less");
    host.clear(&broken);
    signpost.await_truth(&network).await;
}
