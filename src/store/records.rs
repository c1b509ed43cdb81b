//! `indexed_records` with `record_contents`, `repo_collections` and `collections`: the index. Counts are moved by the caller in one step per collection
//! ([`Tx::adjust_count`]) and per repo ([`Tx::change_usage`]), so that 100,000 rows cost one update; `index` is the only caller.

use rusqlite::{OptionalExtension, named_params};

use super::{HostId, RepoId, Tx, TxResult, UsageChange};
use crate::repo::DagCid;

/// So many collections are known without a look at their rows.
const MOST_KNOWN: usize = 4096;

/// A record as it is indexed, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// NSID.
    pub collection: String,
    /// Record key.
    pub rkey: String,
    /// The record's CID.
    pub cid: DagCid,
}

/// A row of `collections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// The row.
    pub id: i64,
    /// The filter's pattern that matches it; None: the filter names it.
    pub(super) pattern: Option<i64>,
}

impl StoredRecord {
    /// Whether its path (`collection/rkey`) sorts before that of `key`, as in a repo's MST. Comparing the parts would be wrong: '.'
    /// sorts before '/', so `a.b.c/x` comes before `a.b/x`.
    pub fn is_before(&self, (collection, rkey): (&str, &str)) -> bool {
        path_bytes(&self.collection, &self.rkey).lt(path_bytes(collection, rkey))
    }
}

fn path_bytes<'a>(collection: &'a str, rkey: &'a str) -> impl Iterator<Item = u8> + 'a {
    collection.bytes().chain(std::iter::once(b'/')).chain(rkey.bytes())
}

