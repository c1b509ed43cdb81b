//! listReposByCollection, pages of 500, with 8 keep-alive connections.

use std::path::Path;
use std::sync::Arc;

use fake_network::Network;
use rusqlite::Connection;
use serde_json::Value;
use signpost::config::{Limits, StoreConfig};
use signpost::store::Store;
use signpost::syntax::CollectionFilter;
use tokio_util::sync::CancellationToken;

use crate::load::{self, Client};
use crate::report;
use crate::signpost::{Signpost, database_path, directory};

const REPOS: i64 = 200_000;
/// Each with the share of repos that hold it, in percent.
const COLLECTIONS: [(&str, u8); 3] = [("io.atcr.sailor.profile", 100), ("io.atcr.manifest", 50), ("io.atcr.tag", 25)];
const PAGE: usize = 500;
const CONNECTIONS: usize = 8;
const WARM_UP: usize = 400;
const REQUESTS: usize = 8_000;

/// One collection and a pattern that merges all three, each on its first page and on pages all over the list.
pub async fn run() {
    let network = Network::start().await;
    let directory = directory();
    let path = database_path(&directory);
    fill(&path).await;
    let signpost = Signpost::start(&path, &network);
    for (collection, what) in [("io.atcr.manifest", "1 collection"), ("io.atcr.*", "pattern over 3 collections")] {
        let pages = pages(signpost.url(), collection).await;
        let first = pages[..1].to_vec();
        for (paths, which) in [(first, "first page"), (shuffled(pages), "random pages")] {
            let paths: Arc<[String]> = paths.into();
            load::run(signpost.url(), paths.clone(), CONNECTIONS, WARM_UP).await;
            let before = signpost.usage();
            let load = load::run(signpost.url(), paths, CONNECTIONS, REQUESTS).await;
            let used = signpost.usage().since(&before);
            report::line(
                "list",
                &format!("{REPOS} repos, {what}, {PAGE} DIDs a page, {which}, {CONNECTIONS} connections"),
                &[
                    report::rate("requests", load.requests(), load.took),
                    report::ms("p50", load.percentile(50)),
                    report::ms("p99", load.percentile(99)),
                    report::cpu_each("request", &used, load.requests()),
                    report::mib("resident", used.rss_bytes),
                ],
            );
        }
    }
}

/// Makes the database as signpost does, and fills the tables that the list is answered from.
async fn fill(path: &Path) {
    let config = StoreConfig {
        path: path.to_owned(),
        // Another than it is served with: then the tables of the patterns are made from the rows at the start.
        filter: CollectionFilter::parse("*").expect("it is a pattern"),
        limits: Limits::default(),
    };
    let store = Store::open(&config, CancellationToken::new()).expect("the directory is empty");
    store.close().await;
    drop(store);
    insert(Connection::open(path).expect("the file is there")).expect("the rows fit schema.sql");
}

fn insert(mut db: Connection) -> rusqlite::Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let tx = db.transaction()?;
    tx.execute_batch(
        "INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at, reached_at)
         VALUES (1, 'pds.example.com', 'https', 'active', 0, 0, 0, 1)",
    )?;
    for (id, (nsid, _)) in (1_i64..).zip(COLLECTIONS) {
        tx.execute("INSERT INTO collections (collection_id, nsid) VALUES (?1, ?2)", (id, nsid))?;
    }
    {
        let mut repo = tx.prepare(
            "INSERT INTO repos (repo_id, did, host_id, active, rev, head, data) VALUES (?1, ?2, 1, 1, '3lqmdtcgn2s2a', ?3, ?3)",
        )?;
        let mut held =
            tx.prepare("INSERT INTO repo_collections (collection_id, repo_id, record_count) VALUES (?1, ?2, 1)")?;
        for repo_id in 1..=REPOS {
            let digest: [u8; 32] = std::array::from_fn(|_| random.u8(..));
            repo.execute((repo_id, did_plc(&mut random), digest))?;
            for (id, (_, percent)) in (1_i64..).zip(COLLECTIONS) {
                if random.u8(..100) < percent {
                    held.execute((id, repo_id))?;
                }
            }
        }
    }
    // The next start makes the summary of its patterns anew.
    tx.execute_batch("DELETE FROM patterns")?;
    tx.commit()
}

fn did_plc(random: &mut fastrand::Rng) -> String {
    const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digits = (0..24).map(|_| char::from(BASE32[random.usize(..BASE32.len())]));
    "did:plc:".chars().chain(digits).collect()
}

/// The paths of all whole pages, from a walk of the list.
async fn pages(url: &str, collection: &str) -> Vec<String> {
    let mut client = Client::connect(url).await;
    let first = format!("/xrpc/com.atproto.sync.listReposByCollection?collection={collection}&limit={PAGE}");
    let mut pages = vec![first.clone()];
    loop {
        let answer: Value = serde_json::from_str(client.get(&pages[pages.len() - 1]).await).expect("JSON");
        let Some(cursor) = answer["cursor"].as_str() else {
            // The last page may be short.
            pages.pop();
            return pages;
        };
        assert_eq!(answer["repos"].as_array().map(Vec::len), Some(PAGE));
        pages.push(format!("{first}&cursor={cursor}"));
    }
}

fn shuffled(mut pages: Vec<String>) -> Vec<String> {
    fastrand::Rng::with_seed(2).shuffle(&mut pages);
    pages
}
