//! One account and two hosts: it moves, or one of them lies. The DID document decides.

use fake_network::{AccountOptions, Damage, FakeHost, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW};

/// Everything that a hostile host can say of an account that does not live on it, and one account that does.
async fn lie(signpost: &Signpost, hostile: &FakeHost, did: &str) {
    hostile.put_record(did, CAPTAIN, "self", json!({ "owner": "mallory" }));
    hostile.put_record(did, CREW, "mallory", json!({}));
    signpost.await_heard(hostile).await;
    hostile.deactivate(did);
    signpost.await_heard(hostile).await;
    hostile.activate(did);
    signpost.await_heard(hostile).await;
    hostile.take_down(did);
    signpost.await_heard(hostile).await;
    hostile.untake_down(did);
    signpost.await_heard(hostile).await;
    hostile.change_handle(did, "mallory.test");
    signpost.await_heard(hostile).await;
    hostile.delete_account(did);
    signpost.await_heard(hostile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_claims_anothers_account_changes_nothing() {
    let network = Network::start().await;
    let (host, hostile) = (network.add_host(), network.add_host());
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({ "owner": "alice" }));
    hostile.claim_account(&did, &host);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    signpost.request_crawl(&hostile).await;
    hostile.wait_for_subscribers(1).await;
    signpost.await_idle().await;
    lie(&signpost, &hostile, &did).await;
    signpost.await_truth(&network).await;
    signpost.await_status(&did, None).await;
    host.put_record(&did, CREW, "bob", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_taken_back_from_a_host_that_claimed_it_first() {
    let network = Network::start().await;
    let (host, hostile) = (network.add_host(), network.add_host());
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({ "owner": "alice" }));
    hostile.claim_account(&did, &host);
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&hostile).await;
    hostile.wait_for_subscribers(1).await;
    hostile.put_record(&did, CAPTAIN, "self", json!({ "owner": "mallory" }));
    signpost.await_host_report(&hostile, "the claim fails", |report| report["queue"]["failed"] == 1).await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
    hostile.take_down(&did);
    signpost.follow(&network, [&host]).await;
    signpost.await_status(&did, None).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    hostile.untake_down(&did);
    lie(&signpost, &hostile, &did).await;
    signpost.await_truth(&network).await;
    signpost.await_status(&did, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moves_is_followed_to_its_new_host() {
    let network = Network::start().await;
    let (old, new) = (network.add_host(), network.add_host());
    let did = old.create_account(AccountOptions::default());
    old.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    let neighbour = new.create_account(AccountOptions::default());
    new.put_record(&neighbour, CAPTAIN, "self", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&old).await;
    signpost.follow(&network, [&new]).await;

    old.move_account(&did, &new);
    new.put_record(&did, CREW, "one", json!({}));
    new.put_record(&did, CAPTAIN, "self", json!({ "version": 2 }));
    signpost.await_truth(&network).await;
    signpost.await_status(&did, None).await;
    signpost.await_heard(&new).await;
    signpost.await_heard(&old).await;
    new.put_record(&did, CREW, "two", json!({}));
    signpost.await_heard(&new).await;
    signpost.await_truth(&network).await;

    old.delete_account(&did);
    signpost.await_heard(&old).await;
    signpost.await_truth(&network).await;
    signpost.await_status(&did, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_its_old_host_deletes_after_it_moved_is_still_fetched_from_the_new_one() {
    let network = Network::start().await;
    let (old, new) = (network.add_host(), network.add_host());
    let did = old.create_account(AccountOptions::default());
    old.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&new).await;
    signpost.follow(&network, [&old]).await;
    new.wait_for_subscribers(1).await;
    // The new host's repo is being fetched when the old host says its last words.
    let fetch = Fault::Stall { method: crate::GET_REPO };
    new.fault(fetch.clone(), FaultScope::Always);
    old.move_account(&did, &new);
    new.put_record(&did, CREW, "one", json!({}));
    new.wait_fired(&fetch, 1).await;
    old.delete_account(&did);
    crate::await_condition::await_condition("the old host is heard", async || {
        match signpost.index().host_cursor(old.name()) {
            cursor if cursor == Some(old.latest_seq()) => Ok(()),
            cursor => Err(format!("at {cursor:?}")),
        }
    })
    .await;
    new.clear(&fetch);
    signpost.await_truth(&network).await;
    signpost.await_listed(CREW, &[&did]).await;
    signpost.await_status(&did, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moved_to_an_unknown_host_is_found_when_that_one_announces_itself() {
    let network = Network::start().await;
    let (old, new) = (network.add_host(), network.add_host());
    let did = old.create_account(AccountOptions::default());
    old.put_record(&did, CAPTAIN, "self", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&old]).await;
    old.move_account(&did, &new);
    new.put_record(&did, CREW, "one", json!({}));
    signpost.await_status(&did, Some("deactivated")).await;
    signpost.await_listed(CAPTAIN, &[]).await;
    signpost.follow(&network, [&new]).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    new.put_record(&did, CREW, "two", json!({}));
    signpost.await_heard(&new).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_not_listed_from_a_host_that_its_did_document_does_not_name() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    network.set_pds(&did, "http://localhost:1");
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    signpost.await_host_report(&host, "the repo fails", |report| report["queue"]["failed"] == 1).await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
    assert_eq!(host.requests(crate::GET_REPO), 0, "nothing is fetched before the document is read");
    network.set_pds(&did, &host.origin());
    signpost.await_listed(CAPTAIN, &[&did]).await;
    host.wait_for_subscribers(1).await;
    host.fault(Fault::Event(Damage::WrongKey), FaultScope::Next(1));
    host.put_record(&did, CREW, "one", json!({}));
    host.wait_fired(&Fault::Event(Damage::WrongKey), 1).await;
    // Its key was resolved a moment ago, so the bad commit is refused; the one after it shows that one is missing.
    host.put_record(&did, CREW, "two", json!({}));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moves_there_and_back_ends_with_the_truth() {
    let network = Network::start().await;
    let (first, second) = (network.add_host(), network.add_host());
    let did = first.create_account(AccountOptions::default());
    first.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&first, &second]).await;
    for round in 0..3 {
        first.move_account(&did, &second);
        second.put_record(&did, CREW, "there", json!({ "round": round }));
        signpost.await_truth(&network).await;
        signpost.await_heard(&first).await;
        signpost.await_heard(&second).await;
        signpost.await_status(&did, None).await;
        second.move_account(&did, &first);
        first.put_record(&did, CREW, "back", json!({ "round": round }));
        signpost.await_truth(&network).await;
        signpost.await_heard(&first).await;
        signpost.await_heard(&second).await;
        signpost.await_status(&did, None).await;
    }
}
