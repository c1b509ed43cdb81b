//! What signpost costs when nothing happens.

use std::time::Duration;

use fake_network::Network;

use crate::corpus::manifests;
use crate::database::Database;
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

/// `SIGNPOST_BENCH_HOSTS=10000` adds a number to these: the network needs two open files for each, and some minutes.
const HOSTS: [usize; 2] = [100, 1000];
const RECORDS_EACH: usize = 5;
/// Connections of the backfill are closed by then, and what they took was given back: that is done once a minute.
const SETTLE: Duration = Duration::from_secs(70);
const WATCH: Duration = Duration::from_secs(10);

/// Hosts with one repo each, subscribed.
pub async fn run() {
    let more = std::env::var("SIGNPOST_BENCH_HOSTS").ok().map(|hosts| hosts.parse().expect("a number of hosts"));
    for hosts in HOSTS.into_iter().chain(more) {
        subscribed(hosts).await;
    }
}

async fn subscribed(count: usize) {
    let network = Network::start().await;
    let directory = directory();
    let path = database_path(&directory);
    let signpost = Signpost::start(&path, &network);
    let fresh = signpost.usage();
    let mut hosts = Vec::with_capacity(count);
    for _ in 0..count {
        let host = network.add_host();
        for did in host.create_accounts(1) {
            host.load_records(&did, manifests(&did, 0..RECORDS_EACH));
        }
        signpost.announce(&host).await;
        hosts.push(host);
    }
    Database::open(&path).wait_for_records(count * RECORDS_EACH).await;
    for host in &hosts {
        host.wait_for_subscribers(1).await;
    }
    tokio::time::sleep(SETTLE).await;
    let before = signpost.usage();
    tokio::time::sleep(WATCH).await;
    let after = signpost.usage();
    report::line(
        "idle",
        &format!("{count} subscribed hosts, one repo each"),
        &[
            report::mib("resident", after.rss_bytes),
            report::mib("at the start", fresh.rss_bytes),
            format!(
                "{:.1} KiB anonymous a host",
                (after.anonymous_bytes - fresh.anonymous_bytes) as f64 / 1024.0 / count as f64
            ),
            report::ms("CPU in 10 s", after.since(&before).cpu),
        ],
    );
}
