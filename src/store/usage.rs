//! `host_usage` and `waiting_accounts`: what the accounts of a host take, and whether there is room for more. Moved by those who change
//! the rows that are counted, in the same transaction, so that a limit costs one look at one row.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::{HostId, RepoId, Tx, TxResult};
use crate::config::{EventLimits, Limits};
use crate::syntax::Did;

/// Accounts that are kept of those which a host has no room for.
const MOST_WAITING: i64 = 1000;
/// Collections of one repo, and names that the repos of one host may bring.
const COLLECTIONS_PER_REPO: i64 = 10_000;
const NAMES_PER_HOST: i64 = 25_000;

/// What a repo may take more, in its own right and within its host's share; below 0 where a limit was lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Records.
    pub records: i64,
    /// Bytes of their JSON.
    pub bytes: i64,
    /// Collections that the repo has no record of.
    pub collections: i64,
    /// Collections that nobody has a record of.
    pub names: i64,
    /// Whose share it is.
    pub host_id: HostId,
}

/// What a repo's rows take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records.
    pub records: i64,
    /// Bytes of their JSON.
    pub bytes: i64,
    /// Collections.
    pub collections: i64,
}

impl Usage {
    /// What they take after a change.
    pub fn after(self, change: &UsageChange) -> Usage {
        Usage {
            records: self.records + change.records,
            bytes: self.bytes + change.bytes,
            collections: self.collections + change.collections,
        }
    }
}

/// What the repos of a host take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostUsage {
    /// Whose.
    pub host_id: HostId,
    /// Records.
    pub records: i64,
    /// Bytes of their JSON.
    pub bytes: i64,
    /// Names of collections that they brought.
    pub names: i64,
}

/// By how much a repo's rows changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageChange {
    /// Records.
    pub records: i64,
    /// Bytes of their JSON.
    pub bytes: i64,
    /// Collections.
    pub collections: i64,
}

