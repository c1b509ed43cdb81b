//! The index as its database file shows it, read over a connection of its own, as a person with the sqlite3 shell would.

use std::collections::BTreeMap;
use std::path::Path;

use fake_network::{Network, RecordPlace};
use rusqlite::{Connection, OpenFlags, Params};

/// What the default filter lets through.
pub fn is_atcr(collection: &str) -> bool {
    collection.starts_with("io.atcr.")
}

/// A database file, opened for reading.
pub struct Index(Connection);

impl Index {
    pub fn open(path: &Path) -> Index {
        Index(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap())
    }

    /// (did, collection, rkey) -> CID, of the accounts that are active.
    pub fn records(&self) -> BTreeMap<RecordPlace, String> {
        let sql = "SELECT did, collection, rkey, cid FROM records
                   WHERE did IN (SELECT did FROM repos WHERE active = 1)";
        let mut statement = self.0.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The first column of the first row.
    pub fn number(&self, sql: &str, parameters: impl Params) -> i64 {
        self.0.query_row(sql, parameters, |row| row.get(0)).unwrap()
    }

    /// What the counters say that the rows do not, and the other way round; and if nothing, what `signpost check` finds.
    pub fn wrong_counts(&self) -> i64 {
        match self.number(include_str!("../../src/store/counters.sql"), []) {
            0 => signpost::store::check(Path::new(self.0.path().unwrap())).unwrap().problems.len() as i64,
            wrong => wrong,
        }
    }

    /// The jobs that are not settled, and the events that wait for them.
    pub fn work_left(&self) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM crawl_queue WHERE status IN ('pending', 'in_progress'))
                        + (SELECT count(*) FROM held_events)";
        self.number(sql, [])
    }

    /// The same without what hosts have to do.
    pub fn repo_work_left(&self) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM crawl_queue
                           WHERE status IN ('pending', 'in_progress') AND repo_id IS NOT NULL)
                        + (SELECT count(*) FROM held_events)";
        self.number(sql, [])
    }

    /// What is known of an account, and its jobs, for the message of a test that fails.
    pub fn account_report(&self, did: &str) -> String {
        let sql = "SELECT printf('host %s, active %d, status %s, rev %s, desynchronized %d, unproven %d, stale head %s, jobs: ',
                              hostname, active, status, rev, desynchronized, unproven, hex(stale_head))
                       || ifnull((SELECT group_concat(printf('%s %s at host %d, %d tries, due in %d ms: %s', q.kind, q.status,
                                      q.host_id, q.attempts, q.next_attempt_at - unixepoch('subsec') * 1000, q.last_error))
                                  FROM crawl_queue q WHERE q.repo_id = repos.repo_id), 'none')
                   FROM repos JOIN hosts USING (host_id) WHERE did = ?1";
        self.0.query_row(sql, [did], |row| row.get(0)).unwrap_or_else(|error| error.to_string())
    }

    /// The stored cursor of a host's firehose.
    pub fn host_cursor(&self, hostname: &str) -> Option<i64> {
        let sql = "SELECT host_cursor FROM subscriptions JOIN hosts USING (host_id) WHERE hostname = ?1";
        self.0.query_row(sql, [hostname], |row| row.get(0)).ok().flatten()
    }

    /// `Ok` when the index holds exactly the records that the filter lets through, and its counts are those of its rows.
    pub fn equals(&self, network: &Network, filter: impl Fn(&str) -> bool) -> Result<(), String> {
        let truth = network.expected(filter);
        // The text form of every CID costs: most looks that come too early end here.
        let sql = "SELECT count(*) FROM indexed_records JOIN repos USING (repo_id) WHERE active = 1";
        let rows = self.number(sql, []);
        if rows != truth.len() as i64 {
            return Err(format!("{rows} rows for {} records", truth.len()));
        }
        let records = self.records();
        let other = truth.iter().find(|(place, cid)| records.get(*place) != Some(*cid));
        match (other, self.wrong_counts()) {
            (None, 0) => Ok(()),
            (other, counts) => Err(format!("missing or other: {other:?}; wrong counts: {counts}")),
        }
    }
}
