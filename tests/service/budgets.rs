//! Hosts that name too much, hold too much or say too much: what they name, hold and say is bounded, and a bystander notices nothing.

use std::time::{Duration, Instant};

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network, Write, offline};
use serde_json::{Value, json};
use signpost::config::LimitFlags;

use crate::await_condition::await_condition;
use crate::signpost::{Signpost, comparing, impatient};
use crate::{CAPTAIN, CREW};

/// A hold that behaves.
fn hold(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::web());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    (host, did)
}

/// Writes to a hold that is followed, again and again for so long; answers the longest time from a write to its row.
async fn longest_delay(signpost: &Signpost, (host, did): &(FakeHost, String), lasting: Duration) -> Duration {
    let (began, mut longest, mut n) = (Instant::now(), Duration::ZERO, 0);
    while began.elapsed() < lasting {
        n += 1;
        let collection = format!("io.atcr.hold.write{n}");
        let written = Instant::now();
        host.put_record(did, &collection, "self", json!({ "n": n }));
        signpost.await_listed(&collection, &[did]).await;
        longest = longest.max(written.elapsed());
    }
    assert!(n > 3, "{n} writes are no measure");
    longest
}

/// A did:plc that nobody has.
fn nobody(n: usize) -> String {
    let digits: String = format!("{n:024}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    format!("did:plc:{digits}")
}

/// How many accounts a liar lists.
fn phantoms() -> usize {
    std::env::var("SIGNPOST_PHANTOMS").map_or(20_000, |number| number.parse().unwrap())
}

fn last_error(report: &Value) -> &str {
    report["last_error"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lists_dids_that_do_not_exist_spends_its_own_look_ups() {
    let network = Network::start().await;
    let control = hold(&network);
    let honest = network.add_host();
    let liar = network.add_host();
    liar.list_phantoms((0..phantoms()).map(nobody));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&control.0).await;
    signpost.await_listed(CAPTAIN, &[&control.1]).await;

    let began = Instant::now();
    signpost.request_crawl(&liar).await;
    let spent = "signpost_crawl_jobs_total{kind=\"repo\",outcome=\"lookup_budget_of_host\"}";
    await_condition("its budget is spent", async || match signpost.metric(spent).await {
        0.0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    let delay = longest_delay(&signpost, &control, Duration::from_secs(2)).await;
    assert!(delay < Duration::from_secs(1), "a write took {delay:?}");

    // Hosts that come meanwhile are looked up at once, however many accounts they have.
    let dids = honest.create_accounts(150);
    dids.iter().for_each(|did| drop(honest.put_record(did, CREW, "self", json!({}))));
    let asked = Instant::now();
    signpost.request_crawl(&honest).await;
    signpost.await_listed(CREW, &dids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(20), "they took {took:?}, as if they had to wait for their look-ups");
    let most = 150.0 + 20.0 + 5.0 * began.elapsed().as_secs_f64() + 5.0;
    assert!((network.plc_requests() as f64) < most, "{} requests to PLC of at most {most}", network.plc_requests());
    signpost.await_host_report(&liar, "it says why", |report| last_error(report).contains("its look-ups wait")).await;
    assert_eq!(last_error(&signpost.host_report(&honest).await), "");
    println!(
        "{} DIDs listed: {} requests to PLC in {:?}, {} accounts taken in; a write of a bystander took {delay:?} at most, \
         150 accounts of another {took:?}",
        phantoms(),
        network.plc_requests(),
        began.elapsed(),
        signpost.host_report(&liar).await["repos"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_cannot_make_us_hammer_a_third_party() {
    let network = Network::start().await;
    let control = hold(&network);
    let victims: Vec<(FakeHost, String)> = (0..15).map(|_| hold(&network)).collect();
    let liar = network.add_host();
    // One of them a thousand times, and each of them once.
    liar.list_phantoms(std::iter::repeat_n(victims[0].1.clone(), 1000));
    liar.list_phantoms(victims.iter().map(|(_, did)| did.clone()));
    let signpost = Signpost::start(&network).await;
    signpost.request_crawl(&control.0).await;
    signpost.await_listed(CAPTAIN, &[&control.1]).await;
    signpost.request_crawl(&liar).await;
    signpost.await_host_report(&liar, "all are known", |report| report["repos"] == 15).await;
    for n in 0..1000 {
        let seq = liar.latest_seq() + 1;
        liar.send_frame(offline::account_frame(&victims[n % 15].1, seq, true, None));
    }
    signpost.await_heard_only(&liar).await;
    let delay = longest_delay(&signpost, &control, Duration::from_secs(2)).await;
    assert!(delay < Duration::from_secs(1), "a write took {delay:?}");
    let asked: Vec<usize> = victims.iter().map(|(host, _)| host.requests("did.json")).collect();
    assert!(asked.iter().all(|asked| *asked <= 4), "{asked:?}");

    // They are crawled when they ask for it themselves.
    signpost.request_crawl(&victims[0].0).await;
    signpost.await_listed(CAPTAIN, &[&control.1, &victims[0].1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plc_is_asked_at_our_pace_and_everybody_gets_a_turn() {
    let network = Network::start().await;
    let crowd = network.add_host();
    crowd.create_accounts(200).iter().for_each(|did| drop(crowd.put_record(did, CREW, "self", json!({}))));
    let small = network.add_host();
    let did = small.create_account(AccountOptions::default());
    small.put_record(&did, CAPTAIN, "self", json!({}));
    let limits = LimitFlags { plc_requests_per_second: Some("20".to_owned()), ..LimitFlags::default() };
    let signpost = Signpost::start_limited(&network, impatient(), limits).await;
    let began = Instant::now();
    signpost.request_crawl(&crowd).await;
    await_condition("some are looked up", async || match network.plc_requests() {
        40.. => Ok(()),
        asked => Err(format!("{asked}")),
    })
    .await;
    let asked = Instant::now();
    signpost.request_crawl(&small).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "the small one waited {:?}", asked.elapsed());
    signpost.await_truth(&network).await;
    assert!(began.elapsed() > Duration::from_secs_f64((201.0 - 20.0) / 20.0 - 0.5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_past_the_limit_of_a_host_wait_visibly_until_it_is_raised() {
    let network = Network::start().await;
    let control = hold(&network);
    let host = network.add_host();
    let dids = host.create_accounts(30);
    dids.iter().for_each(|did| drop(host.put_record(did, CREW, "self", json!({}))));
    let limits =
        |accounts: &str| LimitFlags { max_accounts_per_host: Some(accounts.to_owned()), ..LimitFlags::default() };
    let signpost = Signpost::start_limited(&network, comparing(), limits("20")).await;
    signpost.request_crawl(&control.0).await;
    signpost.request_crawl(&host).await;
    let at_limit = |report: &Value| report["repos"] == 20 && report["account_limit"] == 20 && report["waiting"] == 10;
    signpost.await_host_report(&host, "it is at its limit", at_limit).await;
    signpost.await_repos_idle().await;
    let listed = signpost.listed(CREW).await.unwrap();
    assert_eq!(listed.len(), 20);
    let report = signpost.host_report(&host).await;
    let mut known = listed.clone();
    known.extend(report["waiting_accounts"].as_array().unwrap().iter().map(|did| did.as_str().unwrap().to_owned()));
    known.sort();
    let mut all = dids.clone();
    all.sort();
    assert_eq!(known, all, "every account is listed or waits");

    // A firehose that invents accounts without end.
    for n in 0..2000 {
        let seq = host.latest_seq() + 1;
        host.send_frame(offline::account_frame(&nobody(n), seq, true, None));
    }
    signpost.await_heard_only(&host).await;
    assert!(signpost.outcomes("account", "rejected_account_limit").await >= 2000.0);
    assert_eq!(signpost.index().number("SELECT count(*) FROM repos", []), 21);
    assert_eq!(signpost.metric("signpost_waiting_accounts").await, 1000.0, "not all of them are kept");
    let delay = longest_delay(&signpost, &control, Duration::from_millis(500)).await;
    assert!(delay < Duration::from_secs(1), "a write took {delay:?}");
    assert_eq!(signpost.index().wrong_counts(), 0);

    let signpost = signpost.restart_limited(limits("30")).await;
    signpost.await_listed(CREW, &dids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repo_past_its_limit_is_listed_and_marked_until_it_fits() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    let rkeys: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
    host.load_records(&did, rkeys.iter().map(|rkey| Write::put(CREW, rkey, json!({ "name": rkey }))));
    let limits = LimitFlags { max_records_per_repo: Some("5".to_owned()), ..LimitFlags::default() };
    let signpost = Signpost::start_limited(&network, comparing(), limits).await;
    signpost.request_crawl(&host).await;
    signpost.await_listed(CREW, &[&did]).await;
    let truncated = "signpost_truncated_repos";
    assert_eq!(signpost.metric(truncated).await, 1.0);
    signpost
        .await_host_report(&host, "it shows", |report| report["truncated_repos"] == 1 && report["records"] == 5)
        .await;
    assert_eq!(signpost.metric("signpost_records_skipped_total{reason=\"over_limit\"}").await, 3.0);

    host.put_record(&did, CAPTAIN, "self", json!({}));
    signpost.await_heard(&host).await;
    assert_eq!(signpost.listed(CAPTAIN).await.unwrap(), Vec::<String>::new(), "there is no room for it");
    assert_eq!(signpost.repo_status(&did).await["active"], true);
    assert_eq!(signpost.index().wrong_counts(), 0);

    // What goes without an event is found by the next comparison.
    host.fault(Fault::DroppedEvent, FaultScope::Next(1));
    host.apply_writes(&did, rkeys[..4].iter().map(|rkey| Write::delete(CREW, rkey)).collect());
    assert_eq!(host.fired(&Fault::DroppedEvent), 1);
    signpost.await_truth(&network).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    assert_eq!(signpost.metric(truncated).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_floods_is_read_more_slowly_and_loses_nothing() {
    let network = Network::start().await;
    let control = hold(&network);
    let flood = hold(&network);
    let limits = LimitFlags { host_events_per_second: Some("200".to_owned()), ..LimitFlags::default() };
    let signpost = Signpost::start_limited(&network, impatient(), limits).await;
    signpost.follow(&network, [&control.0, &flood.0]).await;
    let began = Instant::now();
    for n in 0..1000 {
        let seq = flood.0.latest_seq() + 1;
        flood.0.send_frame(offline::identity_frame(&nobody(n), seq, None));
    }
    flood.0.put_record(&flood.1, CREW, "last", json!({}));
    signpost.await_host_report(&flood.0, "it is slowed", |report| report["slowed_since"].is_i64()).await;
    assert_eq!(signpost.metric("signpost_slowed_hosts").await, 1.0);
    let delay = longest_delay(&signpost, &control, Duration::from_secs(2)).await;
    assert!(delay < Duration::from_secs(1), "a write took {delay:?}");
    assert_eq!(signpost.host_report(&control.0).await["slowed_since"], Value::Null);

    // A new connection is no new allowance.
    flood.0.restart().await;
    signpost.await_listed(CREW, &[&flood.1]).await;
    assert!(began.elapsed() > Duration::from_millis(3500), "1,000 events came within {:?}", began.elapsed());
    signpost.await_heard(&flood.0).await;
    signpost.await_truth(&network).await;
    assert!(signpost.outcomes("identity", "ignored_unknown_repo").await >= 1000.0, "none was dropped");
    assert!(signpost.metric("signpost_firehose_paused_seconds_total").await > 2.0);
}
