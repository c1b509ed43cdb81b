//! SIGKILL at random moments: nothing is lost, nothing is doubled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake_network::{AccountOptions, FakeHost, Network};
use serde_json::json;

use crate::await_condition::await_condition;
use crate::process::Process;
use crate::{CAPTAIN, CREW};

/// How often signpost is killed in a test; 10 times, or as `SIGNPOST_KILLS` says (`SIGNPOST_KILLS=200 cargo test --test service kills`).
fn kills() -> usize {
    std::env::var("SIGNPOST_KILLS").map_or(10, |kills| kills.parse().expect("SIGNPOST_KILLS is a number"))
}

/// What must hold after any kill, at any moment.
fn check(signpost: &Process, host: &FakeHost) {
    let index = signpost.index();
    assert_eq!(index.wrong_counts(), 0);
    assert_eq!(index.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'", []), 0);
    let cursor = index.host_cursor(host.name());
    assert!(cursor <= Some(host.latest_seq()), "{cursor:?} is beyond {}", host.latest_seq());
}

/// Waits until the index has this many rows.
async fn await_rows(signpost: &Process, enough: i64) {
    await_condition("the backfill goes on", async || {
        match signpost.index().number("SELECT count(*) FROM indexed_records", []) {
            rows if rows >= enough => Ok(()),
            rows => Err(format!("at {rows} of {enough} rows")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_of_a_backfill_lose_and_double_nothing() {
    let network = Network::start().await;
    let host = network.add_host();
    host.set_page_limit(50);
    let dids = host.create_accounts(300);
    for did in &dids {
        (0..4).for_each(|number| drop(host.put_record(did, CREW, &number.to_string(), json!({ "number": number }))));
    }
    let mut random = fastrand::Rng::with_seed(7);
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    let rows_per_kill = 1200 / (kills() as i64 + 1);
    for kill in 0..kills() as i64 {
        await_rows(&signpost, kill * rows_per_kill + random.i64(1..=rows_per_kill)).await;
        signpost.kill();
        check(&signpost, &host);
        signpost.start_again();
    }
    signpost.await_truth(&network).await;
    host.wait_for_subscribers(1).await;
    host.put_record(&dids[17], CAPTAIN, "self", json!({}));
    signpost.await_truth(&network).await;
    check(&signpost, &host);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_mid_stream_lose_and_double_nothing() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(10);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    host.wait_for_subscribers(1).await;

    let enough = AtomicBool::new(false);
    let write = async {
        let mut random = fastrand::Rng::with_seed(8);
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        while !enough.load(Ordering::Relaxed) {
            pace.tick().await;
            let (did, rkey) = (&dids[random.usize(..10)], random.u8(..20).to_string());
            match random.u8(..4) {
                0 => host.delete_record(did, CREW, &rkey),
                _ => drop(host.put_record(did, CREW, &rkey, json!({ "number": random.u32(..) }))),
            }
        }
    };
    let kill = async {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..kills() {
            let target = host.latest_seq() + random.i64(1..150);
            await_condition("the stream goes on", async || match signpost.index().host_cursor(host.name()) {
                Some(cursor) if cursor >= target => Ok(()),
                cursor => Err(format!("at {cursor:?} of {target}")),
            })
            .await;
            signpost.kill();
            check(&signpost, &host);
            signpost.start_again();
        }
        enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, kill);
    signpost.await_truth(&network).await;
    check(&signpost, &host);
    assert_eq!(host.requests(crate::GET_REPO), 10, "the stored chain of commits went on after every kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_survives_a_kill_right_after_its_answer() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    host.down().await;
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    signpost.kill();
    host.up();
    signpost.start_again();
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_held_at_a_kill_are_applied_after_it() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let slow = fake_network::Fault::Stall { method: crate::GET_REPO };
    host.fault(slow.clone(), fake_network::FaultScope::Always);
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    host.wait_fired(&slow, 1).await;
    (0..5).for_each(|number| drop(host.put_record(&did, CREW, &number.to_string(), json!({}))));
    await_condition("the events are held", async || {
        match signpost.index().number("SELECT count(*) FROM held_events", []) {
            5 => Ok(()),
            held => Err(format!("{held} are held")),
        }
    })
    .await;
    signpost.kill();
    host.clear(&slow);
    signpost.start_again();
    signpost.await_truth(&network).await;
    check(&signpost, &host);
}
