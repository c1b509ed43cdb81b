//! Accounts: status, deletion, handles and keys, as their host tells them on the firehose.

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network, Status};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW, GET_REPO};

async fn followed_account() -> (Network, FakeHost, String, Signpost) {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    (network, host, did, signpost)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_listed_only_while_it_is_active() {
    let (network, host, did, signpost) = followed_account().await;
    let reasons =
        [(Status::Deactivated, "deactivated"), (Status::Takendown, "takendown"), (Status::Suspended, "suspended")];
    for (status, name) in reasons {
        host.set_inactive(&did, status);
        signpost.await_listed(CAPTAIN, &[]).await;
        signpost.await_status(&did, Some(name)).await;
        if status == Status::Takendown {
            host.untake_down(&did);
        } else {
            host.activate(&did);
        }
        signpost.await_listed(CAPTAIN, &[&did]).await;
        signpost.await_status(&did, None).await;
        signpost.await_truth(&network).await;
    }
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_an_account_is_inactive_shows_when_it_is_back() {
    let (network, host, did, signpost) = followed_account().await;
    host.deactivate(&did);
    host.put_record(&did, CREW, "one", json!({}));
    host.delete_record(&did, CAPTAIN, "self");
    signpost.await_status(&did, Some("deactivated")).await;
    host.activate(&did);
    signpost.await_listed(CREW, &[&did]).await;
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_loses_its_rows_and_stays_known_as_deleted() {
    let (network, host, did, signpost) = followed_account().await;
    host.delete_account(&did);
    signpost.await_status(&did, Some("deleted")).await;
    assert_eq!(signpost.repo_status(&did).await, json!({ "did": did, "active": false, "status": "deleted" }));
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
    assert_eq!(signpost.index().number("SELECT count(*) FROM indexed_records", []), 0);
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_did_that_is_gone_from_its_directory_loses_its_rows() {
    for status in [404, 410] {
        let (network, host, did, signpost) = followed_account().await;
        network.tombstone(&did, status);
        // An #identity makes signpost look.
        host.change_handle(&did, "gone.test");
        signpost.await_status(&did, Some("deleted")).await;
        assert_eq!(signpost.index().number("SELECT count(*) FROM indexed_records", []), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_handle_costs_one_look_at_the_did_document_and_no_fetch() {
    let (network, host, did, signpost) = followed_account().await;
    let before = network.plc_requests();
    host.change_handle(&did, "another.test");
    signpost.await_heard(&host).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!((network.plc_requests(), host.requests(GET_REPO)), (before + 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_used_from_its_first_commit_on() {
    let (network, host, did, signpost) = followed_account().await;
    for number in 0..3 {
        host.rotate_key(&did);
        host.put_record(&did, CREW, &number.to_string(), json!({}));
        signpost.await_heard(&host).await;
        signpost.await_truth(&network).await;
    }
    // Together, so that the later key is in the directory before the earlier commit is looked at.
    for number in 3..6 {
        host.rotate_key(&did);
        host.put_record(&did, CREW, &number.to_string(), json!({}));
    }
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changed_without_a_word_is_found_by_the_first_commit_that_it_signs() {
    let (network, host, did, signpost) = followed_account().await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(1));
    host.rotate_key(&did);
    assert_eq!(host.fired(&Fault::DroppedEvent), 1);
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_throttled_stays_listed_with_its_status() {
    let (network, host, did, signpost) = followed_account().await;
    host.set_inactive(&did, Status::Throttled);
    signpost.await_heard(&host).await;
    let status = signpost.repo_status(&did).await;
    assert_eq!((&status["active"], &status["status"]), (&json!(true), &json!("throttled")));
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    assert_eq!(host.requests(GET_REPO), 1);
}
