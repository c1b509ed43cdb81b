//! A host with many accounts and a host with one.

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, GET_REPO};

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
    let slow = Fault::Stall { method: GET_REPO };
    large.fault(slow.clone(), FaultScope::Always);
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&large).await;
    large.wait_fired(&slow, 4).await;
    signpost.await_host_report(&large, "its repos are listed", |report| report["repos"] == 3000).await;

    // While every worker that the large host may have waits for it.
    signpost.request_crawl(&first).await;
    signpost.await_listed(CAPTAIN, &[&first_did]).await;
    assert_eq!(large.requests(GET_REPO), 4);

    // While the large host answers as fast as it can.
    large.clear(&slow);
    large.wait_requests(GET_REPO, 20).await;
    let before = large.requests(GET_REPO);
    signpost.request_crawl(&second).await;
    signpost.await_listed(CAPTAIN, &[&first_did, &second_did]).await;
    let meanwhile = large.requests(GET_REPO) - before;
    assert!(meanwhile < 1000, "{meanwhile} repos of the large host came first");
}
