//! Eight hosts that send the largest and the most finely chopped repos that are taken, all at once, and a hold that goes on writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fake_network::block::cid_of;
use fake_network::client::get;
use fake_network::{AccountOptions, FakeHost, Fault, FaultScope, Network, Write};
use serde_json::json;

use crate::database::Database;
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

const HOSTS: usize = 8;
const GET_REPO: &str = "com.atproto.sync.getRepo";
/// What signpost takes by default.
const REPO_BYTES: usize = 512 << 20;
const BLOCKS: usize = (4 << 20) / 8 * 7;
const RECORDS: usize = 200_000;
/// What is left for the honest part of an archive.
const OWN_BYTES: usize = 100 << 20;
const OWN_BLOCKS: usize = RECORDS * 2;
const SAMPLE: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(200);

/// The figures of one run.
pub async fn run() {
    let network = Network::start().await;
    let tail: bytes::Bytes = chopped().into();
    let hosts: Vec<FakeHost> = (0..HOSTS).map(|_| network.add_host()).collect();
    for host in &hosts {
        let did = host.create_account(AccountOptions::default());
        host.load_records(&did, long_keys());
        host.fault(Fault::Tail { method: GET_REPO, tail: tail.clone() }, FaultScope::Always);
    }
    let hold = network.add_host();
    let did = hold.create_account(AccountOptions::web());

    let directory = directory();
    let path = database_path(&directory);
    let signpost = Signpost::start(&path, &network);
    let database = Database::open(&path);
    signpost.announce(&hold).await;
    hold.wait_for_subscribers(1).await;
    let quiet = delays(&signpost, &hold, &did, async |writes| writes == 20).await;
    let quiet_since = Instant::now();
    let quiet_queries = queries(&signpost, async || quiet_since.elapsed() > Duration::from_secs(3)).await;

    let (before, started) = (signpost.usage(), Instant::now());
    for host in &hosts {
        signpost.announce(host).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let stressed = delays(&signpost, &hold, &did, async |_| done.load(Ordering::Relaxed));
    let sampled = async {
        let mut peak = 0;
        while database.records() < (HOSTS * RECORDS) as i64 {
            peak = peak.max(signpost.usage().anonymous_bytes);
            assert!(started.elapsed() < Duration::from_secs(600), "{} records", database.records());
            tokio::time::sleep(SAMPLE).await;
        }
        done.store(true, Ordering::Relaxed);
        peak
    };
    let queried = queries(&signpost, async || done.load(Ordering::Relaxed));
    let (stressed, peak_anonymous, queried) = tokio::join!(stressed, sampled, queried);
    let took = started.elapsed();
    let used = signpost.usage().since(&before);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let settled = signpost.usage();
    let slowest = |delays: &[Duration]| delays.iter().max().copied().unwrap_or_default();
    let p99 = |delays: &[Duration]| delays.get(delays.len() * 99 / 100).copied().unwrap_or_default();
    let median = |delays: &[Duration]| delays.get(delays.len() / 2).copied().unwrap_or_default();
    report::line(
        "hostile",
        &format!("{HOSTS} repos of 512 MiB, {BLOCKS} blocks, {RECORDS} kept records each"),
        &[
            report::ms("took", took),
            report::cpu(&used),
            report::mib("peak anonymous", peak_anonymous),
            report::mib("peak", used.peak_bytes),
            report::mib("anonymous before", before.anonymous_bytes),
            report::mib("after 3 s", settled.anonymous_bytes),
            report::ms("a hold's write listed, quiet median", median(&quiet)),
            report::ms("slowest", slowest(&quiet)),
            report::ms("meanwhile median", median(&stressed)),
            report::ms("slowest", slowest(&stressed)),
            report::ms("a query, quiet p99", p99(&quiet_queries)),
            report::ms("meanwhile p99", p99(&queried)),
        ],
    );
}

/// How long a write of the hold takes to be listed, again and again, in ascending order.
async fn delays(
    signpost: &Signpost,
    hold: &FakeHost,
    did: &str,
    is_enough: impl AsyncFn(usize) -> bool,
) -> Vec<Duration> {
    static WRITES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let mut delays = Vec::new();
    while !is_enough(delays.len()).await {
        let collection = format!("io.atcr.write{}", WRITES.fetch_add(1, Ordering::Relaxed));
        let written_at = Instant::now();
        hold.put_record(did, &collection, "self", json!({}));
        let url = format!("{}/xrpc/com.atproto.sync.listReposByCollection?collection={collection}", signpost.url());
        while !get(&url).await.is_ok_and(|answer| answer.json()["repos"][0]["did"] == did) {
            tokio::time::sleep(SAMPLE).await;
        }
        delays.push(written_at.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    delays.sort();
    delays
}

/// How long queries take, one after the other, in ascending order.
async fn queries(signpost: &Signpost, is_enough: impl AsyncFn() -> bool) -> Vec<Duration> {
    let url = format!("{}/xrpc/com.atproto.sync.listReposByCollection?collection=io.atcr.*", signpost.url());
    let mut took = Vec::new();
    while !is_enough().await {
        let asked_at = Instant::now();
        assert!(get(&url).await.is_ok_and(|answer| answer.status == 200));
        took.push(asked_at.elapsed());
        tokio::time::sleep(SAMPLE).await;
    }
    took.sort();
    took
}

/// Records whose paths have 128 bytes, as many as are kept of a repo and as long.
fn long_keys() -> impl Iterator<Item = Write> {
    (0..RECORDS).map(|number| {
        let mut mixed = fastrand::Rng::with_seed(number as u64);
        let rkey: String = std::iter::repeat_with(|| mixed.alphanumeric()).take(111).collect();
        Write::put("io.atcr.manifest", &rkey, json!({ "number": number }))
    })
}

/// Blocks that belong to nothing, which is legal: what fills an archive up.
fn chopped() -> Vec<u8> {
    let blocks = BLOCKS - OWN_BLOCKS;
    let size = (REPO_BYTES - OWN_BYTES) / blocks - 38;
    let mut out = Vec::with_capacity(REPO_BYTES);
    for number in 0..blocks as u64 {
        let mut block = vec![0x58; size];
        block[..8].copy_from_slice(&number.to_le_bytes());
        let length = 36 + size;
        assert!((0x80..0x4000).contains(&length), "a length of two bytes");
        out.extend([length as u8 | 0x80, (length >> 7) as u8]);
        out.extend(cid_of(&block).to_bytes());
        out.extend(block);
    }
    out
}
