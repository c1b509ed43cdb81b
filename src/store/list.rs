//! The served queries: keyset pages in ascending id. A test reads their query plans.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use rusqlite::{OptionalExtension, Row, named_params};

use super::chunk::{Entries, Entry};
use super::lists::List;
use super::sources::{Source, Walk};
use super::{HostId, RepoId, Store, StoreError, Tx, TxResult};
use crate::repo::DagCid;
use crate::syntax::{Did, NsidPattern};

const ROWS_OF_LIST: &str = "SELECT repos FROM lists WHERE up_to > :after AND up_to <= :end ORDER BY up_to";
/// What is read on the thread that was asked: so many lists, and so many repos of all of them (each list is read up to the page's length).
/// That is half a millisecond at most, and mostly a tenth of it.
const MOST_LISTS_HERE: usize = 32;
const MOST_LOOKED_AT_HERE: usize = 10_000;
const REPO_COLUMNS: &str = "repo_id, did, head, rev, active AND NOT taken_down,
     CASE WHEN taken_down THEN 'takendown' WHEN active AND desynchronized THEN 'desynchronized' ELSE status END";
/// An active repo that was not verified yet is only hearsay; so is one whose chain is known while nobody has asked whose it is.
const IS_PUBLIC: &str = "(active = 0 OR taken_down = 1 OR (data IS NOT NULL OR desynchronized = 1)
     AND EXISTS (SELECT 1 FROM identities i WHERE i.repo_id = repos.repo_id))";
/// Who is active is not counted: of all, which are kept count of, those go that are not, which are few. (CROSS JOIN: takedowns first.)
const HOSTS: &str = "WITH hidden AS MATERIALIZED (
         SELECT host_id, count(*) AS repos FROM takedowns CROSS JOIN repos USING (did) WHERE active = 1 AND taken_down = 1 GROUP BY host_id)
     SELECT hosts.host_id, hostname, CASE WHEN blocked THEN 'banned' ELSE state END, host_cursor,
         ifnull(accounts, 0) - ifnull(hidden.repos, 0)
         - (SELECT count(*) FROM repos WHERE repos.host_id = hosts.host_id AND active = 0)
     FROM hosts LEFT JOIN subscriptions USING (host_id) LEFT JOIN host_usage USING (host_id) LEFT JOIN hidden USING (host_id)
     WHERE reached_at IS NOT NULL";

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
    /// What the caller began, with what it wrote of each.
    pub text: Vec<u8>,
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
    /// Each is given to `write` as it is read, behind what is in `text`: a page costs one buffer, whatever its size.
    pub async fn list_repos_by_collection<W>(
        &self,
        patterns: Vec<NsidPattern>,
        after: RepoId,
        limit: usize,
        text: Vec<u8>,
        write: W,
    ) -> Result<DidPage, StoreError>
    where
        W: Fn(&mut Vec<u8>, &[u8]) + Copy + Send + 'static,
    {
        let mut page = PageWriter::new(text, after, limit, write);
        let is_read = self.read_here(|tx| tx.read_few_lists(&patterns, &mut page)).transpose()?;
        if is_read == Some(true) {
            return Ok(page.finish());
        }
        self.query(move |tx| tx.list_repos_by_collection(&patterns, page)).await
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
                .prepare_cached(&format!("{HOSTS} AND hosts.host_id > :after ORDER BY hosts.host_id LIMIT :limit"))?
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
                .prepare_cached(&format!("{HOSTS} AND hostname = :hostname"))?
                .query_row(named_params! {":hostname": hostname}, read_host)
                .optional()
        })
        .await
    }
}