impl Tx<'_> {
    /// What may be added to a repo.
    pub fn room(&self, repo: RepoId) -> TxResult<Room> {
        let (host_id, used) = self
            .db
            .prepare_cached(
                "SELECT host_id, record_count, record_bytes, collection_count FROM repos WHERE repo_id = :repo",
            )?
            .query_row(named_params! {":repo": repo.0}, |row| {
                let used = Usage { records: row.get(1)?, bytes: row.get(2)?, collections: row.get(3)? };
                Ok((HostId(row.get(0)?), used))
            })?;
        Ok(self.room_beside(&used, &self.host_usage(host_id)?))
    }

    /// What may be added to a repo that takes so much, at a host whose repos take so much.
    pub fn room_beside(&self, used: &Usage, at_host: &HostUsage) -> Room {
        let Limits { records_per_repo, bytes_per_repo, records_per_host, bytes_per_host, .. } = self.state.limits;
        Room {
            host_id: at_host.host_id,
            records: (records_per_repo - used.records).min(records_per_host - at_host.records),
            bytes: (bytes_per_repo - used.bytes).min(bytes_per_host - at_host.bytes),
            collections: COLLECTIONS_PER_REPO - used.collections,
            names: NAMES_PER_HOST - at_host.names,
        }
    }

    /// What the repos of a host take.
    pub fn host_usage(&self, host_id: HostId) -> TxResult<HostUsage> {
        let row = self
            .db
            .prepare_cached("SELECT records, record_bytes, names FROM host_usage WHERE host_id = :host")?
            .query_row(named_params! {":host": host_id.0}, |row| {
                Ok(HostUsage { host_id, records: row.get(0)?, bytes: row.get(1)?, names: row.get(2)? })
            })
            .optional()?;
        Ok(row.unwrap_or(HostUsage { host_id, records: 0, bytes: 0, names: 0 }))
    }

    /// Writes down by how much a repo's rows changed.
    pub fn change_usage(&self, repo: RepoId, change: &UsageChange) -> TxResult<()> {
        if *change == UsageChange::default() {
            return Ok(());
        }
        let UsageChange { records, bytes, collections } = change;
        let host_id = self
            .db
            .prepare_cached(
                "UPDATE repos SET record_count = record_count + :records, record_bytes = record_bytes + :bytes,
                     collection_count = collection_count + :collections
                 WHERE repo_id = :repo RETURNING host_id",
            )?
            .query_row(
                named_params! {":records": records, ":bytes": bytes, ":collections": collections, ":repo": repo.0},
                |row| Ok(HostId(row.get(0)?)),
            )?;
        self.count_at_host(host_id, 0, *records, *bytes)
    }

    /// Counts what the repos of a host take more or less.
    pub fn change_host_usage(&self, host_id: HostId, change: &UsageChange) -> TxResult<()> {
        self.count_at_host(host_id, 0, change.records, change.bytes)
    }

    /// Whether a host may have another account.
    pub fn has_room_for_account(&self, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT ifnull(u.accounts, 0) < ifnull(h.account_limit, :default)
                 FROM hosts h LEFT JOIN host_usage u ON u.host_id = h.host_id WHERE h.host_id = :host",
            )?
            .query_row(named_params! {":host": host_id.0, ":default": self.state.limits.accounts_per_host}, |row| {
                row.get(0)
            })
    }

    /// An account for which its host has no room: it is not taken in, and the operator can see it.
    pub fn wait_for_room(&self, host_id: HostId, did: &Did) -> TxResult<()> {
        let waiting: i64 = self
            .db
            .prepare_cached("SELECT ifnull((SELECT waiting FROM host_usage WHERE host_id = :host), 0)")?
            .query_row(named_params! {":host": host_id.0}, |row| row.get(0))?;
        if waiting >= MOST_WAITING {
            return Ok(());
        }
        let inserted = self
            .db
            .prepare_cached("INSERT INTO waiting_accounts (host_id, did) VALUES (:host, :did) ON CONFLICT DO NOTHING")?
            .execute(named_params! {":host": host_id.0, ":did": did.as_str()})?;
        if inserted > 0 {
            self.count_at_host(host_id, 0, 0, 0)?;
            self.db
                .prepare_cached("UPDATE host_usage SET waiting = waiting + 1 WHERE host_id = :host")?
                .execute(named_params! {":host": host_id.0})?;
        }
        Ok(())
    }

    /// The limit of a host's accounts was raised: its repos are listed again, and those that wait are taken in. To be called in the
    /// transaction that raised it; when it was lowered it does no harm.
    pub fn account_limit_raised(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached("DELETE FROM waiting_accounts WHERE host_id = :host")?
            .execute(named_params! {":host": host_id.0})?;
        self.db
            .prepare_cached("UPDATE host_usage SET waiting = 0 WHERE host_id = :host")?
            .execute(named_params! {":host": host_id.0})?;
        self.relist_host(host_id)
    }

    /// Accounts that a host has no room for, in the order of their DIDs.
    pub fn waiting_accounts(&self, host_id: HostId, limit: usize) -> TxResult<Vec<String>> {
        self.db
            .prepare_cached("SELECT did FROM waiting_accounts WHERE host_id = :host ORDER BY did LIMIT :limit")?
            .query_map(named_params! {":host": host_id.0, ":limit": limit as i64}, |row| row.get(0))?
            .collect()
    }

    /// How many events of a host are taken in: the operator's word for this host, else the configured default.
    pub fn event_limits(&self, host_id: HostId) -> TxResult<EventLimits> {
        let EventLimits { per_second, per_hour, per_day } = self.state.limits.host_events;
        self.db
            .prepare_cached(
                "SELECT ifnull(events_per_second, :second), ifnull(events_per_hour, :hour), ifnull(events_per_day, :day)
                 FROM hosts WHERE host_id = :host",
            )?
            .query_row(
                named_params! {":second": per_second, ":hour": per_hour, ":day": per_day, ":host": host_id.0},
                |row| Ok(EventLimits { per_second: row.get(0)?, per_hour: row.get(1)?, per_day: row.get(2)? }),
            )
    }

    /// A row of `repos` appeared at a host.
    pub(super) fn account_taken(&self, host_id: HostId, did: &str) -> TxResult<()> {
        self.count_at_host(host_id, 1, 0, 0)?;
        self.stop_waiting(host_id, did)
    }

    /// A row of `repos` went to another host, with all that it takes.
    pub(super) fn account_moved(&self, repo: RepoId, from: HostId, to: HostId) -> TxResult<()> {
        let (did, records, bytes): (String, i64, i64) = self
            .db
            .prepare_cached("SELECT did, record_count, record_bytes FROM repos WHERE repo_id = :repo")?
            .query_row(named_params! {":repo": repo.0}, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        self.count_at_host(from, -1, -records, -bytes)?;
        self.count_at_host(to, 1, records, bytes)?;
        self.stop_waiting(to, &did)
    }

    /// A row of `repos` without records went.
    pub(super) fn account_deleted(&self, repo: RepoId) -> TxResult<()> {
        let host_id = self
            .db
            .prepare_cached("SELECT host_id FROM repos WHERE repo_id = :repo")?
            .query_row(named_params! {":repo": repo.0}, |row| Ok(HostId(row.get(0)?)))?;
        self.count_at_host(host_id, -1, 0, 0)
    }

    /// A collection's name appeared, or went, that the host had brought.
    pub(super) fn count_name(&self, host_id: i64, by: i64) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE host_usage SET names = names + :by WHERE host_id = :host")?
            .execute(named_params! {":by": by, ":host": host_id})?;
        Ok(())
    }

    fn stop_waiting(&self, host_id: HostId, did: &str) -> TxResult<()> {
        let ended = self
            .db
            .prepare_cached("DELETE FROM waiting_accounts WHERE host_id = :host AND did = :did")?
            .execute(named_params! {":host": host_id.0, ":did": did})?;
        if ended > 0 {
            self.db
                .prepare_cached("UPDATE host_usage SET waiting = waiting - 1 WHERE host_id = :host")?
                .execute(named_params! {":host": host_id.0})?;
        }
        Ok(())
    }

    fn count_at_host(&self, host_id: HostId, accounts: i64, records: i64, bytes: i64) -> TxResult<()> {
        self.db
            .prepare_cached(
                "INSERT INTO host_usage (host_id, accounts, records, record_bytes)
                 VALUES (:host, :accounts, :records, :bytes)
                 ON CONFLICT DO UPDATE SET accounts = accounts + excluded.accounts, records = records + excluded.records,
                     record_bytes = record_bytes + excluded.record_bytes",
            )?
            .execute(named_params! {
                ":host": host_id.0, ":accounts": accounts, ":records": records, ":bytes": bytes,
            })?;
        Ok(())
    }
}

