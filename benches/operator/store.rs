//! The index by itself: commits with rows, taken in as a firehose's are, written in the same transactions.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fake_network::tid;
use rusqlite::Connection;
use signpost::config::{Limits, StoreConfig};
use signpost::index::{self, Author, CommitFact, Event, Fact, ProvenCommit, RecordChange};
use signpost::repo::DagCid;
use signpost::store::{Admission, Durability, HostId, Store};
use signpost::syntax::{CollectionFilter, Did, Host, HostPolicy, Rev};
use tokio_util::sync::CancellationToken;

use crate::report;
use crate::signpost::{database_path, directory, usage_of};

const REPOS: usize = 1_000_000;
const RECORDS_EACH: usize = 5;
const COLLECTIONS: usize = 20;
/// As many events as a firehose's batch has.
const BATCH: usize = 256;
/// Made before the clock starts.
const CHUNK: usize = 20_000;
const HOST: HostId = HostId(1);

/// What it took to write the rows.
pub struct Filled {
    pub rows: usize,
    pub json_bytes: i64,
    took: Duration,
    cpu: Duration,
}

/// 5,000,000 rows in 20 collections: one commit of five records for each of a million repos.
pub async fn run() {
    let repos = repos_or(REPOS);
    let directory = directory();
    let path = database_path(&directory);
    let Filled { rows, json_bytes, took, cpu } = fill(&path, repos).await;
    let db = Connection::open(&path).expect("signpost made it");
    let bytes = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("it fits schema.sql");
    let index_bytes = bytes("SELECT sum(pgsize) FROM dbstat WHERE name IN ('indexed_records', 'record_contents')");
    let file_bytes = bytes("SELECT sum(pgsize) FROM dbstat");
    let each = |bytes: i64| (bytes - json_bytes) as f64 / rows as f64;
    report::line(
        "store",
        &format!("{rows} rows in {COLLECTIONS} collections, {RECORDS_EACH} to a commit, of {repos} repos"),
        &[
            report::rate("rows", rows, took),
            format!("{:.1} us CPU/row", cpu.as_secs_f64() * 1e6 / rows as f64),
            format!("{:.0} bytes of JSON a row", json_bytes as f64 / rows as f64),
            format!("{:.0} beside it in the index", each(index_bytes)),
            format!("{:.0} in the whole file", each(file_bytes)),
        ],
    );
}

/// `SIGNPOST_BENCH_REPOS`, if there is one.
pub fn repos_or(usual: usize) -> usize {
    std::env::var("SIGNPOST_BENCH_REPOS").map_or(usual, |repos| repos.parse().expect("a number of repos"))
}

/// Makes a database of so many repos, with five rows for each.
pub async fn fill(path: &Path, repos: usize) -> Filled {
    let limits = Limits { records_per_host: i64::MAX, bytes_per_host: i64::MAX, ..Limits::default() };
    let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
    let config = StoreConfig { path: path.to_owned(), filter, limits };
    let store = Store::open(&config, CancellationToken::new()).expect("a new database");
    let host = Host::parse("host.example.com", HostPolicy::PublicOnly).expect("a host");
    store.request_crawl(&host, Admission::Free).await.expect("accepted");
    let (write, this) = (Durability::Replayable, std::process::id());
    let (mut took, mut cpu, mut json_bytes) = (Duration::ZERO, Duration::ZERO, 0);
    for chunk in (0..repos).collect::<Vec<_>>().chunks(CHUNK) {
        let new = chunk.to_vec();
        store.write(write, move |tx| new.into_iter().try_for_each(|repo| add_repo(tx, repo))).await.expect("written");
        let events: Vec<Event> = chunk.iter().map(|repo| event(*repo, &mut json_bytes)).collect();
        let batches: Vec<Vec<Event>> = events.chunks(BATCH).map(<[Event]>::to_vec).collect();
        let (before, started) = (usage_of(this), Instant::now());
        for batch in batches {
            let wanted = batch.len() * RECORDS_EACH;
            let taken = store.write(write, move |tx| index::ingest(tx, HOST, batch, None)).await.expect("written");
            assert_eq!(taken.records_written, wanted as u64);
        }
        took += started.elapsed();
        cpu += usage_of(this).since(&before).cpu;
    }
    store.close().await;
    Filled { rows: repos * RECORDS_EACH, json_bytes, took, cpu }
}

fn add_repo(tx: &signpost::store::Tx, number: usize) -> signpost::store::TxResult<()> {
    let repo = tx.insert_repo(&did(number), HOST, true, None)?;
    tx.set_repo_commit(repo, &rev(1), cid(number, 0), cid(number, 1))?;
    tx.set_signing_key(repo, "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc")
}

/// The commit after the one that is known, as it is once it was verified.
fn event(number: usize, json_bytes: &mut i64) -> Event {
    let changes = (0..RECORDS_EACH).map(|record| {
        let json = json(number, record);
        *json_bytes += json.len() as i64;
        let collection = format!("io.atcr.c{:02}", (number + 4 * record) % COLLECTIONS);
        let rkey = tid(1_700_000_000_000_000 + (number * 7919 + record * 104_729) as u64 % 1_000_000_000_000);
        RecordChange::Put { collection, rkey, cid: cid(number, 2 + record as u64), json, is_update: false }
    });
    let (head, data) = (cid(number, 100), cid(number, 101));
    let proven = ProvenCommit { head, data, author: Author::Account, changes: changes.collect(), legacy: None };
    let commit =
        CommitFact { rev: Some(rev(2)), since: Some(rev(1)), prev_data: Some(cid(number, 1)), proof: Ok(proven) };
    Event { did: did(number), seq: number as i64, fact: Fact::Commit(commit), frame: Bytes::new() }
}

fn did(number: usize) -> Did {
    let mut mixed = fastrand::Rng::with_seed(number as u64);
    let text: String = (0..24).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[mixed.usize(0..32)])).collect();
    Did::parse(&format!("did:plc:{text}")).expect("a DID")
}

fn rev(number: u64) -> Rev {
    Rev::parse(&tid(1_700_000_000_000_000 + number)).expect("a TID")
}

fn cid(number: usize, what: u64) -> DagCid {
    let mut mixed = fastrand::Rng::with_seed((number as u64) << 8 | what);
    DagCid::from_digest(std::array::from_fn(|_| mixed.u8(..)))
}

/// As long as records of ATCR are.
fn json(number: usize, record: usize) -> String {
    format!(
        r#"{{"$type":"io.atcr.manifest","repository":"project-{record}","digest":"sha256:{number:064x}","holdDid":"did:web:hold01.example.com","mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,"size":{number},"createdAt":"2026-03-01T12:00:00.000Z"}}"#
    )
}