impl Tx<'_> {
    pub(super) fn list_repos_by_collection<W>(
        &self,
        patterns: &[NsidPattern],
        mut page: PageWriter<W>,
    ) -> TxResult<DidPage>
    where
        W: Fn(&mut Vec<u8>, &[u8]),
    {
        self.read_page(&self.sources(patterns, usize::MAX)?, &mut page)?;
        Ok(page.finish())
    }

    /// Reads a page that is put together from few repos: sooner than another thread would be woken. False: it takes more.
    fn read_few_lists<W>(&self, patterns: &[NsidPattern], page: &mut PageWriter<W>) -> TxResult<bool>
    where
        W: Fn(&mut Vec<u8>, &[u8]),
    {
        let most = (MOST_LOOKED_AT_HERE / page.left).clamp(1, MOST_LISTS_HERE);
        let sources = self.sources(patterns, most)?;
        if sources.len() > most {
            return Ok(false);
        }
        self.read_page(&sources, page)?;
        Ok(true)
    }

    fn read_page<W>(&self, sources: &[Source], page: &mut PageWriter<W>) -> TxResult<()>
    where
        W: Fn(&mut Vec<u8>, &[u8]),
    {
        match sources {
            [Source::List(list)] => self.repos_of_one(*list, page),
            many => self.repos_of_many(many, page),
        }
    }

    fn repos_of_one<W>(&self, list: List, page: &mut PageWriter<W>) -> TxResult<()>
    where
        W: Fn(&mut Vec<u8>, &[u8]),
    {
        let mut statement = self.db.prepare_cached(ROWS_OF_LIST)?;
        let after = page.after.0;
        let mut rows = statement.query(named_params! {":after": list.after(after), ":end": list.end()})?;
        while let Some(row) = rows.next()? {
            for entry in Entries::of(row.get_ref(0)?.as_blob()?) {
                let entry = entry?;
                if entry.repo > after {
                    page.push(entry);
                }
                if page.is_full() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Merges several sources; each is read only as far as the merge gets.
    pub(super) fn repos_of_many<W>(&self, sources: &[Source], page: &mut PageWriter<W>) -> TxResult<()>
    where
        W: Fn(&mut Vec<u8>, &[u8]),
    {
        let mut walks: Vec<Walk> = sources.iter().map(|source| Walk::new(source, page.after.0, page.left)).collect();
        let mut heads = BinaryHeap::with_capacity(walks.len());
        for (at, walk) in walks.iter_mut().enumerate() {
            heads.extend(walk.next(self)?.map(|repo| Reverse((repo, at))));
        }
        let mut last = page.after.0;
        while let Some(mut head) = heads.peek_mut() {
            let Reverse((repo, at)) = *head;
            let walk = &mut walks[at];
            if repo != last {
                page.push(walk.entry()?);
                last = repo;
                if page.is_full() {
                    break;
                }
            }
            match walk.next(self)? {
                Some(next) => *head = Reverse((next, at)),
                None => drop(PeekMut::pop(head)),
            }
        }
        Ok(())
    }
}

/// Takes the rows of a page, and one more that only shows that there are more.
pub(super) struct PageWriter<W> {
    text: Vec<u8>,
    after: RepoId,
    left: usize,
    last: RepoId,
    write: W,
    has_more: bool,
}

impl<W: Fn(&mut Vec<u8>, &[u8])> PageWriter<W> {
    pub(super) fn new(text: Vec<u8>, after: RepoId, limit: usize, write: W) -> PageWriter<W> {
        PageWriter { text, after, left: limit, last: after, write, has_more: false }
    }

    fn push(&mut self, Entry { repo, did }: Entry<'_>) {
        if self.left == 0 {
            self.has_more = true;
            return;
        }
        self.left -= 1;
        self.last = RepoId(repo);
        did.give(|did| (self.write)(&mut self.text, did));
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

#[cfg(test)]
mod tests {
    use super::super::sources::{NEXT_ROW_OF_LIST, PAIRS_BY_REPO};
    use super::*;
    use crate::config::{Limits, StoreConfig};
    use crate::store::Direct;
    use crate::syntax::CollectionFilter;

    #[test]
    fn no_page_of_dids_is_sorted_or_searched_for_row_by_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
        let config = StoreConfig { path: folder.path().join("test.db"), filter, limits: Limits::default() };
        let mut database = Direct::open(&config).expect("a database");
        for sql in [ROWS_OF_LIST, NEXT_ROW_OF_LIST, PAIRS_BY_REPO] {
            let plan: Vec<String> = database.read(0, |tx| {
                let mut statement = tx.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                statement.raw_query().mapped(|row| row.get(3)).collect()
            });
            assert!(
                plan.len() == 1 && plan[0].starts_with("SEARCH") && plan[0].contains("PRIMARY KEY"),
                "{sql}: {plan:?}"
            );
        }
        let hosts: Vec<String> = database.read(0, |tx| {
            let mut statement = tx.db.prepare(&format!("EXPLAIN QUERY PLAN {HOSTS}"))?;
            statement.raw_query().mapped(|row| row.get(3)).collect()
        });
        let scanned: Vec<&String> = hosts.iter().filter(|step| step.starts_with("SCAN")).collect();
        assert_eq!(scanned, ["SCAN takedowns", "SCAN hosts"], "{hosts:?}");
        assert!(hosts.iter().any(|step| step.contains("COVERING INDEX repos_inactive")), "{hosts:?}");
    }
}
