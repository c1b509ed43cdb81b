//! Live commits: a firehose with history is replayed from the stored cursor, as after a time in which signpost was down.

use std::time::Instant;

use fake_network::{AccountOptions, Curve, FakeHost, Network, Write};

use crate::corpus::{one_manifest, post};
use crate::database::Database;
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

const REPOS: usize = 2_000;
const RECORDS_EACH: usize = 20;
/// The number of a record that is no other's.
const FIRST: usize = 1_000_000;
const COMMITS_EACH: usize = 20;

/// What the commits are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Matching(Curve),
    /// In repos without any record inside the filter.
    Outside,
}

/// 40,000 commits of one new record each, turn by turn over 2,000 repos.
pub async fn k256() {
    run("live", Kind::Matching(Curve::K256)).await;
}

/// The same, signed with the other curve.
pub async fn p256() {
    run("live_p256", Kind::Matching(Curve::P256)).await;
}

/// The same outside the filter, in repos of which nothing is indexed.
pub async fn outside() {
    run("live_outside", Kind::Outside).await;
}

async fn run(name: &str, kind: Kind) {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = create_accounts(&host, kind);
    for did in &dids {
        host.load_records(did, (0..RECORDS_EACH).flat_map(|number| one_record(kind, did, number)));
    }
    let directory = directory();
    let path = database_path(&directory);
    let signpost = Signpost::start(&path, &network);
    let database = Database::open(&path);
    signpost.announce(&host).await;
    database.wait_for_repos(REPOS).await;
    // A firehose that never said anything has no cursor to come back to.
    host.apply_writes(&dids[0], one_record(kind, &dids[0], FIRST));
    database.wait_for_cursors(host.latest_seq()).await;
    signpost.stop();
    if kind == Kind::Outside {
        Database::forget_identities(&path);
    }

    for number in RECORDS_EACH..RECORDS_EACH + COMMITS_EACH {
        for did in &dids {
            host.apply_writes(did, one_record(kind, did, number));
        }
    }
    let commits = REPOS * COMMITS_EACH;
    let fetches = fetches_of(&host);
    let signpost = Signpost::start(&path, &network);
    let (before, started) = (signpost.usage(), Instant::now());
    database.wait_for_cursors(host.latest_seq()).await;
    let took = started.elapsed();
    let used = signpost.usage().since(&before);
    // Each of them was applied, and none made signpost fetch a repo again.
    database.wait_for_repos(REPOS).await;
    let records = if kind == Kind::Outside { 0 } else { REPOS * RECORDS_EACH + 1 + commits };
    assert_eq!(database.records(), records as i64);
    assert!(dids.iter().all(|did| database.rev(did) == host.rev(did)), "a commit was not applied");
    assert_eq!(fetches_of(&host), fetches, "repos were fetched again");
    let what = match kind {
        Kind::Matching(Curve::K256) => "K-256, inside the filter",
        Kind::Matching(Curve::P256) => "P-256, inside the filter",
        Kind::Outside => "K-256, outside the filter, nothing indexed",
    };
    report::line(
        name,
        &format!("{commits} commits of one op in {REPOS} repos of {RECORDS_EACH} records and more, {what}"),
        &[
            report::rate("commits", commits, took),
            report::cpu(&used),
            report::cpu_each("commit", &used, commits),
            report::mib("peak", used.peak_bytes),
        ],
    );
}

fn fetches_of(host: &FakeHost) -> usize {
    ["getRepo", "getRecord", "getBlocks"]
        .map(|method| host.requests(&format!("com.atproto.sync.{method}")))
        .iter()
        .sum()
}

fn create_accounts(host: &FakeHost, kind: Kind) -> Vec<String> {
    let curve = if let Kind::Matching(curve) = kind { curve } else { Curve::K256 };
    (0..REPOS).map(|_| host.create_account(AccountOptions { curve, ..AccountOptions::default() })).collect()
}

fn one_record(kind: Kind, did: &str, number: usize) -> Vec<Write> {
    match kind {
        Kind::Matching(_) => one_manifest(did, number),
        Kind::Outside => vec![post(number)],
    }
}
