//! Hosts that go and come back, that cannot hold a connection, and many of them at once.

use std::time::{Duration, Instant};

use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network, Write};
use serde_json::json;
use signpost::service::Timing;

use crate::await_condition::await_condition;
use crate::signpost::{Signpost, impatient};
use crate::{CAPTAIN, CREW, GET_REPO, SUBSCRIBE_REPOS};

/// No firehose message may be this long.
const POISON_BYTES: usize = (16 << 20) + 1;

fn host_with_account(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({ "version": 1 }));
    (host, did)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_kills_the_connection_each_time_is_passed_over() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    // With the patience of every day.
    let signpost = Signpost::start_with(&network, Timing::default()).await;
    signpost.follow(&network, [&host]).await;
    host.put_record(&did, CREW, "before", json!({}));
    signpost.await_heard(&host).await;
    let (since, connects) = (Instant::now(), host.requests(SUBSCRIBE_REPOS));
    host.send_frame(vec![0; POISON_BYTES]);
    host.put_record(&did, CREW, "behind", json!({}));
    signpost.await_truth(&network).await;
    let healed_after = since.elapsed();
    println!("| a frame that kills the connection | none | follow from live and comparison | {healed_after:?} |");
    assert!(healed_after < Duration::from_secs(60));
    assert_eq!(host.requests(SUBSCRIBE_REPOS), connects + 2, "it died twice at the same cursor");
    host.wait_for_subscribers(1).await;
    signpost.await_idle().await;
    let before = host.requests(GET_REPO);
    host.put_record(&did, CREW, "after", json!({}));
    signpost.await_heard(&host).await;
    signpost.await_truth(&network).await;
    assert_eq!((before, host.requests(GET_REPO)), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_largest_sizes_are_passed_over_in_place() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    for size in [4_999_999, 5_000_000, 5_000_001, POISON_BYTES - 1] {
        host.send_frame(vec![0; size]);
        host.put_record(&did, CREW, &size.to_string(), json!({}));
        signpost.await_heard(&host).await;
    }
    signpost.await_truth(&network).await;
    assert_eq!((host.requests(SUBSCRIBE_REPOS), host.requests(GET_REPO)), (1, 1));
    let malformed = signpost.metric("signpost_bad_frames_total{reason=\"malformed\"}").await;
    let headless = signpost.metric("signpost_bad_frames_total{reason=\"no_header\"}").await;
    assert_eq!(malformed + headless, 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_accepts_and_closes_is_not_dialled_in_a_busy_loop() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    host.fault(Fault::AcceptThenClose, FaultScope::Always);
    let mut timing = Timing::default();
    timing.subscribe.retry_cap = Duration::from_secs(2);
    let signpost = Signpost::start_with(&network, timing).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&Fault::AcceptThenClose, 2).await;
    // Waits up to 2 s here (up to an hour else), and never less than a tenth of a second.
    tokio::time::timeout(Duration::from_secs(3), host.wait_requests(SUBSCRIBE_REPOS, 15))
        .await
        .expect_err("it is dialled less and less");
    host.clear(&Fault::AcceptThenClose);
    host.wait_for_subscribers(1).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_down_for_long_is_followed_again_without_help() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    host.put_record(&did, CREW, "before", json!({}));
    signpost.await_heard(&host).await;
    host.down().await;
    signpost.await_host_report(&host, "it is offline", |report| report["state"] == "offline").await;
    let listed = signpost.get("/xrpc/com.atproto.sync.listHosts").await.json();
    assert_eq!(listed["hosts"][0]["status"], "offline");
    await_condition("it is dialled for long", async || match signpost.firehose_connects("connect").await {
        failures if failures >= 10.0 => Ok(()),
        failures => Err(format!("{failures} dials failed")),
    })
    .await;
    host.put_record(&did, CREW, "meanwhile", json!({}));
    let since = Instant::now();
    host.up();
    signpost.await_truth(&network).await;
    println!("| down for long | none | the next dial (cap 200 ms here) | {:?} |", since.elapsed());
    signpost.await_host_report(&host, "it is active", |report| report["state"] == "active").await;
    assert_eq!(host.requests(GET_REPO), 1, "from its cursor on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_wakes_a_host_that_is_dialled_once_an_hour() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let mut timing = impatient();
    timing.subscribe.retry_base = Duration::from_secs(1_000_000);
    timing.subscribe.retry_cap = Duration::from_secs(1_000_000);
    let signpost = Signpost::start_with(&network, timing).await;
    signpost.follow(&network, [&host]).await;
    host.down().await;
    await_condition("it is found down", async || {
        match signpost.firehose_connects("closed").await + signpost.firehose_connects("broken").await {
            0.0 => Err("it is not".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    host.put_record(&did, CREW, "meanwhile", json!({}));
    host.up();
    let since = Instant::now();
    signpost.request_crawl(&host).await;
    host.wait_for_subscribers(1).await;
    println!("| down for long, then requestCrawl | none | dialled at once | {:?} |", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(10));
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_hosts_that_come_back_together_are_dialled_a_few_at_a_time() {
    let network = Network::start().await;
    let hosts: Vec<(FakeHost, String)> = (0..200).map(|_| host_with_account(&network)).collect();
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, hosts.iter().map(|(host, _)| host)).await;
    for (host, did) in &hosts {
        // From here on there is a cursor to come back to.
        host.put_record(did, CREW, "before", json!({}));
    }
    for (host, _) in &hosts {
        signpost.await_heard_only(host).await;
        host.down().await;
    }
    let open = Fault::Stall { method: SUBSCRIBE_REPOS };
    for (host, did) in &hosts {
        host.put_record(did, CREW, "meanwhile", json!({}));
        host.fault(open.clone(), FaultScope::Always);
        host.up();
    }
    let dials = || hosts.iter().map(|(host, _)| host.fired(&open)).sum::<usize>();
    await_condition("as many hosts are dialled as may be", async || match dials() {
        32 => Ok(()),
        dials => Err(format!("{dials} are")),
    })
    .await;
    // A request that needs no dial is answered meanwhile, and no further host was dialled.
    assert_eq!(signpost.get("/xrpc/com.atproto.sync.listHosts").await.status, 200);
    assert_eq!(dials(), 32);
    let since = Instant::now();
    hosts.iter().for_each(|(host, _)| host.clear(&open));
    signpost.await_truth(&network).await;
    println!("| 200 hosts down and back | none | dials, 32 at a time | {:?} |", since.elapsed());
    for (host, _) in &hosts {
        host.wait_for_subscribers(1).await;
        assert_eq!(host.requests(GET_REPO), 1, "from its cursor on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_floods_and_a_giant_commit_do_not_delay_another_host() {
    let network = Network::start().await;
    let ((flooding, noisy), (giant, large), (hold, quiet)) =
        (host_with_account(&network), host_with_account(&network), host_with_account(&network));
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&flooding, &giant, &hold]).await;
    let text = "x".repeat(9_000);
    for round in 0..4 {
        for number in 0..1000 {
            flooding.put_record(&noisy, CREW, &(number % 50).to_string(), json!({ "n": round * 1000 + number }));
        }
        let writes =
            (0..200).map(|n| Write::put(CREW, &n.to_string(), json!({ "text": text, "n": n, "round": round })));
        giant.apply_writes(&large, writes.collect());
        let since = Instant::now();
        hold.put_record(&quiet, CREW, &round.to_string(), json!({}));
        signpost.await_heard_only(&hold).await;
        println!("| a flood and a giant commit elsewhere | applied | listed after | {:?} |", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(5));
    }
    signpost.await_truth(&network).await;
    assert_eq!(giant.requests(GET_REPO), 1, "2 MB and 200 ops are a commit like any other");
    assert_eq!(signpost.outcomes("commit", "applied").await as i64, 4 * 1002);
}