/// Counts everything anew, after rows went without being counted.
pub(super) fn recount(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "UPDATE repos SET
             record_count = (SELECT ifnull(sum(c.record_count), 0) FROM repo_collections c WHERE c.repo_id = repos.repo_id),
             collection_count = (SELECT count(*) FROM repo_collections c WHERE c.repo_id = repos.repo_id),
             record_bytes = (SELECT ifnull(sum(octet_length(b.record_data)), 0) FROM repo_collections c
                 JOIN indexed_records i ON i.collection_id = c.collection_id AND i.repo_id = c.repo_id
                 JOIN record_contents b ON b.record_id = i.record_id
                 WHERE c.repo_id = repos.repo_id);
         UPDATE host_usage SET
             names = (SELECT count(*) FROM collections WHERE brought_by = host_usage.host_id),
             (accounts, records, record_bytes) =
                 (SELECT count(*), ifnull(sum(record_count), 0), ifnull(sum(r.record_bytes), 0) FROM repos r
                  WHERE r.host_id = host_usage.host_id);",
    )
}

/// A repo whose limits were raised since it was truncated is fetched at the next comparison. Answers what to compare with next time.
pub(super) fn adopt_limits(db: &Connection, limits: &Limits, before: Option<&str>) -> rusqlite::Result<String> {
    let now = [limits.records_per_repo, limits.bytes_per_repo, limits.records_per_host, limits.bytes_per_host];
    let before: Vec<i64> = before.unwrap_or_default().split(' ').filter_map(|limit| limit.parse().ok()).collect();
    if now.iter().zip(&before).any(|(now, before)| now > before) {
        db.execute("UPDATE repos SET unproven = 1 WHERE truncated = 1", [])?;
    }
    Ok(now.map(|limit| limit.to_string()).join(" "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;
    use crate::config::StoreConfig;
    use crate::store::{Direct, OpenError};
    use crate::syntax::CollectionFilter;

    fn open(folder: &Path, filter: &str, limits: Limits) -> Result<Direct, OpenError> {
        let filter = CollectionFilter::parse(filter).expect("a filter");
        Direct::open(&StoreConfig { path: folder.join("test.db"), filter, limits })
    }

    /// A file as version 1 left it: two hosts, three accounts, a collection that nobody has any more.
    fn file_of_version_1(folder: &Path) {
        let db = Connection::open(folder.join("test.db")).expect("a file");
        db.execute_batch(include_str!("../../tests/schemas/1.sql")).expect("the schema");
        db.execute_batch(
            "PRAGMA application_id = 0x7369676e; PRAGMA user_version = 1;
             INSERT INTO meta VALUES ('instance_id', '0123456789abcdef'), ('filter', 'a.b.c,io.atcr.*'),
                 ('complete_filter', 'a.b.c,io.atcr.*');
             INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at) VALUES
                 (1, 'a.example.com', 'https', 'active', 0, 7, 0), (2, 'b.example.com', 'https', 'active', 0, 8, 0);
             INSERT INTO repos (repo_id, did, host_id, active) VALUES
                 (1, 'did:web:a.com', 1, 1), (2, 'did:web:b.com', 1, 1), (3, 'did:web:c.com', 2, 1);
             INSERT INTO crawl_queue (host_id, repo_id, kind, status, next_attempt_at, created_at) VALUES
                 (1, 1, 'repo', 'pending', 0, 0), (1, 3, 'repo', 'pending', 0, 0);
             INSERT INTO collections VALUES (1, 'io.atcr.a'), (2, 'io.atcr.b'), (3, 'a.b.c'), (4, 'io.atcr.nobody');
             INSERT INTO indexed_records VALUES (1, 1, 'x', zeroblob(32), '{\"é\":1}', 0), (1, 1, 'y', zeroblob(32), '{}', 0),
                 (2, 1, 'x', zeroblob(32), '{}', 0), (2, 3, 'x', zeroblob(32), '{}', 0), (3, 3, 'x', zeroblob(32), '{}', 0);
             INSERT INTO repo_collections VALUES (1, 1, 2), (2, 1, 1), (2, 3, 1), (3, 3, 1)",
        )
        .expect("rows");
    }

    #[test]
    fn a_file_of_version_1_is_brought_up_with_its_counters_and_patterns() {
        let folder = tempfile::tempdir().expect("a folder");
        file_of_version_1(folder.path());
        let mut database = open(folder.path(), "a.b.c,io.atcr.*", Limits::default()).expect("brought up");
        assert_eq!(database.read(0, |tx| tx.wrong_counts()), 0);
        let usage = |tx: &Tx| -> TxResult<Vec<(i64, i64, i64)>> {
            let mut rows = tx.db.prepare("SELECT accounts, records, record_bytes FROM host_usage ORDER BY host_id")?;
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        };
        assert_eq!(database.read(0, usage), [(2, 3, 12), (1, 2, 4)]);
        assert_eq!(database.read(0, |tx| tx.listed_dids("io.atcr.*")), ["did:web:a.com", "did:web:c.com"]);
        assert_eq!(database.read(0, |tx| tx.listed_dids("a.b.c")), ["did:web:c.com"]);
        let claims = database.write(0, |tx| tx.claim_repo_jobs(HostId(1), 9));
        assert_eq!(claims.len(), 2);
        assert_eq!(database.read(0, |tx| tx.claims_left(HostId(1))), 9_999);
    }

    #[test]
    fn another_filter_makes_counters_and_patterns_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        file_of_version_1(folder.path());
        for (filter, listed) in [("io.atcr.*", 2), ("*", 2), ("io.atcr.a,a.b.*", 1), ("io.atcr.b", 0)] {
            let mut database = open(folder.path(), filter, Limits::default()).expect("opened");
            assert_eq!(database.read(0, |tx| tx.wrong_counts()), 0, "{filter}");
            let first = filter.split(',').next().expect("one");
            assert_eq!(database.read(0, |tx| tx.listed_dids(first)).len(), listed, "{filter}");
        }
    }

    #[test]
    fn truncated_repos_are_fetched_again_when_a_limit_was_raised() {
        let folder = tempfile::tempdir().expect("a folder");
        file_of_version_1(folder.path());
        let unproven = |limits: Limits| {
            let mut database = open(folder.path(), "io.atcr.*", limits).expect("opened");
            database.write(0, |tx| {
                tx.set_truncated(RepoId(1), true)?;
                Ok(tx.audit_repos()?.iter().map(|repo| repo.unproven).collect::<Vec<_>>())
            })
        };
        let (less, more) = (Limits { records_per_repo: 10, ..Limits::default() }, Limits::default());
        assert_eq!(unproven(more), [false; 3]);
        assert_eq!(unproven(less), [false; 3]);
        assert_eq!(unproven(more), [true, false, false]);
    }
}
