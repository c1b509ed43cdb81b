//! Every verdict of docs/verdicts.md that a host can cause: the fault, the outcome that is counted, and what mended it.
//! `cargo test --test service verdicts -- --nocapture` prints them as a table.

use std::time::Instant;

use fake_network::{AccountOptions, Damage, FakeHost, Fault, FaultScope, Network, Write};
use serde_json::json;

use crate::signpost::{Signpost, comparing};
use crate::{CAPTAIN, CREW, GET_REPO, LIST_REPOS, POST};

/// What mends a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mended {
    /// Nothing has to.
    Harmless,
    /// The repo is fetched because of the event itself.
    ByFetch,
    /// The commit after it shows it, and the repo is fetched.
    ByNextCommit,
}

const VERDICTS: [(Fault, &str, Mended); 21] = [
    (Fault::WrongSince, "desync_since", Mended::ByFetch),
    (Fault::DroppedEvent, "desync_since", Mended::ByNextCommit),
    (Fault::WrongPrevData, "desync_prev_data", Mended::ByFetch),
    (Fault::MissingOp, "desync_bad_ops", Mended::ByFetch),
    (Fault::Event(Damage::MissingNode), "desync_bad_ops", Mended::ByFetch),
    (Fault::TooBig, "desync_too_big", Mended::ByFetch),
    (Fault::FrameOf(5_000_001), "desync_over_limit", Mended::ByFetch),
    (Fault::FrameOf(5_000_000), "applied", Mended::Harmless),
    (Fault::Event(Damage::WrongDid), "desync_commit_mismatch", Mended::ByFetch),
    (Fault::Event(Damage::FutureRev), "desync_commit_mismatch", Mended::ByFetch),
    (Fault::Event(Damage::FlippedBit), "desync_bad_blocks", Mended::ByFetch),
    (Fault::Event(Damage::MissingCommit), "desync_bad_blocks", Mended::ByFetch),
    (Fault::Event(Damage::MissingRecord), "desync_bad_blocks", Mended::ByFetch),
    (Fault::Event(Damage::Truncated), "desync_bad_blocks", Mended::ByFetch),
    (Fault::Event(Damage::TruncatedLength), "desync_bad_blocks", Mended::ByFetch),
    (Fault::Event(Damage::NoBlocks), "desync_bad_blocks", Mended::ByFetch),
    (Fault::BadRev, "rejected_bad_rev", Mended::ByNextCommit),
    (Fault::Event(Damage::DuplicateBlocks), "applied", Mended::Harmless),
    (Fault::Event(Damage::ExtraBlock), "applied", Mended::Harmless),
    (Fault::DuplicatedEvent, "ignored_old_rev", Mended::Harmless),
    (Fault::Legacy, "applied", Mended::Harmless),
];

/// An account with enough records for a tree of several nodes.
fn host_with_account(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.load_records(&did, (0..30).map(|number| Write::put(CREW, &number.to_string(), json!({ "number": number }))));
    (host, did)
}

async fn followed() -> (Network, FakeHost, String, Signpost) {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let (host, did) = host_with_account(&network);
    signpost.follow(&network, [&host]).await;
    (network, host, did, signpost)
}

