//! listRepos: pages, their cursors and their rows.

use fake_network::{Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, CREW, GET_REPO, LIST_REPOS};

const PAGE: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_a_list_is_understood() {
    let cases = [
        (None, 4, 25),
        (Some(Fault::NoCursor), 3, 25),
        (Some(Fault::EmptyCursor), 3, 25),
        // The second page gives the first one's cursor back: more than two cannot be had from this host.
        (Some(Fault::RepeatingCursor), 2, 20),
    ];
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    for (fault, requests, accounts) in cases {
        let host = network.add_host();
        host.set_page_limit(PAGE);
        host.create_accounts(accounts).iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
        if let Some(fault) = &fault {
            host.fault(fault.clone(), FaultScope::Always);
        }
        signpost.follow(&network, [&host]).await;
        assert_eq!(host.requests(LIST_REPOS), requests, "{fault:?}");
        assert!(fault.is_none_or(|fault| host.fired(&fault) > 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_row_that_makes_no_sense_is_skipped_and_counted() {
    let network = Network::start().await;
    let host = network.add_host();
    host.create_accounts(3).iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    host.fault(Fault::NonsenseRow, FaultScope::Next(1));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    assert_eq!(host.fired(&Fault::NonsenseRow), 1);
    assert_eq!(signpost.metric("signpost_listed_rows_skipped_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_breaks_off_goes_on_with_the_page_that_failed() {
    let network = Network::start().await;
    let host = network.add_host();
    host.set_page_limit(PAGE);
    host.create_accounts(35).iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    // The first page is held back until the fault for the second one is set.
    let first_page = Fault::Stall { method: LIST_REPOS };
    let second_page = Fault::Status { method: LIST_REPOS, code: 500 };
    host.fault(first_page.clone(), FaultScope::Next(1));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&first_page, 1).await;
    host.fault(second_page.clone(), FaultScope::Next(2));
    host.clear(&first_page);
    host.wait_fired(&second_page, 2).await;
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    assert_eq!(host.requests(LIST_REPOS), 5 + 2, "five pages, and the second one three times");
    assert_eq!(host.requests(GET_REPO), 35);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_account_is_kept_with_its_status_and_not_fetched() {
    let network = Network::start().await;
    let host = network.add_host();
    let [deactivated, suspended, active] = host.create_accounts(3).try_into().unwrap();
    for did in [&deactivated, &suspended, &active] {
        host.put_record(did, CAPTAIN, "self", json!({}));
    }
    host.deactivate(&deactivated);
    host.set_inactive(&suspended, fake_network::Status::Suspended);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    signpost.await_listed(CAPTAIN, &[&active]).await;
    signpost.await_status(&deactivated, Some("deactivated")).await;
    signpost.await_status(&suspended, Some("suspended")).await;
    assert_eq!(host.requests(GET_REPO), 1);

    host.activate(&deactivated);
    host.put_record(&deactivated, CREW, "one", json!({}));
    signpost.await_truth(&network).await;
    signpost.await_listed(CAPTAIN, &[&active, &deactivated]).await;
    signpost.await_status(&deactivated, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_that_its_host_refuses_gets_the_status_that_the_refusal_names() {
    let network = Network::start().await;
    let host = network.add_host();
    let [deactivated, takendown, suspended, deleted] = host.create_accounts(4).try_into().unwrap();
    let all = [&deactivated, &takendown, &suspended, &deleted];
    all.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    // They are listed as active, and change before the list arrives, while nobody is told by the firehose.
    let list = Fault::Stall { method: LIST_REPOS };
    host.fault(list.clone(), FaultScope::Next(1));
    host.fault(Fault::DroppedEvent, FaultScope::Next(4));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&list, 1).await;
    host.deactivate(&deactivated);
    host.take_down(&takendown);
    host.set_inactive(&suspended, fake_network::Status::Suspended);
    host.delete_account(&deleted);
    assert_eq!(host.fired(&Fault::DroppedEvent), 4);
    host.clear(&list);
    signpost.await_status(&deactivated, Some("deactivated")).await;
    signpost.await_status(&takendown, Some("takendown")).await;
    signpost.await_status(&suspended, Some("suspended")).await;
    signpost.await_status(&deleted, Some("deleted")).await;
    signpost.await_idle().await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
    assert_eq!(signpost.metric("signpost_queue_jobs{status=\"failed\"}").await, 0.0, "a status is no failure");
}
