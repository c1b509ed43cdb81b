//! Backfill: from the POST of requestCrawl until every record is indexed.

use std::time::{Duration, Instant};

use fake_network::Network;

use crate::corpus::{manifests, post};
use crate::database::Database;
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

/// What a repo is taken by.
const CALLS: [&str; 3] = ["com.atproto.sync.getRecord", "com.atproto.sync.getBlocks", "com.atproto.sync.getRepo"];
/// After the work, for what is freed late.
const SETTLE: Duration = Duration::from_secs(3);

/// One repo of 100,000 records.
pub async fn large() {
    crawl("crawl_large", 1, 100_000, 100_000).await;
}

/// One host with 2,000 repos of 20 records, of which all, four or none match.
pub async fn many() {
    for matching in [20, 4, 0] {
        crawl("crawl_many", 2_000, 20, matching).await;
    }
}

/// One repo of 100,000 records, of which ten match or none.
pub async fn sparse() {
    for matching in [10, 0] {
        crawl("crawl_sparse", 1, 100_000, matching).await;
    }
}

async fn crawl(name: &str, repos: usize, records_each: usize, matching: usize) {
    let network = Network::start().await;
    let host = network.add_host();
    for did in host.create_accounts(repos) {
        let others = (matching..records_each).map(post);
        host.load_records(&did, manifests(&did, 0..matching).chain(others));
    }
    let directory = directory();
    let path = database_path(&directory);
    let signpost = Signpost::start(&path, &network);
    let database = Database::open(&path);

    let (before, started) = (signpost.usage(), Instant::now());
    signpost.announce(&host).await;
    let records = repos * matching;
    database.wait_for_repos(repos).await;
    assert_eq!(database.records(), records as i64);
    let took = started.elapsed();
    let used = signpost.usage().since(&before);
    tokio::time::sleep(SETTLE).await;
    let settled = signpost.usage();
    report::line(
        name,
        &format!("1 host, {repos} repos x {records_each} records, {matching} of them matching"),
        &[
            report::ms("took", took),
            report::rate("records", repos * records_each, took),
            report::rate("repos", repos, took),
            report::cpu(&used),
            report::cpu_each("repo", &used, repos),
            format!(
                "{:.2} calls/repo",
                CALLS.map(|call| host.requests(call)).iter().sum::<usize>() as f64 / repos as f64
            ),
            format!("{} bytes/repo", CALLS.map(|call| host.answered_bytes(call)).iter().sum::<usize>() / repos),
            report::mib("peak", used.peak_bytes),
            report::mib("before", before.rss_bytes),
            report::mib("after 3 s", settled.rss_bytes),
        ],
    );
}
