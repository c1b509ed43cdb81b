//! `indexed_records`, `repo_collections` and `collections`: the index. Counts are moved by the caller in one step per collection
//! ([`Tx::adjust_count`]), so that 100,000 rows cost one update; `index` is the only caller.

use rusqlite::{OptionalExtension, named_params};

use super::{RepoId, Tx, TxResult};
use crate::repo::DagCid;

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

    /// The id of a collection, made when it is new.
    pub fn collection_id(&self, nsid: &str) -> TxResult<i64> {
        let known = self
            .db
            .prepare_cached("SELECT collection_id FROM collections WHERE nsid = :nsid")?
            .query_row(named_params! {":nsid": nsid}, |row| row.get(0))
            .optional()?;
        match known {
            Some(id) => Ok(id),
            None => self
                .db
                .prepare_cached("INSERT INTO collections (nsid) VALUES (:nsid) RETURNING collection_id")?
                .query_row(named_params! {":nsid": nsid}, |row| row.get(0)),
        }
    }

    /// Inserts or replaces a record. Answers by how many the count of its collection changes: 1 or 0.
    pub fn put_record(&self, collection_id: i64, repo: RepoId, rkey: &str, cid: DagCid, json: &str) -> TxResult<i64> {
        let updated = self
            .db
            .prepare_cached(
                "UPDATE indexed_records SET cid = :cid, record_data = :json, indexed_at = :now
                 WHERE collection_id = :collection AND repo_id = :repo AND rkey = :rkey",
            )?
            .execute(named_params! {
                ":cid": cid, ":json": json, ":now": self.now,
                ":collection": collection_id, ":repo": repo.0, ":rkey": rkey,
            })?;
        if updated > 0 {
            return Ok(0);
        }
        self.insert_record(collection_id, repo, rkey, cid, json)?;
        Ok(1)
    }

    /// Inserts a record that is known to be new.
    pub fn insert_record(&self, collection_id: i64, repo: RepoId, rkey: &str, cid: DagCid, json: &str) -> TxResult<()> {
        self.db
            .prepare_cached(
                "INSERT INTO indexed_records (collection_id, repo_id, rkey, cid, record_data, indexed_at)
                 VALUES (:collection, :repo, :rkey, :cid, :json, :now)",
            )?
            .execute(named_params! {
                ":collection": collection_id, ":repo": repo.0, ":rkey": rkey,
                ":cid": cid, ":json": json, ":now": self.now,
            })?;
        Ok(())
    }

    /// Deletes a record if it is there. Answers by how many the count of its collection changes: -1 or 0.
    pub fn delete_record(&self, collection_id: i64, repo: RepoId, rkey: &str) -> TxResult<i64> {
        let deleted = self
            .db
            .prepare_cached(
                "DELETE FROM indexed_records WHERE collection_id = :collection AND repo_id = :repo AND rkey = :rkey",
            )?
            .execute(named_params! {":collection": collection_id, ":repo": repo.0, ":rkey": rkey})?;
        Ok(if deleted > 0 { -1 } else { 0 })
    }

    /// Moves a count; at 0 the repo is off the collection's list.
    pub fn adjust_count(&self, collection_id: i64, repo: RepoId, by: i64) -> TxResult<()> {
        if by == 0 {
            return Ok(());
        }
        let key = named_params! {":collection": collection_id, ":repo": repo.0};
        let count: Option<i64> = self
            .db
            .prepare_cached(
                "SELECT record_count FROM repo_collections WHERE collection_id = :collection AND repo_id = :repo",
            )?
            .query_row(key, |row| row.get(0))
            .optional()?;
        let count = count.unwrap_or(0) + by;
        if count == 0 {
            self.db
                .prepare_cached("DELETE FROM repo_collections WHERE collection_id = :collection AND repo_id = :repo")?
                .execute(key)?;
            return Ok(());
        }
        // A negative count breaks the table's CHECK, and that stops the process: counts and rows would have parted.
        self.db
            .prepare_cached(
                "INSERT INTO repo_collections (collection_id, repo_id, record_count) VALUES (:collection, :repo, :count)
                 ON CONFLICT DO UPDATE SET record_count = :count",
            )?
            .execute(named_params! {":collection": collection_id, ":repo": repo.0, ":count": count})?;
        Ok(())
    }

    /// Deletes every record of a repo. Answers how many there were.
    pub fn delete_records_of(&self, repo: RepoId) -> TxResult<usize> {
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
        Ok(deleted)
    }
}
