//! The database under faults: no room, damage, a writer that panics, a query without end; and files of earlier versions.

mod check;
mod schedule;
mod upgrade;

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::syntax::{Did, Host, HostPolicy, NsidPattern};

struct World {
    directory: TempDir,
    store: Store,
    failed: CancellationToken,
}

fn config(directory: &Path) -> StoreConfig {
    let (path, filter) = (directory.join("signpost.db"), CollectionFilter::parse("io.atcr.*").unwrap());
    StoreConfig { path, filter, limits: Limits::default() }
}

impl World {
    fn new() -> World {
        World::open(TempDir::new().unwrap())
    }

    fn open(directory: TempDir) -> World {
        let failed = CancellationToken::new();
        let store = Store::open(&config(directory.path()), failed.clone()).unwrap();
        World { directory, store, failed }
    }

    /// From now on the database has no room for more than so many pages; 0 for as many as there are.
    async fn set_most_pages(&self, pages: i64) {
        let work = move |tx: &Tx| {
            let most: i64 = match pages {
                0 => tx.db.query_row("PRAGMA page_count", [], |row| row.get(0))?,
                pages => pages,
            };
            tx.db.query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get::<_, i64>(0))
        };
        self.store.write(Durability::Replayable, work).await.unwrap();
    }

    async fn hold(&self, seq: i64, size_bytes: usize) -> Result<Holding, StoreError> {
        let frame = vec![7; size_bytes];
        self.store.write(Durability::Replayable, move |tx| tx.hold_event(RepoId(1), HostId(1), seq, &frame)).await
    }

    async fn held_bytes(&self) -> (i64, u64) {
        let work = |tx: &Tx| {
            let stored =
                tx.db.query_row("SELECT ifnull(sum(length(frame)), 0) FROM held_events", [], |row| row.get(0))?;
            Ok((stored, tx.state.held_bytes.get()))
        };
        self.store.write(Durability::Replayable, work).await.unwrap()
    }
}

/// A host with one account.
async fn fill(store: &Store) {
    let host = Host::parse("hold01.example.com", HostPolicy::PublicOnly).unwrap();
    store.request_crawl(&host, Admission::Free).await.unwrap();
    let work = |tx: &Tx| tx.insert_repo(&Did::parse("did:web:repo1.example.com").unwrap(), HostId(1), true, None);
    store.write(Durability::Replayable, work).await.unwrap();
}

#[tokio::test]
async fn a_write_without_room_leaves_nothing_and_the_next_one_with_room_is_taken() {
    let world = World::new();
    fill(&world.store).await;
    world.hold(1, 1000).await.unwrap();
    world.set_most_pages(0).await;
    let full = world.store.disk_full();
    // More than the cache of the writer: SQLite meets the end of the room in the middle of the transaction.
    for size_bytes in [100_000, 3_000_000] {
        assert!(matches!(world.hold(2, size_bytes).await, Err(StoreError::Full)), "{size_bytes}");
        assert!(*full.borrow());
        assert_eq!(world.held_bytes().await, (1000, 1000));
    }
    assert!(!world.failed.is_cancelled());
    world.set_most_pages(100_000).await;
    assert_eq!(world.hold(2, 3_000_000).await.unwrap(), Holding::Held);
    assert_eq!(world.held_bytes().await, (3_001_000, 3_001_000));
    assert!(!*full.borrow());
    world.store.close().await;
    assert!(!world.failed.is_cancelled());
}

#[tokio::test]
async fn all_of_a_group_without_room_are_told_so() {
    let world = World::new();
    fill(&world.store).await;
    world.set_most_pages(0).await;
    // The writer is busy with the first, so the others become one group.
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (release, wait) = std::sync::mpsc::channel();
    let store = world.store.clone();
    let first = tokio::spawn(async move {
        let work = move |_: &Tx| {
            begun.send(()).unwrap();
            Ok(wait.recv().is_ok())
        };
        store.write(Durability::Replayable, work).await
    });
    has_begun.await.unwrap();
    let small = world.store.write(Durability::Replayable, |tx| meta::set(tx.db, "small", "1"));
    let let_go = async { release.send(()).unwrap() };
    let (small, large, ()) = tokio::join!(small, world.hold(1, 500_000), let_go);
    assert!(first.await.unwrap().unwrap());
    assert!(matches!(large, Err(StoreError::Full)));
    let stored = world.store.read(|tx| meta::get(tx.db, "small")).await.unwrap();
    assert_eq!(small.is_ok(), stored.is_some(), "what is answered is what is stored");
    assert!(matches!(small, Err(StoreError::Full)), "it was in the same group");
}