impl Tx<'_> {
    /// All records of a repo, in the order of its MST: by path in byte order.
    pub fn records_of(&self, repo: RepoId) -> TxResult<Vec<StoredRecord>> {
        let mut records: Vec<StoredRecord> = self
            .db
            .prepare_cached(
                "SELECT c.nsid, i.rkey, i.cid FROM repo_collections rc
                 JOIN collections c USING (collection_id)
                 JOIN indexed_records i ON i.collection_id = rc.collection_id AND i.repo_id = rc.repo_id
                 WHERE rc.repo_id = :repo",
            )?
            .query_map(named_params! {":repo": repo.0}, |row| {
                Ok(StoredRecord { collection: row.get(0)?, rkey: row.get(1)?, cid: row.get(2)? })
            })?
            .collect::<TxResult<_>>()?;
        records.sort_by(|a, b| path_bytes(&a.collection, &a.rkey).cmp(path_bytes(&b.collection, &b.rkey)));
        Ok(records)
    }

    /// The CID of one record.
    pub fn record_cid(&self, repo: RepoId, collection: &str, rkey: &str) -> TxResult<Option<DagCid>> {
        self.db
            .prepare_cached(
                "SELECT i.cid FROM indexed_records i JOIN collections c USING (collection_id)
                 WHERE c.nsid = :nsid AND i.repo_id = :repo AND i.rkey = :rkey",
            )?
            .query_row(named_params! {":nsid": collection, ":repo": repo.0, ":rkey": rkey}, |row| row.get(0))
            .optional()
    }

    /// A collection that somebody has a record of.
    pub fn collection(&self, nsid: &str) -> TxResult<Option<Collection>> {
        if let Some(known) = self.state.collections.borrow().get(nsid) {
            return Ok(Some(*known));
        }
        let found = self.stored_collection(nsid)?;
        if let Some(collection) = found {
            self.know_collection(nsid, collection);
        }
        Ok(found)
    }

    pub(super) fn stored_collection(&self, nsid: &str) -> TxResult<Option<Collection>> {
        self.db
            .prepare_cached("SELECT collection_id, pattern_id FROM collections WHERE nsid = :nsid")?
            .query_row(named_params! {":nsid": nsid}, |row| Ok(Collection { id: row.get(0)?, pattern: row.get(1)? }))
            .optional()
    }

    fn know_collection(&self, nsid: &str, collection: Collection) {
        let mut known = self.state.collections.borrow_mut();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(nsid.to_owned(), collection);
    }

    /// A collection that nobody had a record of, brought by a host.
    pub fn new_collection(&self, nsid: &str, brought_by: HostId) -> TxResult<Collection> {
        let pattern = self.pattern_of(nsid)?;
        let id = self
            .db
            .prepare_cached(
                "INSERT INTO collections (nsid, pattern_id, brought_by) VALUES (:nsid, :pattern, :host)
                 RETURNING collection_id",
            )?
            .query_row(named_params! {":nsid": nsid, ":pattern": pattern, ":host": brought_by.0}, |row| row.get(0))?;
        self.count_name(brought_by.0, 1)?;
        let collection = Collection { id, pattern };
        self.know_collection(nsid, collection);
        Ok(collection)
    }

    /// The size of a record's JSON in bytes, if the record is there.
    pub fn record_size(&self, collection_id: i64, repo: RepoId, rkey: &str) -> TxResult<Option<i64>> {
        self.db
            .prepare_cached(
                "SELECT octet_length(record_data) FROM indexed_records JOIN record_contents USING (record_id)
                 WHERE collection_id = :collection AND repo_id = :repo AND rkey = :rkey",
            )?
            .query_row(named_params! {":collection": collection_id, ":repo": repo.0, ":rkey": rkey}, |row| row.get(0))
            .optional()
    }

    /// Replaces a record that is known to be there.
    pub fn replace_record(
        &self,
        collection_id: i64,
        repo: RepoId,
        rkey: &str,
        cid: DagCid,
        json: &str,
    ) -> TxResult<()> {
        let record_id: i64 = self
            .db
            .prepare_cached(
                "UPDATE indexed_records SET cid = :cid, indexed_at = :now
                 WHERE collection_id = :collection AND repo_id = :repo AND rkey = :rkey RETURNING record_id",
            )?
            .query_row(
                named_params! {
                    ":cid": cid, ":now": self.now, ":collection": collection_id, ":repo": repo.0, ":rkey": rkey,
                },
                |row| row.get(0),
            )?;
        self.db
            .prepare_cached("UPDATE record_contents SET record_data = ?2 WHERE record_id = ?1")?
            .execute((record_id, json))?;
        Ok(())
    }

    /// Inserts a record. Answers whether it was not there; if it was, it stays as it is.
    pub fn insert_record(
        &self,
        collection_id: i64,
        repo: RepoId,
        rkey: &str,
        cid: DagCid,
        json: &str,
    ) -> TxResult<bool> {
        let sql = "INSERT INTO record_contents (record_data) VALUES (?1)";
        self.kept.insert_content.execute(self.db, sql, [json])?;
        let record_id = self.db.last_insert_rowid();
        let inserted = self.kept.insert_record.execute(
            self.db,
            "INSERT INTO indexed_records (collection_id, repo_id, rkey, cid, indexed_at, record_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            (collection_id, repo.0, rkey, cid, self.now, record_id),
        )?;
        if inserted == 0 {
            self.db.prepare_cached("DELETE FROM record_contents WHERE record_id = ?1")?.execute([record_id])?;
        }
        Ok(inserted > 0)
    }

    /// Deletes a record if it is there. Answers how many bytes its JSON had.
    pub fn delete_record(&self, collection_id: i64, repo: RepoId, rkey: &str) -> TxResult<Option<i64>> {
        let size_bytes = self.record_size(collection_id, repo, rkey)?;
        if size_bytes.is_some() {
            self.db
                .prepare_cached("DELETE FROM indexed_records WHERE collection_id = ?1 AND repo_id = ?2 AND rkey = ?3")?
                .execute((collection_id, repo.0, rkey))?;
        }
        Ok(size_bytes)
    }

    /// Moves a count; at 0 the repo is off the collection's list, and a collection that nobody has goes. Answers by how many the repo's
    /// collections change.
    pub fn adjust_count(&self, collection: Collection, repo: RepoId, by: i64) -> TxResult<i64> {
        if by == 0 || self.move_count(collection, repo, by)? {
            return Ok(0);
        }
        if by > 0 {
            return self.begin_count(collection, repo, by);
        }
        // A count that is not there, or gets negative, stops the process: counts and rows would have parted.
        let emptied = self
            .db
            .prepare_cached("DELETE FROM repo_collections WHERE repo_id = ?1 AND collection_id = ?2")?
            .execute((repo.0, collection.id))?;
        if emptied == 0 {
            return Err(rusqlite::Error::StatementChangedRows(0));
        }
        self.pair_went(collection, repo)?;
        self.drop_unused_collection(collection.id)?;
        Ok(-1)
    }

    /// The same for records of which there likely were none.
    pub fn begin_count(&self, collection: Collection, repo: RepoId, count: i64) -> TxResult<i64> {
        let begun = self.kept.begin_count.execute(
            self.db,
            "INSERT INTO repo_collections (record_count, repo_id, collection_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            (count, repo.0, collection.id),
        )?;
        if begun == 0 {
            self.move_count(collection, repo, count)?;
            return Ok(0);
        }
        self.pair_came(collection, repo)?;
        Ok(1)
    }

    /// Answers whether the count was there, and is not 0 now.
    fn move_count(&self, collection: Collection, repo: RepoId, by: i64) -> TxResult<bool> {
        let moved = self.kept.move_count.execute(
            self.db,
            "UPDATE repo_collections SET record_count = record_count + ?1
             WHERE repo_id = ?2 AND collection_id = ?3 AND record_count + ?1 <> 0",
            (by, repo.0, collection.id),
        )?;
        Ok(moved > 0)
    }

    /// Whether a repo has records of a collection.
    pub fn has_collection(&self, collection_id: i64, repo: RepoId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM repo_collections WHERE collection_id = :collection AND repo_id = :repo)",
            )?
            .query_row(named_params! {":collection": collection_id, ":repo": repo.0}, |row| row.get(0))
    }

    /// Deletes every record of a repo. Answers how many there were.
    pub fn delete_records_of(&self, repo: RepoId) -> TxResult<usize> {
        self.pairs_go(repo)?;
        let held: Vec<(i64, i64)> = self
            .db
            .prepare_cached("SELECT collection_id, record_count FROM repo_collections WHERE repo_id = :repo")?
            .query_map(named_params! {":repo": repo.0}, |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<TxResult<_>>()?;
        let deleted = self
            .db
            .prepare_cached(
                "DELETE FROM indexed_records WHERE repo_id = :repo
                 AND collection_id IN (SELECT collection_id FROM repo_collections WHERE repo_id = :repo)",
            )?
            .execute(named_params! {":repo": repo.0})?;
        self.db
            .prepare_cached("DELETE FROM repo_collections WHERE repo_id = :repo")?
            .execute(named_params! {":repo": repo.0})?;
        let bytes: i64 = self
            .db
            .prepare_cached("UPDATE repos SET truncated = 0 WHERE repo_id = :repo RETURNING record_bytes")?
            .query_row(named_params! {":repo": repo.0}, |row| row.get(0))?;
        let mut change = UsageChange { bytes: -bytes, collections: -(held.len() as i64), ..UsageChange::default() };
        for (collection_id, records) in held {
            change.records -= records;
            self.drop_unused_collection(collection_id)?;
        }
        self.change_usage(repo, &change)?;
        Ok(deleted)
    }

    /// Drops a collection that nobody has a record of.
    pub fn drop_unused_collection(&self, collection_id: i64) -> TxResult<()> {
        let brought_by: Option<Option<i64>> = self
            .db
            .prepare_cached(
                "DELETE FROM collections WHERE collection_id = :collection
                     AND NOT EXISTS (SELECT 1 FROM indexed_records WHERE collection_id = :collection)
                 RETURNING brought_by",
            )?
            .query_row(named_params! {":collection": collection_id}, |row| row.get(0))
            .optional()?;
        if brought_by.is_some() {
            self.state.collections.borrow_mut().retain(|_, known| known.id != collection_id);
        }
        match brought_by.flatten() {
            Some(host_id) => self.count_name(host_id, -1),
            None => Ok(()),
        }
    }
}
