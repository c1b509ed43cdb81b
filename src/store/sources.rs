//! What a list of repos is put together from: collections, patterns of the filter, and for the many collections that another pattern
//! may match, one walk over what each repo holds. Each gives ids of repos in ascending order, from any point on.

use std::collections::{HashSet, VecDeque};

use rusqlite::named_params;

use super::{Tx, TxResult};
use crate::syntax::NsidPattern;

/// Up to so many collections are merged; to begin costs a seek for each of them. Of more than that, one after the other is looked for in
/// what the repos hold.
const MOST_MERGED: usize = 256;

const REPO_IDS_OF_COLLECTION: &str = "SELECT repo_id FROM repo_collections
     WHERE collection_id = :id AND repo_id > :after ORDER BY repo_id LIMIT :limit";
const REPO_IDS_OF_PATTERN: &str = "SELECT repo_id FROM pattern_repos
     WHERE pattern_id = :id AND repo_id > :after ORDER BY repo_id LIMIT :limit";
const PAIRS_BY_REPO: &str = "SELECT repo_id, collection_id FROM repo_collections INDEXED BY repo_collections_by_repo
     WHERE repo_id > :after ORDER BY repo_id";

/// One of the ascending lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Repos that hold a collection.
    Collection(i64),
    /// Repos that hold what a pattern of the filter matches.
    Pattern(i64),
    /// Repos that hold one of these collections.
    AnyOf(HashSet<i64>),
}

impl Tx<'_> {
    /// What the repos that hold a match of one of the patterns are listed from.
    pub(super) fn sources(&self, patterns: &[NsidPattern]) -> TxResult<Vec<Source>> {
        let mut sources = Vec::new();
        let mut collections = HashSet::new();
        for pattern in patterns {
            match (pattern, self.pattern_id(pattern)?) {
                (_, Some(id)) => sources.push(Source::Pattern(id)),
                (NsidPattern::Exact(nsid), None) => {
                    collections.extend(self.collection(nsid.as_str())?.map(|collection| collection.id));
                }
                (wide, None) => self.add_matching(wide, &mut collections)?,
            }
        }
        if collections.len() > MOST_MERGED {
            sources.push(Source::AnyOf(collections));
        } else {
            sources.extend(collections.into_iter().map(Source::Collection));
        }
        Ok(sources)
    }

    /// At most `limit` repos of a source, ascending by id after `after`.
    pub(super) fn repo_ids(&self, source: &Source, after: i64, limit: usize) -> TxResult<VecDeque<i64>> {
        let (sql, id) = match source {
            Source::Collection(id) => (REPO_IDS_OF_COLLECTION, *id),
            Source::Pattern(id) => (REPO_IDS_OF_PATTERN, *id),
            Source::AnyOf(collections) => return self.repo_ids_of_any(collections, after, limit),
        };
        let key = named_params! {":id": id, ":after": after, ":limit": limit as i64};
        self.db.prepare_cached(sql)?.query_map(key, |row| row.get(0))?.collect()
    }

    fn add_matching(&self, pattern: &NsidPattern, collections: &mut HashSet<i64>) -> TxResult<()> {
        // What is below `io.atcr` lies between "io.atcr." and "io.atcr/": '/' is the character after '.'.
        let (from, to) = match pattern {
            NsidPattern::Prefix(prefix) => (format!("{prefix}."), format!("{prefix}/")),
            _ => (String::new(), "~".to_owned()),
        };
        let mut statement =
            self.db.prepare_cached("SELECT collection_id FROM collections WHERE nsid > :from AND nsid < :to")?;
        let mut rows = statement.query(named_params! {":from": from, ":to": to})?;
        while let Some(row) = rows.next()? {
            collections.insert(row.get(0)?);
        }
        Ok(())
    }

    fn repo_ids_of_any(&self, collections: &HashSet<i64>, after: i64, limit: usize) -> TxResult<VecDeque<i64>> {
        let mut statement = self.db.prepare_cached(PAIRS_BY_REPO)?;
        let mut rows = statement.query(named_params! {":after": after})?;
        let mut repos = VecDeque::with_capacity(limit);
        while let Some(row) = rows.next()? {
            let repo: i64 = row.get(0)?;
            if repos.back() == Some(&repo) || !collections.contains(&row.get(1)?) {
                continue;
            }
            if repos.len() == limit {
                break;
            }
            repos.push_back(repo);
        }
        Ok(repos)
    }
}
