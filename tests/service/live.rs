//! Accounts that appear, and many that write at once. What is wrong with a commit is in verdicts.rs.

use fake_network::{AccountOptions, Network};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW, GET_RECORD, GET_REPO};

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
    // They had nothing that matches when they were taken in: one call showed it, and nothing was fetched since.
    assert_eq!((host.requests(GET_RECORD), host.requests(GET_REPO)), (20, 0));
}
