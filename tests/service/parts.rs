//! Repos that are not fetched whole: one answer of getRecord shows that nothing matches, or getBlocks gives the little that does.

use fake_network::{AccountOptions, Damage, FakeHost, Fault, FaultScope, Network, Write};
use serde_json::json;
use signpost::config::Flags;

use crate::await_condition::await_condition;
use crate::signpost::{Signpost, generous, impatient};
use crate::{CAPTAIN, CREW, GET_BLOCKS, GET_RECORD, GET_REPO, POST};

const LIKE: &str = "app.bsky.feed.like";
const LATER: &str = "zz.y.x";

/// Records of a size and with keys as they are in repos of people.
fn posts(collection: &'static str, count: usize) -> impl Iterator<Item = Write> {
    (0..count).map(move |number| {
        let text = format!("{number} {}", "lorem ipsum dolor sit amet ".repeat(4));
        let record =
            json!({ "$type": collection, "text": text, "langs": ["en"], "createdAt": "2026-03-01T12:00:00.000Z" });
        Write::put(collection, &format!("3k{number:011}"), record)
    })
}

/// An account of which ten records in so many match.
fn large(network: &Network, records: usize) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    let matching = (0..10).map(|number| Write::put(CREW, &format!("3k{number:011}"), json!({ "number": number })));
    let writes = posts(POST, records / 2).chain(posts(LIKE, records / 4)).chain(posts(LATER, records / 4));
    host.load_records(&did, writes.chain(matching));
    (host, did)
}

/// Calls of (getRecord, getBlocks, getRepo).
fn calls(host: &FakeHost) -> (usize, usize, usize) {
    (host.requests(GET_RECORD), host.requests(GET_BLOCKS), host.requests(GET_REPO))
}

