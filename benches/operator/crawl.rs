//! Backfill: from the POST of requestCrawl until every record is indexed.

use std::time::{Duration, Instant};

use fake_network::Network;

use crate::corpus::manifests;
use crate::database::Database;
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

/// After the work, for what is freed late.
const SETTLE: Duration = Duration::from_secs(3);

/// One repo of 100,000 records.
pub async fn large() {
    crawl("crawl_large", 1, 100_000).await;
}

/// One host with 2,000 repos of 20 records.
pub async fn many() {
    crawl("crawl_many", 2_000, 20).await;
}

async fn crawl(name: &str, repos: usize, records_each: usize) {
    let network = Network::start().await;
    let host = network.add_host();
    for did in host.create_accounts(repos) {
        host.load_records(&did, manifests(&did, 0..records_each));
    }
    let directory = directory();
    let path = database_path(&directory);
    let signpost = Signpost::start(&path, &network);
    let database = Database::open(&path);

    let (before, started) = (signpost.usage(), Instant::now());
    signpost.announce(&host).await;
    let records = repos * records_each;
    database.wait_for_records(records).await;
    let took = started.elapsed();
    let used = signpost.usage().since(&before);
    tokio::time::sleep(SETTLE).await;
    let settled = signpost.usage();
    report::line(
        name,
        &format!("1 host, {repos} repos x {records_each} records"),
        &[
            report::ms("took", took),
            report::rate("records", records, took),
            report::rate("repos", repos, took),
            report::cpu(&used),
            report::cpu_each("repo", &used, repos),
            report::cpu_each("record", &used, records),
            report::mib("peak", used.peak_bytes),
            report::mib("before", before.rss_bytes),
            report::mib("after 3 s", settled.rss_bytes),
        ],
    );
}
