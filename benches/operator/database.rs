//! Looks into signpost's database from outside, as the sqlite3 shell would: what is measured is not asked while it works. And makes
//! databases of any size: rows of the version before the lists, which signpost then makes as for any old file.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use signpost::config::{Limits, StoreConfig};
use signpost::store::Store;
use signpost::syntax::CollectionFilter;
use tokio_util::sync::CancellationToken;

const POLL_INTERVAL: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(120);
/// The last version that can be filled by SQL alone.
const VERSION_2: &str = include_str!("../../tests/schemas/2.sql");
/// Of a database that is made; all are below `io.atcr.bench`.
pub const COLLECTIONS: i64 = 20;
/// A repo draws so many collections: 4.5 of them are different.
const DRAWS: usize = 5;

/// A reader of a database that signpost serves.
pub struct Database(Connection);

impl Database {
    /// Opens it; signpost has made it already.
    pub fn open(path: &Path) -> Database {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("signpost made it");
        db.busy_timeout(Duration::from_secs(10)).expect("it is a plain setting");
        Database(db)
    }

    /// Waits until so many records are indexed and no repo has work left.
    pub async fn wait_for_records(&self, count: usize) {
        self.wait_for(
            "SELECT ifnull(sum(record_count), 0) FROM repo_collections
             WHERE NOT EXISTS (SELECT 1 FROM crawl_queue WHERE repo_id IS NOT NULL)",
            count as i64,
        )
        .await;
    }

    /// Waits until the cursors of all firehoses add up to this.
    pub async fn wait_for_cursors(&self, sum: i64) {
        self.wait_for("SELECT ifnull(sum(host_cursor), 0) FROM subscriptions", sum).await;
    }

    /// Waits until so many repos are known whole and none has work left.
    pub async fn wait_for_repos(&self, count: usize) {
        self.wait_for(
            "SELECT count(*) FROM repos WHERE data IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM crawl_queue WHERE repo_id IS NOT NULL)",
            count as i64,
        )
        .await;
    }

    /// The rev that is known of a repo.
    pub fn rev(&self, did: &str) -> String {
        let rev = "SELECT rev FROM repos WHERE did = ?1";
        self.0.query_row(rev, [did], |row| row.get(0)).expect("the repo is known")
    }

    /// Whatever the backfill asked for: repos of which nothing is indexed are followed without an identity. No signpost may run on it.
    pub fn forget_identities(path: &Path) {
        let db = Connection::open(path).expect("signpost made it");
        db.execute_batch("DELETE FROM identities WHERE repo_id IN (SELECT repo_id FROM repos WHERE record_count = 0)")
            .expect("it fits schema.sql");
    }

    /// How many records are indexed.
    pub fn records(&self) -> i64 {
        let sum = "SELECT ifnull(sum(record_count), 0) FROM repo_collections";
        self.0.query_row(sum, [], |row| row.get(0)).expect("signpost's database can be read")
    }

    async fn wait_for(&self, question: &str, wanted: i64) {
        let started = Instant::now();
        let mut statement = self.0.prepare(question).expect("it fits schema.sql");
        loop {
            let found: i64 = statement.query_row([], |row| row.get(0)).expect("signpost's database can be read");
            if found == wanted {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "waited for {wanted}, found {found}: {question}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Makes a database of so many did:plc, each in 4.5 of 20 collections, with so many records in all; without work to do.
pub async fn make(path: &Path, repos: i64, records: i64) {
    fill(path, repos, records).expect("the rows fit the schema");
    let filter = CollectionFilter::parse("io.atcr.*").expect("it is a pattern");
    let config = StoreConfig { path: path.to_owned(), filter, limits: Limits::default() };
    Store::open(&config, CancellationToken::new()).expect("it can be brought up").close().await;
}

fn fill(path: &Path, repos: i64, records: i64) -> rusqlite::Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut db = Connection::open(path)?;
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000;")?;
    db.execute_batch(VERSION_2)?;
    let tx = db.transaction()?;
    tx.execute_batch(
        "INSERT INTO meta VALUES ('instance_id', '0011223344556677'), ('filter', 'io.atcr.*'), ('complete_filter', 'io.atcr.*');
         INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at, reached_at)
             VALUES (1, 'pds.example.com', 'https', 'active', 0, 0, 0, 1);
         INSERT INTO host_usage (host_id) VALUES (1);
         INSERT INTO patterns VALUES (1, 'io.atcr.*');
         INSERT INTO crawl_queue (host_id, kind, status, next_attempt_at, created_at)
             VALUES (1, 'host', 'subscribed', 9000000000000, 0);",
    )?;
    for id in 1..=COLLECTIONS {
        tx.execute(
            "INSERT INTO collections (collection_id, nsid, pattern_id) VALUES (?1, ?2, 1)",
            (id, collection(id)),
        )?;
    }
    {
        let mut repo = tx.prepare(
            "INSERT INTO repos (repo_id, did, host_id, active, rev, head, data) VALUES (?1, ?2, 1, 1, '3lqmdtcgn2s2a', ?3, ?3)",
        )?;
        let mut pair = tx.prepare("INSERT INTO repo_collections VALUES (?1, ?2, 1) ON CONFLICT DO NOTHING")?;
        for repo_id in 1..=repos {
            let digest: [u8; 32] = std::array::from_fn(|_| random.u8(..));
            repo.execute((repo_id, did_plc(&mut random), digest))?;
            for _ in 0..DRAWS {
                pair.execute((random.i64(1..=COLLECTIONS), repo_id))?;
            }
        }
    }
    tx.execute(
        "INSERT INTO indexed_records
         SELECT collection_id, repo_id, rkey, randomblob(32), '{\"$type\":\"io.atcr.bench\",\"createdAt\":\"2026-11-21T00:00:00Z\"}', 0
         FROM repo_collections, (SELECT '3lqmdtcgn2s2a' AS rkey UNION ALL SELECT '3lqmdtcgn2s2b' UNION ALL SELECT '3lqmdtcgn2s2c')
         LIMIT ?1",
        [records],
    )?;
    tx.commit()?;
    db.execute_batch("PRAGMA application_id = 0x7369676e; PRAGMA user_version = 2;")
}

/// One of the collections.
pub fn collection(id: i64) -> String {
    format!("io.atcr.bench.c{id:02}")
}

fn did_plc(random: &mut fastrand::Rng) -> String {
    const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digits = (0..24).map(|_| char::from(BASE32[random.usize(..BASE32.len())]));
    "did:plc:".chars().chain(digits).collect()
}

/// Pairs of a DID and a collection, and the bytes that they take on disk with all lists.
pub fn pairs(path: &Path) -> (i64, i64) {
    let db = Connection::open(path).expect("signpost made it");
    let number = |sql: &str| db.query_row(sql, [], |row| row.get(0)).expect("it fits schema.sql");
    let bytes = "SELECT sum(pgsize) FROM dbstat WHERE aggregate = TRUE AND name IN ('repo_collections', 'lists')";
    (number("SELECT count(*) FROM repo_collections"), number(bytes))
}
