//! The served queries: keyset pages in ascending id. A test reads their query plans.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rusqlite::{OptionalExtension, Row, named_params};

use super::sources::Source;
use super::{HostId, RepoId, Store, StoreError, Tx, TxResult};
use crate::repo::DagCid;
use crate::syntax::{Did, NsidPattern};

const REPOS_OF_COLLECTION: &str =
    "SELECT rc.repo_id, r.did FROM repo_collections rc JOIN repos r ON r.repo_id = rc.repo_id
     WHERE rc.collection_id = :id AND rc.repo_id > :after AND r.active = 1 AND r.taken_down = 0 ORDER BY rc.repo_id LIMIT :limit";
const REPOS_OF_PATTERN: &str = "SELECT p.repo_id, r.did FROM pattern_repos p JOIN repos r ON r.repo_id = p.repo_id
     WHERE p.pattern_id = :id AND p.repo_id > :after AND r.active = 1 AND r.taken_down = 0 ORDER BY p.repo_id LIMIT :limit";
const REPO_COLUMNS: &str = "repo_id, did, head, rev, active AND NOT taken_down,
     CASE WHEN taken_down THEN 'takendown' WHEN active AND desynchronized THEN 'desynchronized' ELSE status END";
/// An active repo that was not verified yet is only hearsay; so is one whose chain is known while nobody has asked whose it is.
const IS_PUBLIC: &str = "(active = 0 OR taken_down = 1 OR (data IS NOT NULL OR desynchronized = 1)
     AND EXISTS (SELECT 1 FROM identities i WHERE i.repo_id = repos.repo_id))";
const HOST_COLUMNS: &str = "host_id, hostname, CASE WHEN blocked THEN 'banned' ELSE state END, host_cursor,
     (SELECT count(*) FROM repos r WHERE r.host_id = hosts.host_id AND r.active = 1 AND r.taken_down = 0)";

/// An account as the public API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRow {
    /// For the list cursor.
    pub id: RepoId,
    /// The account.
    pub did: String,
    /// CID of the commit that is indexed.
    pub head: Option<DagCid>,
    /// Rev of the commit that is indexed.
    pub rev: Option<String>,
    /// Whether the account is to be shown.
    pub active: bool,
    /// The protocol's word for why not, or for what else is the matter.
    pub status: Option<String>,
}

/// A page of DIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DidPage {
    /// What the caller wrote of each.
    pub text: String,
    /// After which repo the next page begins; None at the end.
    pub next_after: Option<RepoId>,
}

/// A host as the public API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// For the list cursor.
    pub id: HostId,
    /// Its public name.
    pub hostname: String,
    /// The stored cursor of its firehose.
    pub seq: Option<i64>,
    /// Its active accounts.
    pub account_count: i64,
    /// `com.atproto.sync.defs#hostStatus`: active, offline or banned.
    pub status: &'static str,
}

impl Store {
    /// DIDs of active repos that hold a record in a matching collection, each once, ascending by id after `after`, at most `limit`.
    /// Each is given to `write` as it is read: a page costs one buffer, whatever its size.
    pub async fn list_repos_by_collection(
        &self,
        patterns: Vec<NsidPattern>,
        after: RepoId,
        limit: usize,
        write: fn(&mut String, &str),
    ) -> Result<DidPage, StoreError> {
        self.query(move |tx| tx.list_repos_by_collection(&patterns, after, limit, write)).await
    }

    /// Accounts whose commit is known, ascending by id after `after`.
    pub async fn list_repos(&self, after: RepoId, limit: usize) -> Result<Vec<RepoRow>, StoreError> {
        self.query(move |tx| {
            tx.db
                .prepare_cached(&format!(
                    "SELECT {REPO_COLUMNS} FROM repos WHERE repo_id > :after AND head IS NOT NULL AND {IS_PUBLIC} ORDER BY repo_id LIMIT :limit"
                ))?
                .query_map(named_params! {":after": after.0, ":limit": limit as i64}, read_repo)?
                .collect()
        })
        .await
    }

    /// One account.
    pub async fn repo(&self, did: &Did) -> Result<Option<RepoRow>, StoreError> {
        let did = did.clone();
        self.query(move |tx| {
            tx.db
                .prepare_cached(&format!("SELECT {REPO_COLUMNS} FROM repos WHERE did = :did AND {IS_PUBLIC}"))?
                .query_row(named_params! {":did": did.as_str()}, read_repo)
                .optional()
        })
        .await
    }

    /// Hosts that answered at least once, ascending by id after `after`.
    pub async fn list_hosts(&self, after: HostId, limit: usize) -> Result<Vec<HostRow>, StoreError> {
        self.query(move |tx| {
            tx.db
                .prepare_cached(&format!(
                    "SELECT {HOST_COLUMNS} FROM hosts LEFT JOIN subscriptions USING (host_id)
                     WHERE host_id > :after AND reached_at IS NOT NULL ORDER BY host_id LIMIT :limit"
                ))?
                .query_map(named_params! {":after": after.0, ":limit": limit as i64}, read_host)?
                .collect()
        })
        .await
    }

