//! Hosts whose events are numbered anew, replayed, doubled or out of order, and hosts that came back from a backup.

use std::time::Instant;

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::{Signpost, comparing};
use crate::{CAPTAIN, CREW, GET_REPO, SUBSCRIBE_REPOS};

/// An account that is followed, and some events behind us, so that there is a cursor to come back to.
async fn followed_host() -> (Network, FakeHost, String, Signpost) {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    let signpost = Signpost::start_with(&network, comparing()).await;
    signpost.follow(&network, [&host]).await;
    (0..20).for_each(|number| drop(host.put_record(&did, CREW, &number.to_string(), json!({}))));
    signpost.await_heard_only(&host).await;
    (network, host, did, signpost)
}

/// After whatever happened, the next commits are followed without a fetch.
async fn is_followed(network: &Network, host: &FakeHost, did: &str, signpost: &Signpost) {
    signpost.await_truth(network).await;
    signpost.await_repos_idle().await;
    let before = host.requests(GET_REPO);
    for number in 0..3 {
        host.put_record(did, CREW, &format!("followed{number}"), json!({ "at": host.latest_seq() }));
        signpost.await_heard_only(host).await;
    }
    signpost.await_truth(network).await;
    assert_eq!(host.requests(GET_REPO), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_know_our_cursor_any_more_is_followed_anew_whatever_it_makes_of_it() {
    let ways = [(None, 3), (Some(Fault::NoFutureCursor), 3), (Some(Fault::LiveFromFutureCursor), 2)];
    for (way, connects) in ways {
        let (network, host, did, signpost) = followed_host().await;
        host.down().await;
        host.put_record(&did, CREW, "unheard", json!({}));
        host.reset_sequence();
        if let Some(fault) = &way {
            host.fault(fault.clone(), FaultScope::Always);
        }
        let since = Instant::now();
        host.up();
        if let Some(fault) = &way {
            host.wait_fired(fault, 1).await;
        }
        host.put_record(&did, CREW, "after", json!({}));
        signpost.await_truth(&network).await;
        println!("| sequence reset, {way:?} | none | new sequence and comparison | {:?} |", since.elapsed());
        host.wait_requests(SUBSCRIBE_REPOS, connects).await;
        host.wait_for_subscribers(1).await;
        is_followed(&network, &host, &did, &signpost).await;
        assert_eq!(signpost.index().host_cursor(host.name()), Some(host.latest_seq()), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_restored_from_a_backup_is_followed_to_its_older_head() {
    let ways = [(None, 3), (Some(Fault::NoFutureCursor), 3), (Some(Fault::LiveFromFutureCursor), 2)];
    for (way, connects) in ways {
        let (network, host, did, signpost) = followed_host().await;
        let backup = host.backup();
        host.put_record(&did, CREW, "lost", json!({}));
        host.delete_record(&did, CAPTAIN, "self");
        let newborn = host.create_account(AccountOptions::default());
        host.put_record(&newborn, CREW, "lost-too", json!({}));
        signpost.await_heard_only(&host).await;
        signpost.await_truth(&network).await;
        host.down().await;
        host.restore(backup);
        if let Some(fault) = &way {
            host.fault(fault.clone(), FaultScope::Always);
        }
        let since = Instant::now();
        host.up();
        if let Some(fault) = &way {
            host.wait_fired(fault, 1).await;
        }
        signpost.await_truth(&network).await;
        println!("| restored backup, {way:?} | none | older head, listed too | {:?} |", since.elapsed());
        host.wait_requests(SUBSCRIBE_REPOS, connects).await;
        host.wait_for_subscribers(1).await;
        is_followed(&network, &host, &did, &signpost).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_is_asked_for_again_and_never_followed() {
    let (network, host, did, signpost) = followed_host().await;
    host.fault(Fault::StaleRepo, FaultScope::Next(2));
    host.put_record(&did, CREW, "new", json!({}));
    signpost.await_heard_only(&host).await;
    host.fault(Fault::WrongSince, FaultScope::Next(1));
    host.put_record(&did, CREW, "newer", json!({}));
    host.wait_fired(&Fault::StaleRepo, 2).await;
    assert!(signpost.index().records().keys().any(|(_, _, rkey)| rkey == "new"), "what was known stays");
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 4);
    is_followed(&network, &host, &did, &signpost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_replays_everything_at_each_connection_changes_nothing() {
    let (network, host, did, signpost) = followed_host().await;
    host.delete_record(&did, CREW, "3");
    signpost.await_heard_only(&host).await;
    host.fault(Fault::ReplaysAll, FaultScope::Always);
    for round in 1..=3 {
        host.down().await;
        host.put_record(&did, CREW, &format!("unheard{round}"), json!({}));
        host.up();
        host.wait_fired(&Fault::ReplaysAll, round).await;
        signpost.await_truth(&network).await;
        signpost.await_heard_only(&host).await;
    }
    // The comparison that each of them causes may look before the replay is over.
    assert!(host.requests(GET_REPO) <= 4);
    is_followed(&network, &host, &did, &signpost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_twice_or_in_the_wrong_order_end_with_the_truth() {
    let (network, host, did, signpost) = followed_host().await;
    let other = host.create_account(AccountOptions::default());
    signpost.await_heard_only(&host).await;
    for fault in [Fault::DuplicatedEvent, Fault::ReversedEvents] {
        host.fault(fault.clone(), FaultScope::Always);
        host.down().await;
        for number in 0..10 {
            host.put_record(&did, CREW, &format!("burst{number}"), json!({ "fault": format!("{fault:?}") }));
            host.put_record(&other, CREW, &format!("burst{number}"), json!({ "fault": format!("{fault:?}") }));
        }
        host.up();
        host.wait_fired(&fault, 1).await;
        signpost.await_truth(&network).await;
        host.clear(&fault);
        is_followed(&network, &host, &did, &signpost).await;
    }
}
