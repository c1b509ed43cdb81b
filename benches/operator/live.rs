//! Live commits: a firehose with history is replayed from the stored cursor, as after a time in which signpost was down.

use std::time::Instant;

use fake_network::Network;

use crate::corpus::{manifests, one_manifest};
use crate::database::Database;
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

const REPOS: usize = 2_000;
const RECORDS_EACH: usize = 20;
/// The number of a record that is no other's.
const FIRST: usize = 1_000_000;
const COMMITS_EACH: usize = 20;

/// 40,000 commits of one new record each, turn by turn over 2,000 repos.
pub async fn run() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(REPOS);
    for did in &dids {
        host.load_records(did, manifests(did, 0..RECORDS_EACH));
    }
    let directory = directory();
    let path = database_path(&directory);
    let signpost = Signpost::start(&path, &network);
    let database = Database::open(&path);
    signpost.announce(&host).await;
    database.wait_for_records(REPOS * RECORDS_EACH).await;
    // A firehose that never said anything has no cursor to come back to.
    host.apply_writes(&dids[0], one_manifest(&dids[0], FIRST));
    database.wait_for_cursors(host.latest_seq()).await;
    signpost.stop();

    for number in RECORDS_EACH..RECORDS_EACH + COMMITS_EACH {
        for did in &dids {
            host.apply_writes(did, one_manifest(did, number));
        }
    }
    let commits = REPOS * COMMITS_EACH;
    let signpost = Signpost::start(&path, &network);
    let (before, started) = (signpost.usage(), Instant::now());
    database.wait_for_cursors(host.latest_seq()).await;
    let took = started.elapsed();
    let used = signpost.usage().since(&before);
    // Each of them was applied, and none made signpost fetch a repo again.
    database.wait_for_records(REPOS * RECORDS_EACH + 1 + commits).await;
    assert_eq!(host.requests("com.atproto.sync.getRepo"), REPOS, "repos were fetched again");
    report::line(
        "live",
        &format!("{commits} commits of one op in {REPOS} repos of {RECORDS_EACH} records and more"),
        &[
            report::rate("commits", commits, took),
            report::cpu(&used),
            report::cpu_each("commit", &used, commits),
            report::mib("peak", used.peak_bytes),
        ],
    );
}