/// One commit with an update, a create and a delete.
fn write(host: &FakeHost, did: &str) {
    let writes = vec![
        Write::put(CREW, "7", json!({ "number": "changed" })),
        Write::put(CAPTAIN, "self", json!({ "owner": did })),
        Write::delete(CREW, "9"),
    ];
    host.apply_writes(did, writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_commit_has_its_verdict_and_the_index_equals_the_truth_after_it() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let hosts: Vec<(FakeHost, String)> = VERDICTS.iter().map(|_| host_with_account(&network)).collect();
    signpost.follow(&network, hosts.iter().map(|(host, _)| host)).await;
    for ((host, did), (fault, outcome, mended)) in hosts.iter().zip(&VERDICTS) {
        let before = signpost.outcomes("commit", outcome).await;
        let since = Instant::now();
        host.fault(fault.clone(), FaultScope::Next(1));
        write(host, did);
        host.wait_fired(fault, 1).await;
        if *mended == Mended::ByNextCommit {
            host.put_record(did, CREW, "one", json!({}));
        }
        signpost.await_heard(host).await;
        signpost.await_truth(&network).await;
        println!("| {fault:?} | {outcome} | {mended:?} | {:?} |", since.elapsed());
        assert!(signpost.outcomes("commit", outcome).await > before, "{fault:?} is counted as {outcome}");
        let fetches = if *mended == Mended::Harmless { 1 } else { 2 };
        assert_eq!(host.requests(GET_REPO), fetches, "{fault:?}");
        host.put_record(did, CREW, "two", json!({}));
        signpost.await_heard(host).await;
        assert_eq!(host.requests(GET_REPO), fetches, "the chain of commits holds after {fault:?}");
    }
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_over_the_limits_of_the_protocol_is_fetched_and_one_at_them_is_applied() {
    let (network, host, did, signpost) = followed().await;
    let put = |from: usize, ops: usize, size: usize| {
        let text = "x".repeat(size);
        let writes = (from..from + ops)
            .map(|number| Write::put(CREW, &format!("n{number}"), json!({ "text": text, "n": number })));
        host.apply_writes(&did, writes.collect());
    };
    put(0, 200, 10);
    signpost.await_heard(&host).await;
    assert_eq!(host.requests(GET_REPO), 1, "200 ops are a commit");
    put(1000, 201, 10);
    signpost.await_heard(&host).await;
    assert_eq!(host.requests(GET_REPO), 2, "201 ops are too many");
    put(2000, 200, 11_000);
    signpost.await_heard(&host).await;
    assert_eq!(host.requests(GET_REPO), 3, "blocks of more than 2 MB are too many");
    assert_eq!(signpost.outcomes("commit", "desync_over_limit").await, 2.0);
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_forged_commits_cost_one_look_at_the_key_and_one_fetch() {
    let (network, host, did, signpost) = followed().await;
    (0..50).for_each(|_| host.forge_commit(&did));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!(signpost.outcomes("commit", "desync_bad_signature").await, 1.0);
    let fetches = host.requests(GET_REPO);
    assert_eq!((fetches, network.plc_requests()), (2, 2));
    // The key was asked for a moment ago.
    let rejected = signpost.outcomes("commit", "rejected_bad_signature").await;
    host.forge_commit(&did);
    signpost.await_heard(&host).await;
    assert_eq!(signpost.outcomes("commit", "rejected_bad_signature").await, rejected + 1.0);
    signpost.await_truth(&network).await;

    // The account itself is none the worse.
    host.put_record(&did, CREW, "real", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), fetches);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_signs_its_commits_badly_is_fetched_for_every_second_one_at_most() {
    for damage in [Damage::WrongKey, Damage::HighS] {
        let (network, host, did, signpost) = followed().await;
        host.fault(Fault::Event(damage), FaultScope::Always);
        (0..50).for_each(|number| drop(host.put_record(&did, CREW, &format!("bad{number}"), json!({}))));
        host.wait_fired(&Fault::Event(damage), 50).await;
        signpost.await_heard(&host).await;
        // One of them is refused, and the one after it shows that a commit is missing: that is worth a fetch.
        assert!(host.requests(GET_REPO) <= 26, "{} fetches for 50 bad commits", host.requests(GET_REPO));
        host.clear(&Fault::Event(damage));
        host.put_record(&did, CREW, "good", json!({}));
        signpost.await_truth(&network).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_badly_signed_last_commit_is_mended_by_a_fetch() {
    let network = Network::start().await;
    let signpost = Signpost::start_with(&network, comparing()).await;
    let (host, did) = host_with_account(&network);
    signpost.follow(&network, [&host]).await;
    host.fault(Fault::Event(Damage::WrongKey), FaultScope::Next(1));
    let since = Instant::now();
    write(&host, &did);
    host.wait_fired(&Fault::Event(Damage::WrongKey), 1).await;
    signpost.await_outcomes("commit", "desync_bad_signature", 1).await;
    signpost.await_truth(&network).await;
    println!("| Event(WrongKey) | desync_bad_signature | fetch | {:?} |", since.elapsed());
    signpost.await_idle().await;
    assert_eq!(host.requests(GET_REPO), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_from_the_future_is_refused_and_does_no_harm() {
    let (network, host, did, signpost) = followed().await;
    let before = network.expected(crate::index::is_atcr);
    host.set_clock_ahead(std::time::Duration::from_secs(3600));
    host.put_record(&did, CREW, "tomorrow", json!({}));
    host.set_clock_ahead(std::time::Duration::ZERO);
    signpost.await_heard(&host).await;
    assert_eq!(signpost.outcomes("commit", "rejected_future_rev").await, 1.0);
    assert_eq!(host.requests(GET_REPO), 1);
    assert_eq!(signpost.index().records(), before);
    // Its host comes back to its senses.
    host.put_record(&did, CREW, "today", json!({}));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_the_same_tree_costs_nothing_and_of_another_one_a_fetch() {
    let (network, host, did, signpost) = followed().await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(2));
    host.put_record(&did, CREW, "passing", json!({}));
    host.delete_record(&did, CREW, "passing");
    assert_eq!(host.fired(&Fault::DroppedEvent), 2);
    host.send_sync(&did);
    signpost.await_heard(&host).await;
    assert_eq!((signpost.outcomes("sync", "applied").await, host.requests(GET_REPO)), (1.0, 1));
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    assert_eq!(host.requests(GET_REPO), 1, "the commit after it continues what it said");

    host.load_records(&did, [Write::put(CREW, "loaded", json!({}))]);
    host.send_sync(&did);
    signpost.await_heard(&host).await;
    assert_eq!((signpost.outcomes("sync", "desync_sync_data").await, host.requests(GET_REPO)), (1.0, 2));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_host_is_followed_with_what_is_indexed_and_fetched_when_that_is_not_enough() {
    let (network, host, did, signpost) = followed().await;
    host.put_record(&did, POST, "old", json!({ "text": "before" }));
    host.fault(Fault::Legacy, FaultScope::Always);
    for number in 0..10 {
        host.put_record(&did, CREW, "one", json!({ "number": number }));
        host.put_record(&did, POST, &number.to_string(), json!({ "text": "a new post has no previous one" }));
        host.put_record(&did, CREW, &format!("new{number}"), json!({}));
        host.delete_record(&did, CREW, &number.to_string());
    }
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert!(host.fired(&Fault::Legacy) >= 40);
    assert_eq!(host.requests(GET_REPO), 1, "our own rows say what the ops replaced");

    host.fault(Fault::MissingOp, FaultScope::Next(1));
    write(&host, &did);
    host.wait_fired(&Fault::MissingOp, 1).await;
    signpost.await_heard(&host).await;
    assert_eq!((signpost.outcomes("commit", "desync_legacy_ops").await, host.requests(GET_REPO)), (1.0, 2));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_hosts_commit_that_hides_what_it_replaced_is_applied_and_fetched_at_the_next_comparison() {
    let network = Network::start().await;
    let signpost = Signpost::start_with(&network, comparing()).await;
    let (host, did) = host_with_account(&network);
    host.put_record(&did, POST, "one", json!({ "text": "before" }));
    signpost.follow(&network, [&host]).await;
    host.fault(Fault::Legacy, FaultScope::Next(1));
    let list = Fault::Stall { method: LIST_REPOS };
    host.fault(list.clone(), FaultScope::Always);
    host.wait_fired(&list, 1).await;
    let since = Instant::now();
    host.apply_writes(&did, vec![Write::delete(POST, "one"), Write::put(CREW, "with", json!({}))]);
    signpost.await_outcomes("commit", "applied_unproven", 1).await;
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 1, "no comparison can end before the list does");
    host.clear(&list);
    host.wait_requests(GET_REPO, 2).await;
    println!("| Legacy, outside the filter | applied_unproven | ByComparison | {:?} |", since.elapsed());
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    let listed = host.requests(LIST_REPOS);
    host.wait_requests(LIST_REPOS, listed + 4).await;
    assert_eq!(host.requests(GET_REPO), 2, "and once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_is_taken_in_by_what_shows_that_it_has_something() {
    let (network, host, _, signpost) = followed().await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(4));
    let did = host.create_account(AccountOptions::default());
    assert_eq!(host.fired(&Fault::DroppedEvent), 4);
    host.change_handle(&did, "unknown.test");
    host.take_down(&did);
    signpost.await_heard(&host).await;
    assert_eq!(signpost.outcomes("identity", "ignored_unknown_repo").await, 1.0);
    assert_eq!(signpost.outcomes("account", "ignored_unknown_repo").await, 1.0);
    host.fault(Fault::DroppedEvent, FaultScope::Next(1));
    host.untake_down(&did);
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    assert_eq!((signpost.outcomes("commit", "new_repo").await, host.requests(GET_REPO)), (1.0, 2));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_writes_while_it_is_off_is_not_fetched_before_it_is_on() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let (host, did) = host_with_account(&network);
    host.deactivate(&did);
    signpost.follow(&network, [&host]).await;
    signpost.await_status(&did, Some("deactivated")).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    assert_eq!((signpost.outcomes("commit", "ignored_inactive").await, host.requests(GET_REPO)), (1.0, 0));
    host.activate(&did);
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    signpost.await_listed(CREW, &[&did]).await;
    assert_eq!(host.requests(GET_REPO), 1);
}
