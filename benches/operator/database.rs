//! Looks into signpost's database from outside, as the sqlite3 shell would: what is measured is not asked while it works.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(120);

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
