//! What an operator's page shows besides the gauges and the hosts: which host is down, what is being crawled, the collections, and one
//! repo.

use rusqlite::{OptionalExtension, named_params};

use super::stats::DOWN_FIREHOSES;
use super::{HostId, LAGGING_SECONDS, Store, StoreError, Tx, TxResult};
use crate::repo::DagCid;

/// Which host is down, which is behind, and what is crawled at this moment.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// A host whose firehose is down, and why, as an example.
    pub down_example: Option<(String, Option<String>)>,
    /// The host that is furthest behind, where one is too far, and how many seconds.
    pub lag_example: Option<(String, u64)>,
    /// Hosts with work left on their repos, or that are being listed.
    pub crawling: Vec<Crawling>,
}

/// A host whose repos are being fetched.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Crawling {
    /// Its name.
    pub hostname: String,
    /// Whether its repos are being listed: then there may be more of them.
    pub listing: bool,
    /// Its accounts that are known.
    pub repos: i64,
    /// Jobs on them that wait, and are not waiting for another try.
    pub waiting: i64,
    /// Jobs that are worked on.
    pub in_progress: i64,
    /// Jobs that failed and are tried again later.
    pub failed: i64,
}

/// A collection that somebody has a record of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CollectionSize {
    /// NSID.
    pub collection: String,
    /// Repos that hold it.
    pub repos: i64,
    /// Its records.
    pub records: i64,
}

/// What is known of an account.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RepoDetail {
    /// The account.
    pub did: String,
    /// Its host.
    pub hostname: String,
    /// Whether it is listed, as far as its host is concerned.
    pub active: bool,
    /// Why not, or what else is the matter, in the protocol's words.
    pub status: Option<String>,
    /// Whether the operator hides it.
    pub taken_down: bool,
    /// Whether it waits to be fetched again; what is indexed stays listed.
    pub desynchronized: bool,
    /// Whether a limit keeps some of its records out.
    pub truncated: bool,
    /// Rev of the commit that is indexed.
    pub rev: Option<String>,
    /// Its CID.
    pub head: Option<String>,
    /// Whether the chain of its commits is known.
    pub verified: bool,
    /// The key that its DID document named, as did:key.
    pub signing_key: Option<String>,
    /// Its records in the index.
    pub records: i64,
    /// Work that is queued for it, in words: `pending`, `in_progress` or `failed`.
    pub job: Option<String>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// A record as it is indexed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct IndexedRecord {
    /// NSID.
    pub collection: String,
    /// Record key.
    pub rkey: String,
    /// The record's CID.
    pub cid: String,
    /// The record as protocol JSON.
    pub record: String,
    /// Unix milliseconds.
    pub indexed_at: i64,
}

impl Store {
    /// Which host is down, which is behind, and what is crawled now: at most `most` hosts of the latter.
    pub async fn overview(&self, most: usize) -> Result<Overview, StoreError> {
        let behind = self.lags().all().into_iter().filter_map(|(host_id, lag)| Some((lag.seconds?, host_id)));
        let worst = behind.filter(|(seconds, _)| *seconds > LAGGING_SECONDS).max_by_key(|(seconds, _)| *seconds);
        self.read(move |tx| tx.overview(worst, most)).await
    }

    /// Every collection with what it has, by name.
    pub async fn collection_sizes(&self) -> Result<Vec<CollectionSize>, StoreError> {
        self.query(|tx| tx.collection_sizes()).await
    }

    /// Hosts whose name holds the text, by name, at most `most`.
    pub async fn find_hosts(&self, text: &str, most: usize) -> Result<Vec<String>, StoreError> {
        let text = text.to_owned();
        self.query(move |tx| tx.find_hosts(&text, most)).await
    }

    /// Accounts whose DID begins like this, at most `most`.
    pub async fn find_repos(&self, prefix: &str, most: usize) -> Result<Vec<String>, StoreError> {
        let prefix = prefix.to_owned();
        self.query(move |tx| tx.find_repos(&prefix, most)).await
    }

    /// One account, with its first records.
    pub async fn repo_detail(
        &self,
        did: &str,
        most: usize,
    ) -> Result<Option<(RepoDetail, Vec<IndexedRecord>)>, StoreError> {
        let did = did.to_owned();
        self.query(move |tx| tx.repo_detail(&did, most)).await
    }
}

