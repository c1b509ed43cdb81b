//! A host's list against the index, at every interval: what no event tells heals too, and what is unchanged costs nothing.

use std::time::{Duration, Instant};

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network, Status, Write};
use serde_json::json;

use crate::signpost::{Signpost, comparing};
use crate::{CAPTAIN, CREW, DESCRIBE_SERVER, GET_REPO, GET_REPO_STATUS, LIST_REPOS};

async fn compared_host() -> (Network, FakeHost, Vec<String>, Signpost) {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(3);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let signpost = Signpost::start_with(&network, comparing()).await;
    signpost.follow(&network, [&host]).await;
    (network, host, dids, signpost)
}

/// Waits until a comparison that began after this call has ended.
async fn await_comparison(signpost: &Signpost, host: &FakeHost) {
    // The last page of the walk that runs, and the two pages of the next one and the first of the one after it.
    host.wait_requests(LIST_REPOS, host.requests(LIST_REPOS) + 4).await;
    signpost.await_repos_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_event_that_never_came_heals_at_the_next_comparison() {
    let (network, host, dids, signpost) = compared_host().await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(2));
    let since = Instant::now();
    host.put_record(&dids[0], CREW, "one", json!({}));
    host.delete_record(&dids[1], CAPTAIN, "self");
    assert_eq!(host.fired(&Fault::DroppedEvent), 2);
    signpost.await_truth(&network).await;
    println!("| DroppedEvent, the last one | none | ByComparison | {:?} |", since.elapsed());
    await_comparison(&signpost, &host).await;
    assert_eq!(host.requests(GET_REPO), 5, "only the two repos that changed are fetched again");
    assert_eq!(signpost.metric("signpost_missed_commits_total").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_host_costs_the_pages_of_its_list_and_nothing_else() {
    let (network, host, dids, signpost) = compared_host().await;
    // After an account import the rev differs while nothing changed.
    host.touch_rev(&dids[1]);
    let asked = || [GET_REPO, GET_REPO_STATUS, DESCRIBE_SERVER].map(|method| host.requests(method));
    let (before, documents) = (asked(), network.plc_requests());
    for _ in 0..3 {
        await_comparison(&signpost, &host).await;
    }
    assert_eq!((asked(), network.plc_requests()), (before, documents));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_gone_from_the_list_is_asked_after() {
    let (network, host, dids, signpost) = compared_host().await;
    host.set_hidden(&dids[0], true);
    host.fault(Fault::DroppedEvent, FaultScope::Next(1));
    let since = Instant::now();
    host.delete_account(&dids[1]);
    assert_eq!(host.fired(&Fault::DroppedEvent), 1);
    signpost.await_status(&dids[1], Some("deleted")).await;
    println!("| deleted without an event | none | ByComparison | {:?} |", since.elapsed());
    await_comparison(&signpost, &host).await;
    signpost.await_truth(&network).await;
    signpost.await_status(&dids[0], None).await;
    assert_eq!(host.requests(GET_REPO), 3, "the account that is only hidden is as it was");
    assert!(host.requests(GET_REPO_STATUS) >= 2);
    // It is followed like any other, and a commit of it that nobody saw shows in its status.
    host.put_record(&dids[0], CREW, "one", json!({}));
    signpost.await_truth(&network).await;
    host.load_records(&dids[0], [Write::put(CREW, "two", json!({}))]);
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_changed_without_an_event_is_applied() {
    let (network, host, dids, signpost) = compared_host().await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(2));
    let since = Instant::now();
    host.take_down(&dids[0]);
    host.set_inactive(&dids[1], Status::Suspended);
    signpost.await_status(&dids[0], Some("takendown")).await;
    signpost.await_status(&dids[1], Some("suspended")).await;
    println!("| status changed without an event | none | ByComparison | {:?} |", since.elapsed());
    signpost.await_listed(CAPTAIN, &[&dids[2]]).await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(1));
    host.untake_down(&dids[0]);
    signpost.await_status(&dids[0], None).await;
    assert_eq!(host.fired(&Fault::DroppedEvent), 3);
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_no_event_told_of_is_fetched() {
    let (network, host, _, signpost) = compared_host().await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(5));
    let since = Instant::now();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CREW, "one", json!({}));
    assert_eq!(host.fired(&Fault::DroppedEvent), 5);
    signpost.await_listed(CREW, &[&did]).await;
    println!("| created without an event | none | ByComparison | {:?} |", since.elapsed());
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_whose_event_is_on_its_way_is_not_fetched() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let mut timing = comparing();
    timing.crawl.grace = Duration::from_secs(2);
    let signpost = Signpost::start_with(&network, timing).await;
    signpost.follow(&network, [&host]).await;
    // The list shows the commit while its event waits on the socket behind a stalled answer.
    let list = Fault::Stall { method: LIST_REPOS };
    host.fault(list.clone(), FaultScope::Always);
    host.wait_fired(&list, 1).await;
    let writes = async {
        for number in 0..20 {
            host.put_record(&did, CREW, &number.to_string(), json!({}));
            signpost.await_heard_only(&host).await;
        }
    };
    host.clear(&list);
    tokio::join!(writes, await_comparison(&signpost, &host));
    signpost.await_truth(&network).await;
    assert_eq!(host.requests(GET_REPO), 1);
}
