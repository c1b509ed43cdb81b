//! Forgets a host with everything that is known of its accounts, a bounded number of rows at a time: other writes go on in between,
//! and a start goes on where the last one ended. A takedown or a ban is not forgotten with it.

use rusqlite::{OptionalExtension, named_params};
use serde_json::json;

use super::bans::{BEING_FORGOTTEN, BY_NAME};
use super::{Collection, Durability, HostId, RepoId, Signal, Store, StoreError, Tx, TxResult, UsageChange};
use crate::syntax::Host;

/// Rows deleted in one transaction: some ten milliseconds on a slow machine.
const ROWS_AT_ONCE: usize = 500;

impl Store {
    /// Deletes some rows of a host that is to be forgotten. Answers whether there is more to be done.
    pub async fn forget_some(&self) -> Result<bool, StoreError> {
        self.write_unchecked(Durability::Replayable, |tx| tx.forget_some()).await
    }
}

impl Tx<'_> {
    /// Has a host forgotten: from now on it is neither crawled nor followed. Answers how many accounts it has.
    pub fn forget_host(&self, host_id: HostId, host: &Host) -> TxResult<i64> {
        self.close_host(host_id, BEING_FORGOTTEN)?;
        self.raise(Signal::Forget);
        let accounts: i64 = self
            .db
            .prepare_cached("SELECT count(*) FROM repos WHERE host_id = ?1")?
            .query_row([host_id.0], |row| row.get(0))?;
        self.note_admin("forget_host", host.as_str(), Some(json!({ "accounts": accounts })))?;
        Ok(accounts)
    }

    fn forget_some(&self) -> TxResult<bool> {
        let next = self
            .db
            .prepare_cached("SELECT host_id, blocked FROM hosts WHERE blocked & :bit <> 0 LIMIT 1")?
            .query_row(named_params! {":bit": BEING_FORGOTTEN}, |row| Ok((HostId(row.get(0)?), row.get::<_, i64>(1)?)))
            .optional()?;
        let Some((host_id, blocked)) = next else { return Ok(false) };
        let mut left = ROWS_AT_ONCE;
        while left > 0 {
            let Some(repo) = self.a_repo_of(host_id)? else {
                self.finish_forgetting(host_id, blocked)?;
                return Ok(true);
            };
            left = self.delete_some_of_repo(repo, left)?;
        }
        Ok(true)
    }

    /// A host that is blocked by its name stays so: its row is all that says it.
    fn finish_forgetting(&self, host_id: HostId, blocked: i64) -> TxResult<()> {
        self.delete_rows_of_host(host_id)?;
        if blocked & BY_NAME == 0 {
            return self.delete_host(host_id);
        }
        self.db
            .prepare_cached(
                "UPDATE hosts SET blocked = blocked & ~:bit, reached_at = NULL, state = 'new', state_since = :now WHERE host_id = :host",
            )?
            .execute(named_params! {":bit": BEING_FORGOTTEN, ":now": self.now, ":host": host_id.0})?;
        Ok(())
    }

    /// Deletes what refers to a host that has no accounts.
    pub(super) fn delete_rows_of_host(&self, host_id: HostId) -> TxResult<()> {
        let held: Vec<RepoId> = self
            .db
            .prepare_cached("SELECT DISTINCT repo_id FROM held_events WHERE host_id = ?1")?
            .query_map([host_id.0], |row| Ok(RepoId(row.get(0)?)))?
            .collect::<TxResult<_>>()?;
        for repo in held {
            self.drop_held(repo, host_id, i64::MAX)?;
        }
        self.db
            .prepare_cached("UPDATE collections SET brought_by = NULL WHERE brought_by = ?1")?
            .execute([host_id.0])?;
        for table in ["crawl_queue", "subscriptions", "host_usage", "waiting_accounts"] {
            self.db.prepare_cached(&format!("DELETE FROM {table} WHERE host_id = ?1"))?.execute([host_id.0])?;
        }
        Ok(())
    }

    fn a_repo_of(&self, host_id: HostId) -> TxResult<Option<RepoId>> {
        self.db
            .prepare_cached("SELECT repo_id FROM repos WHERE host_id = ?1 LIMIT 1")?
            .query_row([host_id.0], |row| Ok(RepoId(row.get(0)?)))
            .optional()
    }

    /// Deletes at most `most` records of a repo, and the repo after the last of them. Answers how many rows may still be deleted.
    fn delete_some_of_repo(&self, repo: RepoId, most: usize) -> TxResult<usize> {
        let mut left = most;
        let collections: Vec<Collection> = self
            .db
            .prepare_cached(
                "SELECT collection_id, pattern_id FROM repo_collections JOIN collections USING (collection_id)
                 WHERE repo_id = ?1 LIMIT 100",
            )?
            .query_map([repo.0], |row| Ok(Collection { id: row.get(0)?, pattern: row.get(1)? }))?
            .collect::<TxResult<_>>()?;
        let mut change = UsageChange::default();
        for collection in collections.iter().copied() {
            let some = named_params! {":collection": collection.id, ":repo": repo.0, ":most": left as i64};
            let bytes: i64 = self
                .db
                .prepare_cached(
                    "SELECT ifnull(sum(octet_length(record_data)), 0) FROM record_contents WHERE record_id IN (
                         SELECT record_id FROM indexed_records WHERE collection_id = :collection AND repo_id = :repo
                         ORDER BY rkey LIMIT :most)",
                )?
                .query_row(some, |row| row.get(0))?;
            let deleted = self
                .db
                .prepare_cached(
                    "DELETE FROM indexed_records WHERE collection_id = :collection AND repo_id = :repo AND rkey IN (
                         SELECT rkey FROM indexed_records WHERE collection_id = :collection AND repo_id = :repo
                         ORDER BY rkey LIMIT :most)",
                )?
                .execute(some)?;
            change.records -= deleted as i64;
            change.bytes -= bytes;
            change.collections += self.adjust_count(collection, repo, -(deleted as i64))?;
            left -= deleted;
            if left == 0 {
                break;
            }
        }
        self.change_usage(repo, &change)?;
        if left == 0 {
            return Ok(0);
        }
        if collections.is_empty() {
            self.delete_repo(repo)?;
        }
        Ok(left - 1)
    }

    /// A repo without records. Hosts that claim it are listed again: if it lives there, it is found.
    fn delete_repo(&self, repo: RepoId) -> TxResult<()> {
        let key = [repo.0];
        let claiming: Vec<HostId> = self
            .db
            .prepare_cached(
                "SELECT q.host_id FROM crawl_queue q JOIN repos r USING (repo_id) WHERE repo_id = ?1 AND q.host_id <> r.host_id",
            )?
            .query_map(key, |row| Ok(HostId(row.get(0)?)))?
            .collect::<TxResult<_>>()?;
        let holding: Vec<HostId> = self
            .db
            .prepare_cached("SELECT DISTINCT host_id FROM held_events WHERE repo_id = ?1")?
            .query_map(key, |row| Ok(HostId(row.get(0)?)))?
            .collect::<TxResult<_>>()?;
        for host in holding {
            self.drop_held(repo, host, i64::MAX)?;
        }
        self.account_deleted(repo)?;
        for table in ["crawl_queue", "identities", "repos"] {
            self.db.prepare_cached(&format!("DELETE FROM {table} WHERE repo_id = ?1"))?.execute(key)?;
        }
        for host in claiming {
            self.relist_host(host)?;
        }
        Ok(())
    }
}