impl Tx<'_> {
    fn overview(&self, worst_lag: Option<(u64, HostId)>, most: usize) -> TxResult<Overview> {
        let down_example = self
            .db
            .prepare_cached(&format!("SELECT hostname, last_error FROM {DOWN_FIREHOSES} ORDER BY state_since LIMIT 1"))?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let crawling = self
            .db
            .prepare_cached(
                "SELECT hostname, max(repo_id IS NULL AND q.status = 'in_progress'), ifnull(u.accounts, 0),
                     sum(repo_id IS NOT NULL AND q.status = 'pending'), sum(repo_id IS NOT NULL AND q.status = 'in_progress'),
                     sum(repo_id IS NOT NULL AND q.status = 'failed') AS failed
                 FROM crawl_queue q JOIN hosts h USING (host_id) LEFT JOIN host_usage u USING (host_id)
                 WHERE q.status <> 'subscribed' AND blocked = 0
                 GROUP BY host_id
                 HAVING sum(q.status = 'in_progress') > 0 OR sum(repo_id IS NOT NULL AND q.status = 'pending') > 0
                 ORDER BY count(*) DESC LIMIT :most",
            )?
            .query_map(named_params! {":most": most as i64}, |row| {
                Ok(Crawling {
                    hostname: row.get(0)?,
                    listing: row.get(1)?,
                    repos: row.get(2)?,
                    waiting: row.get(3)?,
                    in_progress: row.get(4)?,
                    failed: row.get(5)?,
                })
            })?
            .collect::<TxResult<_>>()?;
        let lag_example = match worst_lag {
            Some((seconds, host_id)) => self.known_host_by_id(host_id)?.map(|host| (host.as_str().to_owned(), seconds)),
            None => None,
        };
        Ok(Overview { down_example, lag_example, crawling })
    }

    fn collection_sizes(&self) -> TxResult<Vec<CollectionSize>> {
        self.db
            .prepare_cached(
                "SELECT nsid, count(*), sum(record_count) FROM repo_collections JOIN collections USING (collection_id)
                 GROUP BY collection_id ORDER BY nsid",
            )?
            .query_map([], |row| {
                Ok(CollectionSize { collection: row.get(0)?, repos: row.get(1)?, records: row.get(2)? })
            })?
            .collect()
    }

    fn find_hosts(&self, text: &str, most: usize) -> TxResult<Vec<String>> {
        self.db
            .prepare_cached(
                "SELECT hostname FROM hosts WHERE instr(hostname, :text) > 0 ORDER BY hostname LIMIT :most",
            )?
            .query_map(named_params! {":text": text, ":most": most as i64}, |row| row.get(0))?
            .collect()
    }

    fn find_repos(&self, prefix: &str, most: usize) -> TxResult<Vec<String>> {
        // Nothing in a DID sorts behind this.
        let end = format!("{prefix}\u{7f}");
        self.db
            .prepare_cached("SELECT did FROM repos WHERE did >= :prefix AND did < :end ORDER BY did LIMIT :most")?
            .query_map(named_params! {":prefix": prefix, ":end": end, ":most": most as i64}, |row| row.get(0))?
            .collect()
    }

    fn repo_detail(&self, did: &str, most: usize) -> TxResult<Option<(RepoDetail, Vec<IndexedRecord>)>> {
        let found = self
            .db
            .prepare_cached(
                "SELECT r.repo_id, did, hostname, active, r.status, taken_down, desynchronized, truncated, rev, head, data IS NOT NULL,
                     signing_key, record_count, q.status, q.last_error
                 FROM repos r JOIN hosts USING (host_id) LEFT JOIN identities i ON i.repo_id = r.repo_id
                 LEFT JOIN crawl_queue q ON q.repo_id = r.repo_id AND q.host_id = r.host_id
                 WHERE did = :did",
            )?
            .query_row(named_params! {":did": did}, |row| {
                let detail = RepoDetail {
                    did: row.get(1)?,
                    hostname: row.get(2)?,
                    active: row.get(3)?,
                    status: row.get(4)?,
                    taken_down: row.get(5)?,
                    desynchronized: row.get(6)?,
                    truncated: row.get(7)?,
                    rev: row.get(8)?,
                    head: row.get::<_, Option<DagCid>>(9)?.map(|cid| cid.to_string()),
                    verified: row.get(10)?,
                    signing_key: row.get(11)?,
                    records: row.get(12)?,
                    job: row.get(13)?,
                    last_error: row.get(14)?,
                };
                Ok((row.get::<_, i64>(0)?, detail))
            })
            .optional()?;
        let Some((repo_id, detail)) = found else { return Ok(None) };
        let records = self
            .db
            .prepare_cached(
                "SELECT nsid, rkey, cid, record_data, indexed_at FROM repo_collections rc
                 JOIN collections c USING (collection_id)
                 JOIN indexed_records i ON i.collection_id = rc.collection_id AND i.repo_id = rc.repo_id
                 WHERE rc.repo_id = :repo LIMIT :most",
            )?
            .query_map(named_params! {":repo": repo_id, ":most": most as i64}, |row| {
                Ok(IndexedRecord {
                    collection: row.get(0)?,
                    rkey: row.get(1)?,
                    cid: row.get::<_, DagCid>(2)?.to_string(),
                    record: row.get(3)?,
                    indexed_at: row.get(4)?,
                })
            })?
            .collect::<TxResult<_>>()?;
        Ok(Some((detail, records)))
    }
}
