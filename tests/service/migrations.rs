//! An account moves between honest hosts: before its first write there, after it, later than we know of it, with its keys.

use std::time::Instant;

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::{Signpost, comparing};
use crate::{CAPTAIN, CREW, GET_REPO};

const AUDIT_LOG: &str = "plc/log/audit";

/// An account on the first of two hosts that are both followed.
async fn two_hosts(options: AccountOptions) -> (Network, FakeHost, FakeHost, String, Signpost) {
    let network = Network::start().await;
    let (old, new) = (network.add_host(), network.add_host());
    let did = old.create_account(options);
    old.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    let neighbour = new.create_account(AccountOptions::default());
    new.put_record(&neighbour, CREW, "neighbour", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&old, &new]).await;
    (network, old, new, did, signpost)
}

/// It is listed, from its new host, and what it writes there is followed without a fetch.
async fn lives_at(network: &Network, host: &FakeHost, did: &str, signpost: &Signpost) {
    signpost.await_truth(network).await;
    signpost.await_status(did, None).await;
    signpost.await_listed(CAPTAIN, &[did]).await;
    signpost.await_repos_idle().await;
    host.put_record(did, CREW, "first", json!({}));
    signpost.await_heard_only(host).await;
    signpost.await_repos_idle().await;
    let before = host.requests(GET_REPO);
    host.put_record(did, CREW, "second", json!({}));
    signpost.await_heard_only(host).await;
    signpost.await_truth(network).await;
    assert_eq!(host.requests(GET_REPO), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moved_is_listed_before_its_first_write_there() {
    for options in [AccountOptions::default(), AccountOptions::web()] {
        let (network, old, new, did, signpost) = two_hosts(options).await;
        let log = Fault::Status { method: AUDIT_LOG, code: 502 };
        network.plc_fault(log.clone(), FaultScope::Always);
        let since = Instant::now();
        old.move_account(&did, &new);
        signpost.await_repo_host(&did, &new).await;
        assert_eq!(network.plc_fired(&log), 0, "the tree was verified before: nobody has to vouch for its key");
        println!("| migration of {did}, no write yet | claim | DID document | {:?} |", since.elapsed());
        lives_at(&network, &new, &did, &signpost).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_host_replays_after_a_migration_changes_nothing() {
    let (network, old, new, did, signpost) = two_hosts(AccountOptions::default()).await;
    old.put_record(&did, CREW, "before", json!({}));
    signpost.await_heard(&old).await;
    old.move_account(&did, &new);
    lives_at(&network, &new, &did, &signpost).await;
    signpost.await_heard(&old).await;
    old.fault(Fault::ReplaysAll, FaultScope::Next(1));
    old.restart().await;
    old.wait_fired(&Fault::ReplaysAll, 1).await;
    signpost.await_heard(&old).await;
    signpost.await_status(&did, None).await;
    // What is still said of it over there: refused.
    old.activate(&did);
    signpost.await_host_report(&old, "the claim fails", |report| report["queue"]["failed"] == 1).await;
    old.put_record(&did, CREW, "behind", json!({}));
    signpost.await_heard(&old).await;
    signpost.await_truth(&network).await;
    signpost.await_status(&did, None).await;
    assert!(signpost.outcomes("account", "rejected_other_host").await >= 1.0);
    assert!(signpost.outcomes("commit", "rejected_other_host").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_new_host_is_crawled_later_is_unlisted_until_then() {
    let network = Network::start().await;
    let (old, new) = (network.add_host(), network.add_host());
    let did = old.create_account(AccountOptions::default());
    old.put_record(&did, CAPTAIN, "self", json!({}));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&old]).await;
    // Its old host says nothing of its leaving but an #identity.
    old.fault(Fault::DroppedEvent, FaultScope::Next(1));
    old.move_account(&did, &new);
    assert_eq!(old.fired(&Fault::DroppedEvent), 1);
    old.change_handle(&did, "moved.test");
    signpost.await_listed(CAPTAIN, &[]).await;
    assert_eq!(signpost.repo_status(&did).await["active"], false);
    signpost
        .await_host_report(&old, "the reason shows", |report| {
            report["last_error"].as_str().is_some_and(|error| error.contains(new.name()))
        })
        .await;
    let since = Instant::now();
    signpost.request_crawl(&new).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    println!("| migration to a host that is crawled later | new host's list | DID document | {:?} |", since.elapsed());
    lives_at(&network, &new, &did, &signpost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_we_never_verified_waits_for_the_audit_log_until_it_comes() {
    let network = Network::start().await;
    let (old, new) = (network.add_host(), network.add_host());
    let did = old.create_account(AccountOptions::default());
    old.put_record(&did, CAPTAIN, "self", json!({}));
    old.move_account(&did, &new);
    let down = Fault::Status { method: AUDIT_LOG, code: 502 };
    network.plc_fault(down.clone(), FaultScope::Next(3));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&new).await;
    network.wait_plc_fired(&down, 1).await;
    signpost
        .await_host_report(&new, "the reason shows", |report| {
            report["last_error"].as_str().is_some_and(|error| error.contains("502"))
        })
        .await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]), "nothing is listed before it is verified");
    network.wait_plc_fired(&down, 3).await;
    lives_at(&network, &new, &did, &signpost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_rotated_without_a_word_is_found_by_its_signature_and_the_next_within_a_minute_by_comparison() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let signpost = Signpost::start_with(&network, comparing()).await;
    signpost.follow(&network, [&host]).await;
    for (rotation, outcome) in ["desync_bad_signature", "rejected_bad_signature"].into_iter().enumerate() {
        host.fault(Fault::DroppedEvent, FaultScope::Next(1));
        host.rotate_key(&did);
        assert_eq!(host.fired(&Fault::DroppedEvent), rotation + 1);
        host.put_record(&did, CREW, "one", json!({ "rotation": rotation }));
        let since = Instant::now();
        signpost.await_truth(&network).await;
        assert_eq!(signpost.outcomes("commit", outcome).await, 1.0);
        println!("| key rotated without #identity | {outcome} | {:?} |", since.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_did_web_document_that_fails_for_a_while_unlists_nobody() {
    for code in [404, 410, 500] {
        let network = Network::start().await;
        let host = network.add_host();
        let did = host.create_account(AccountOptions::web());
        host.put_record(&did, CAPTAIN, "self", json!({}));
        let signpost = Signpost::start(&network).await;
        signpost.follow(&network, [&host]).await;
        let gone = Fault::Status { method: "did.json", code };
        host.fault(gone.clone(), FaultScope::Always);
        host.change_handle(&did, "another.test");
        host.fault(Fault::WrongSince, FaultScope::Next(1));
        host.put_record(&did, CREW, "one", json!({}));
        host.wait_fired(&gone, 3).await;
        assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![did.clone()]), "{code}");
        host.clear(&gone);
        signpost.await_truth(&network).await;
        assert_eq!(signpost.listed(CREW).await, Ok(vec![did]));
    }
}