#[tokio::test]
async fn below_the_floor_nothing_is_written_and_everything_is_read() {
    let directory = TempDir::new().unwrap();
    let world = World::open(directory);
    fill(&world.store).await;
    world.store.close().await;
    let World { directory, store, .. } = world;
    drop(store);
    let failed = CancellationToken::new();
    let store = Store::open_with(&config(directory.path()), u64::MAX / 2, failed.clone()).unwrap();
    let host = Host::parse("hold02.example.com", HostPolicy::PublicOnly).unwrap();
    assert!(matches!(store.request_crawl(&host, Admission::Free).await, Err(StoreError::Full)));
    assert!(matches!(store.begin_anew().await, Err(StoreError::Full)));
    assert_eq!(store.read(|tx| tx.known_host_by_id(HostId(1))).await.unwrap().unwrap().as_str(), "hold01.example.com");
    let stats = store.stats().await.unwrap();
    assert!(stats.disk_full && stats.disk_free_bytes.is_some());
    store.close().await;
    assert!(!failed.is_cancelled());
}

#[tokio::test]
async fn a_query_without_end_is_cut_and_its_connection_serves_on() {
    let world = World::new();
    let endless = |tx: &Tx| {
        let sql =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000000) SELECT count(*) FROM n";
        tx.db.query_row(sql, [], |row| row.get::<_, i64>(0))
    };
    let started = Instant::now();
    assert!(matches!(world.store.query(endless).await, Err(StoreError::Slow)));
    assert!((LONGEST_QUERY..LONGEST_QUERY * 3).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(world.store.stats().await.unwrap().queries_cut, 1);
    // What is ours is not cut, whatever ran on its connection before.
    for _ in 0..8 {
        let shorter = |tx: &Tx| {
            let sql =
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT count(*) FROM n";
            tx.db.query_row(sql, [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(world.store.read(shorter).await.unwrap(), 5000);
    }
    assert!(!world.failed.is_cancelled());
}

/// Overwrites every page but the first, where the schema is.
fn scribble(path: &Path) {
    let mut file: File = OpenOptions::new().write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 1..pages {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xA5; 512]).unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_meets_a_corrupt_page_stops_the_process() {
    let world = World::new();
    fill(&world.store).await;
    world.store.close().await;
    let World { directory, store, .. } = world;
    drop(store);
    let world = World::open(directory);
    world.store.read(|tx| tx.known_host_by_id(HostId(1))).await.unwrap();
    // The log is empty: what is read comes from the file.
    world.store.close().await;
    scribble(&config(world.directory.path()).path);
    let read = world.store.read(|tx| {
        tx.db.query_row("SELECT count(*) FROM hosts NOT INDEXED WHERE scheme = 'http'", [], |row| row.get::<_, i64>(0))
    });
    assert!(read.await.is_err());
    assert!(world.failed.is_cancelled());
    let reason = world.store.failure().unwrap();
    assert!(reason.starts_with("the database cannot be read: ") && reason.contains("malformed"), "{reason}");
}

#[tokio::test]
async fn a_reader_that_meets_a_damaged_row_of_lists_stops_the_process() {
    let world = World::new();
    let damage = "INSERT INTO collections (collection_id, nsid) VALUES (1, 'io.atcr.a');
                  INSERT INTO lists (up_to, repos) VALUES ((1 << 34) + 9, x'ff')";
    world.store.write(Durability::Replayable, |tx| tx.db.execute_batch(damage)).await.unwrap();
    let pattern = NsidPattern::parse("io.atcr.a").unwrap();
    let write = |text: &mut Vec<u8>, did: &[u8]| text.extend_from_slice(did);
    let page = world.store.list_repos_by_collection(vec![pattern], RepoId(0), 10, Vec::new(), write);
    assert!(page.await.is_err());
    assert!(world.failed.is_cancelled());
    let reason = world.store.failure().unwrap();
    assert!(reason.starts_with("the database cannot be read: ") && reason.contains("lists"), "{reason}");
}

#[tokio::test]
async fn a_write_that_fails_or_panics_stops_the_process_and_says_why() {
    let world = World::new();
    let wrong = world.store.write(Durability::Replayable, |tx| tx.db.execute("INSERT INTO nothing VALUES (1)", []));
    assert!(matches!(wrong.await, Err(StoreError::Closed)));
    world.failed.cancelled().await;
    let reason = world.store.failure().unwrap();
    assert!(reason.starts_with("a write to the database failed: ") && reason.contains("nothing"), "{reason}");

    let world = World::new();
    let panics = world.store.write(Durability::Replayable, |_| -> TxResult<()> { panic!("a fault of ours") });
    assert!(matches!(panics.await, Err(StoreError::Closed)));
    tokio::time::timeout(Duration::from_secs(10), world.failed.cancelled()).await.unwrap();
    assert_eq!(world.store.failure(), Some("a write to the database panicked"));
    assert!(matches!(world.store.begin_anew().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_statement_is_not_made_anew_for_what_is_bound() {
    let count = |tx: &Tx| {
        let mut statement = tx.db.prepare("SELECT host_id FROM hosts WHERE host_id > :after LIMIT :limit")?;
        for limit in [1, 500] {
            let rows = statement.query_map(rusqlite::named_params! {":after": 0, ":limit": limit}, |_| Ok(()))?;
            rows.collect::<TxResult<()>>()?;
        }
        Ok(statement.get_status(rusqlite::StatementStatus::RePrepare))
    };
    let world = World::new();
    assert_eq!(world.store.write(Durability::Replayable, count).await.unwrap(), 0);
    assert_eq!(world.store.read(count).await.unwrap(), 0);
}
