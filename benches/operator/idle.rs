//! What signpost costs when nothing happens.

use std::time::Duration;

use fake_network::Network;

use crate::corpus::manifests;
use crate::database::Database;
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

const HOSTS: usize = 100;
const RECORDS_EACH: usize = 5;
const SETTLE: Duration = Duration::from_secs(3);
const WATCH: Duration = Duration::from_secs(10);

/// 100 hosts with one repo each, subscribed.
pub async fn run() {
    let network = Network::start().await;
    let directory = directory();
    let path = database_path(&directory);
    let signpost = Signpost::start(&path, &network);
    let fresh = signpost.usage();
    let mut hosts = Vec::with_capacity(HOSTS);
    for _ in 0..HOSTS {
        let host = network.add_host();
        for did in host.create_accounts(1) {
            host.load_records(&did, manifests(&did, 0..RECORDS_EACH));
        }
        signpost.announce(&host).await;
        hosts.push(host);
    }
    Database::open(&path).wait_for_records(HOSTS * RECORDS_EACH).await;
    for host in &hosts {
        host.wait_for_subscribers(1).await;
    }
    tokio::time::sleep(SETTLE).await;
    let before = signpost.usage();
    tokio::time::sleep(WATCH).await;
    let after = signpost.usage();
    report::line(
        "idle",
        &format!("{HOSTS} subscribed hosts, one repo each"),
        &[
            report::mib("resident", after.rss_bytes),
            report::mib("at the start", fresh.rss_bytes),
            report::ms("CPU in 10 s", after.since(&before).cpu),
        ],
    );
}