    /// One host, if it answered at least once.
    pub async fn host(&self, hostname: &str) -> Result<Option<HostRow>, StoreError> {
        let hostname = hostname.to_owned();
        self.query(move |tx| {
            tx.db
                .prepare_cached(&format!(
                    "SELECT {HOST_COLUMNS} FROM hosts LEFT JOIN subscriptions USING (host_id)
                     WHERE hostname = :hostname AND reached_at IS NOT NULL"
                ))?
                .query_row(named_params! {":hostname": hostname}, read_host)
                .optional()
        })
        .await
    }
}

impl Tx<'_> {
    pub(super) fn list_repos_by_collection(
        &self,
        patterns: &[NsidPattern],
        after: RepoId,
        limit: usize,
        write: fn(&mut String, &str),
    ) -> TxResult<DidPage> {
        let mut page = PageWriter::new(limit, after, write);
        match self.sources(patterns)?.as_slice() {
            [] => {}
            [Source::Collection(id)] => self.repos_of_one(REPOS_OF_COLLECTION, *id, after, &mut page)?,
            [Source::Pattern(id)] => self.repos_of_one(REPOS_OF_PATTERN, *id, after, &mut page)?,
            many => self.repos_of_many(many, after, &mut page)?,
        }
        Ok(page.finish())
    }

    fn repos_of_one(&self, sql: &str, id: i64, after: RepoId, page: &mut PageWriter) -> TxResult<()> {
        let mut statement = self.db.prepare_cached(sql)?;
        // One more tells whether there is a next page.
        let mut rows = statement.query(named_params! {":id": id, ":after": after.0, ":limit": page.left as i64 + 1})?;
        while let Some(row) = rows.next()? {
            page.push(RepoId(row.get(0)?), row.get_ref(1)?.as_str()?);
        }
        Ok(())
    }

    /// Merges the ascending pages of several sources; a page of each is read only as far as the merge gets.
    pub(super) fn repos_of_many(&self, sources: &[Source], after: RepoId, page: &mut PageWriter) -> TxResult<()> {
        let chunk = (2 * page.left / sources.len()).clamp(16, page.left.max(16));
        let mut pages: Vec<VecDeque<i64>> = vec![VecDeque::new(); sources.len()];
        let mut heads = BinaryHeap::new();
        let mut advance = |heads: &mut BinaryHeap<_>, at: usize, after: i64| -> TxResult<()> {
            if pages[at].is_empty() {
                pages[at] = self.repo_ids(&sources[at], after, chunk)?;
            }
            if let Some(repo) = pages[at].pop_front() {
                heads.push(Reverse((repo, at)));
            }
            Ok(())
        };
        for at in 0..sources.len() {
            advance(&mut heads, at, after.0)?;
        }
        let mut active =
            self.db.prepare_cached("SELECT did FROM repos WHERE repo_id = ?1 AND active = 1 AND taken_down = 0")?;
        let mut last = after.0;
        while !page.is_full() {
            let Some(Reverse((repo, at))) = heads.pop() else { break };
            advance(&mut heads, at, repo)?;
            if repo == last {
                continue;
            }
            last = repo;
            let mut rows = active.query([repo])?;
            if let Some(row) = rows.next()? {
                page.push(RepoId(repo), row.get_ref(0)?.as_str()?);
            }
        }
        Ok(())
    }
}

/// Takes the rows of a page, and one more that only shows that there are more.
pub(super) struct PageWriter {
    text: String,
    left: usize,
    last: RepoId,
    write: fn(&mut String, &str),
    has_more: bool,
}

impl PageWriter {
    pub(super) fn new(limit: usize, after: RepoId, write: fn(&mut String, &str)) -> PageWriter {
        PageWriter { text: String::with_capacity(limit * 48), left: limit, last: after, write, has_more: false }
    }

    fn push(&mut self, repo: RepoId, did: &str) {
        if self.left == 0 {
            self.has_more = true;
            return;
        }
        self.left -= 1;
        self.last = repo;
        (self.write)(&mut self.text, did);
    }

    fn is_full(&self) -> bool {
        self.has_more
    }

    fn finish(self) -> DidPage {
        DidPage { text: self.text, next_after: self.has_more.then_some(self.last) }
    }
}

fn read_repo(row: &Row) -> rusqlite::Result<RepoRow> {
    Ok(RepoRow {
        id: RepoId(row.get(0)?),
        did: row.get(1)?,
        head: row.get(2)?,
        rev: row.get(3)?,
        active: row.get(4)?,
        status: row.get(5)?,
    })
}

fn read_host(row: &Row) -> rusqlite::Result<HostRow> {
    let state: String = row.get(2)?;
    Ok(HostRow {
        id: HostId(row.get(0)?),
        hostname: row.get(1)?,
        status: match state.as_str() {
            "active" => "active",
            "banned" => "banned",
            _ => "offline",
        },
        seq: row.get(3)?,
        account_count: row.get(4)?,
    })
}
