//! Repos without a match are followed without an identity: what is checked all the same, and what has the identity asked for.

use fake_network::{AccountOptions, Damage, FakeHost, Fault, FaultScope, Network, Write};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, GET_BLOCKS, GET_RECORD, GET_REPO, POST};

/// An account with enough records for a tree of several nodes, none of which matches.
fn account(host: &FakeHost) -> String {
    let did = host.create_account(AccountOptions::default());
    host.load_records(&did, (0..30).map(|number| Write::put(POST, &number.to_string(), json!({ "number": number }))));
    did
}

async fn followed() -> (Network, FakeHost, String, Signpost) {
    let network = Network::start().await;
    let host = network.add_host();
    let did = account(&host);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    assert_eq!((network.plc_requests(), fetches(&host)), (0, 1));
    (network, host, did, signpost)
}

fn fetches(host: &FakeHost) -> usize {
    [GET_REPO, GET_RECORD, GET_BLOCKS].map(|method| host.requests(method)).iter().sum()
}

fn post(host: &FakeHost, did: &str, text: &str) {
    host.put_record(did, POST, text, json!({ "text": text }));
}

async fn is_hearsay(signpost: &Signpost, did: &str) {
    assert_eq!(signpost.repo_status(did).await["error"], "RepoNotFound");
    assert_eq!(signpost.index().number("SELECT count(*) FROM identities", []), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_commits_are_followed_and_the_first_match_has_its_identity_asked_for() {
    let (network, host, did, signpost) = followed().await;
    for text in ["one", "two", "three"] {
        post(&host, &did, text);
    }
    host.change_handle(&did, "another.test");
    host.send_sync(&did);
    signpost.await_heard(&host).await;
    assert_eq!(signpost.outcomes("commit", "applied").await, 3.0);
    assert_eq!(signpost.outcomes("identity", "ignored_no_identity").await, 1.0);
    is_hearsay(&signpost, &did).await;
    host.put_record(&did, CAPTAIN, "self", json!({}));
    post(&host, &did, "four");
    signpost.await_listed(CAPTAIN, &[&did]).await;
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    signpost.await_status(&did, None).await;
    assert_eq!(signpost.outcomes("commit", "identify").await, 1.0);
    assert_eq!((network.plc_requests(), fetches(&host)), (1, 1), "a look-up, and no fetch");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_but_the_signature_is_checked() {
    for (fault, outcome) in [
        (Fault::WrongSince, "desync_since"),
        (Fault::WrongPrevData, "desync_prev_data"),
        (Fault::MissingOp, "desync_bad_ops"),
        (Fault::TooBig, "desync_too_big"),
        (Fault::Event(Damage::MissingNode), "desync_bad_ops"),
        (Fault::Event(Damage::WrongDid), "desync_commit_mismatch"),
        (Fault::Event(Damage::FlippedBit), "desync_bad_blocks"),
        (Fault::Event(Damage::MissingCommit), "desync_bad_blocks"),
    ] {
        let (network, host, did, signpost) = followed().await;
        host.fault(fault.clone(), FaultScope::Next(1));
        post(&host, &did, "one");
        host.wait_fired(&fault, 1).await;
        signpost.await_heard(&host).await;
        assert_eq!(signpost.outcomes("commit", outcome).await, 1.0, "{fault:?}");
        post(&host, &did, "two");
        signpost.await_heard(&host).await;
        assert_eq!((network.plc_requests(), fetches(&host)), (0, 2), "{fault:?} is mended by an ordinary fetch");
        is_hearsay(&signpost, &did).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_that_a_stranger_signed_is_never_indexed() {
    let (network, host, did, signpost) = followed().await;
    host.forge_commit(&did);
    signpost.await_outcomes("commit", "identify", 1).await;
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!(fetches(&host), 2, "the repo is fetched, in which there is no match");
    is_hearsay(&signpost, &did).await;
    // What nobody checks changes nothing that anybody sees.
    let forged = Fault::Event(Damage::WrongKey);
    host.fault(forged.clone(), FaultScope::Next(1));
    post(&host, &did, "one");
    host.wait_fired(&forged, 1).await;
    host.put_record(&did, CAPTAIN, "self", json!({}));
    signpost.await_listed(CAPTAIN, &[&did]).await;
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_learnt_with_the_first_match() {
    let (network, host, did, signpost) = followed().await;
    host.rotate_key(&did);
    post(&host, &did, "one");
    host.put_record(&did, CAPTAIN, "self", json!({}));
    signpost.await_listed(CAPTAIN, &[&did]).await;
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!((network.plc_requests(), fetches(&host)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_anothers_account_first_gets_nothing_indexed_of_it() {
    let network = Network::start().await;
    let (host, hostile) = (network.add_host(), network.add_host());
    let did = account(&host);
    hostile.claim_account(&did, &host);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&hostile]).await;
    post(&hostile, &did, "one");
    signpost.await_heard(&hostile).await;
    is_hearsay(&signpost, &did).await;
    hostile.put_record(&did, CAPTAIN, "self", json!({ "owner": "mallory" }));
    signpost.await_outcomes("commit", "identify", 1).await;
    signpost.await_host_report(&hostile, "the job fails", |report| report["queue"]["failed"] == 1).await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
    // Its own host is believed at once.
    signpost.request_crawl(&host).await;
    signpost.await_repo_host(&did, &host).await;
    host.put_record(&did, CAPTAIN, "self", json!({ "owner": "alice" }));
    signpost.await_listed(CAPTAIN, &[&did]).await;
    hostile.put_record(&did, CAPTAIN, "self", json!({ "owner": "mallory again" }));
    signpost.await_heard_only(&hostile).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_moves_to_the_host_that_its_document_names() {
    let (network, old, did, signpost) = followed().await;
    let new = network.add_host();
    new.create_account(AccountOptions::default());
    signpost.follow(&network, [&new]).await;
    old.move_account(&did, &new);
    signpost.await_repo_host(&did, &new).await;
    new.put_record(&did, CAPTAIN, "self", json!({}));
    signpost.await_listed(CAPTAIN, &[&did]).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_switched_off_and_on_and_deleted_like_any_other() {
    let (network, host, did, signpost) = followed().await;
    host.deactivate(&did);
    signpost.await_status(&did, Some("deactivated")).await;
    host.activate(&did);
    signpost.await_heard(&host).await;
    post(&host, &did, "one");
    signpost.await_heard(&host).await;
    is_hearsay(&signpost, &did).await;
    host.put_record(&did, CAPTAIN, "self", json!({}));
    signpost.await_listed(CAPTAIN, &[&did]).await;
    signpost.await_truth(&network).await;
    host.delete_account(&did);
    signpost.await_listed(CAPTAIN, &[]).await;
    signpost.await_status(&did, Some("deleted")).await;
}