async fn taken(signpost: &Signpost, way: &str) -> f64 {
    signpost.metric(&format!("signpost_repos_taken_total{{way=\"{way}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_records_of_a_hundred_thousand_come_in_three_calls() {
    let network = Network::start().await;
    let (host, did) = large(&network, 100_000);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    assert_eq!(calls(&host), (1, 2, 0));
    let bytes = host.answered_bytes(GET_RECORD) + host.answered_bytes(GET_BLOCKS);
    assert!(bytes < 28_000, "{bytes} bytes");
    assert_eq!(network.plc_requests(), 1);
    assert_eq!(taken(&signpost, "part").await, 1.0);
    let counted = signpost.metric("signpost_repo_call_bytes_total{call=\"getBlocks\"}").await;
    assert_eq!(counted, host.answered_bytes(GET_BLOCKS) as f64);

    // What follows continues it, as it continues a whole one; and one that missed a commit is fetched in parts again.
    host.put_record(&did, CREW, "live", json!({}));
    signpost.await_truth(&network).await;
    host.fault(Fault::DroppedEvent, FaultScope::Next(1));
    host.delete_record(&did, CREW, "3k00000000003");
    host.put_record(&did, POST, "after", json!({}));
    signpost.await_truth(&network).await;
    signpost.await_idle().await;
    assert_eq!((host.fired(&Fault::DroppedEvent), calls(&host).2, taken(&signpost, "part").await), (1, 0, 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn repos_without_a_match_cost_one_call_each_and_nobody_is_asked_whose_they_are() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(300);
    dids.iter().step_by(2).for_each(|did| host.load_records(did, posts(POST, 40)));
    dids.iter().step_by(3).for_each(|did| host.load_records(did, posts(LATER, 10)));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    await_taken(&signpost, "unmatched", 300.0).await;
    signpost.await_idle().await;
    assert_eq!(calls(&host), (300, 0, 0));
    assert_eq!(network.plc_requests(), 0);
    assert!(host.answered_bytes(GET_RECORD) < 300 * 5_000, "{}", host.answered_bytes(GET_RECORD));
    assert_eq!(signpost.index().number("SELECT count(*) FROM repos WHERE data IS NOT NULL", []), 300);
    assert_eq!(signpost.index().number("SELECT count(*) FROM identities", []), 0);
    assert_eq!(signpost.repo_status(&dids[7]).await["error"], "RepoNotFound", "hearsay");

    host.wait_for_subscribers(1).await;
    host.put_record(&dids[7], CAPTAIN, "self", json!({ "listed": "now" }));
    signpost.await_listed(CAPTAIN, &[&dids[7]]).await;
    signpost.await_truth(&network).await;
    assert_eq!((network.plc_requests(), calls(&host)), (1, (300, 0, 0)));
    assert_eq!(signpost.repo_status(&dids[7]).await["active"], true);
}

async fn await_taken(signpost: &Signpost, way: &str, count: f64) {
    await_condition(&format!("{count} repos are taken: {way}"), async || match taken(signpost, way).await {
        taken if taken >= count => Ok(()),
        taken => Err(format!("{taken} of them")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_two_ranges_takes_a_call_for_each() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(3);
    dids.iter().for_each(|did| host.load_records(did, posts(POST, 60).chain(posts(LIKE, 60)).chain(posts(LATER, 60))));
    let flags = Flags { collections: Some("io.atcr.*,n.o.body".to_owned()), quotas: generous(), ..Flags::default() };
    let signpost = Signpost::start_with_flags(&network, impatient(), flags).await;
    signpost.request_crawl(&host).await;
    await_taken(&signpost, "unmatched", 3.0).await;
    // Where one answer happens to show the nodes of both ranges it is one call.
    let (records, blocks, repos) = calls(&host);
    assert!((3..=6).contains(&records) && blocks + repos == 0, "{records} {blocks} {repos}");
    host.wait_for_subscribers(1).await;
    host.put_record(&dids[1], CREW, "one", json!({}));
    signpost.await_listed(CREW, &[&dids[1]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_small_repos_match_is_soon_asked_for_whole_ones_only() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(100);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    signpost.await_idle().await;
    let (records, blocks, repos) = calls(&host);
    assert!(records < 20 && blocks == 0 && repos == 100, "{records} {blocks} {repos}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lacks_a_method_is_asked_for_whole_repos() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let lacking = [
        Fault::Status { method: GET_RECORD, code: 404 },
        Fault::Refusal { method: GET_RECORD, status: 501, error: "MethodNotImplemented" },
        // An error is no proof of absence.
        Fault::Refusal { method: GET_RECORD, status: 400, error: "RecordNotFound" },
        Fault::Html { method: GET_RECORD },
    ];
    for fault in lacking {
        let host = network.add_host();
        let dids = host.create_accounts(20);
        host.put_record(&dids[11], CAPTAIN, "self", json!({}));
        host.fault(fault.clone(), FaultScope::Always);
        signpost.follow(&network, [&host]).await;
        signpost.await_idle().await;
        let (records, blocks, repos) = calls(&host);
        assert!((1..=4).contains(&records) && blocks == 0 && repos == 20, "{fault:?}: {records} {blocks} {repos}");
    }
    for code in [404, 501] {
        let (host, _) = large(&network, 8_000);
        host.fault(Fault::Status { method: GET_BLOCKS, code }, FaultScope::Always);
        signpost.follow(&network, [&host]).await;
        assert_eq!(calls(&host), (1, 1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_proves_nothing_leads_to_the_whole_repo() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let damages = [
        Damage::WrongDid,
        Damage::FutureRev,
        Damage::FlippedBit,
        Damage::MissingNode,
        Damage::MissingCommit,
        Damage::Truncated,
        Damage::TruncatedLength,
        Damage::NoBlocks,
    ];
    let mut faults: Vec<Fault> = damages.iter().copied().map(Fault::Proof).collect();
    faults.push(Fault::CutOff { method: GET_RECORD });
    faults.push(Fault::Endless { method: GET_RECORD });
    faults.push(Fault::Redirect { method: GET_RECORD });
    let blocks = [Damage::FlippedBit, Damage::MissingNode, Damage::NoBlocks, Damage::Truncated];
    faults.extend(blocks.map(Fault::Blocks));
    faults.push(Fault::Endless { method: GET_BLOCKS });
    faults.push(Fault::Refusal { method: GET_BLOCKS, status: 400, error: "InvalidRequest" });
    for fault in faults {
        let (host, _) = large(&network, 4_000);
        host.fault(fault.clone(), FaultScope::Always);
        signpost.follow(&network, [&host]).await;
        assert!(host.fired(&fault) > 0, "{fault:?}");
        assert_eq!(calls(&host).2, 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_believed_only_with_the_accounts_signature() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    for damage in [Damage::WrongKey, Damage::HighS] {
        let (host, did) = large(&network, 4_000);
        let forged = Fault::Proof(damage);
        host.fault(forged.clone(), FaultScope::Always);
        signpost.request_crawl(&host).await;
        host.wait_fired(&forged, 2).await;
        assert_eq!(signpost.index().number("SELECT count(*) FROM indexed_records", []), 0, "{damage:?}");
        host.clear(&forged);
        signpost.await_listed(CREW, &[&did]).await;
        signpost.await_truth(&network).await;
        assert_eq!(calls(&host).2, 0);
        host.delete_account(&did);
        signpost.await_listed(CREW, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_that_moves_between_two_calls_is_begun_with_once_more() {
    let network = Network::start().await;
    let (host, did) = large(&network, 4_000);
    let slow = Fault::Stall { method: GET_RECORD };
    host.fault(slow.clone(), FaultScope::Next(1));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&slow, 1).await;
    // Every node on the way is another one now.
    (0..10)
        .for_each(|number| drop(host.put_record(&did, CREW, &format!("3k{number:011}"), json!({ "moved": number }))));
    host.clear(&slow);
    signpost.await_truth(&network).await;
    signpost.await_heard(&host).await;
    let (records, blocks, repos) = calls(&host);
    assert!(records == 2 && blocks >= 3 && repos == 0, "{records} {blocks} {repos}");
}
