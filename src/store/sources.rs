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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::{Limits, StoreConfig};
    use crate::store::{Direct, RepoId};
    use crate::syntax::CollectionFilter;

    const REPOS: i64 = 20_000;
    const INVENTED: i64 = 25_000;
    const PAGE: usize = 500;

    /// Accounts of which each holds one of three collections, or two; every eighth has invented ten more.
    fn database(folder: &std::path::Path) -> Direct {
        let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
        let config = StoreConfig { path: folder.join("test.db"), filter, limits: Limits::default() };
        let mut database = Direct::open(&config).expect("a database");
        database.write(0, |tx| {
            tx.db.execute_batch(&format!(
                "INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at)
                     VALUES (1, 'pds.example.com', 'https', 'active', 0, 0, 0);
                 WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < {REPOS})
                 INSERT INTO repos (repo_id, did, host_id, active) SELECT n, 'did:web:r' || n || '.com', 1, n % 7 <> 0 FROM n;
                 INSERT INTO collections (nsid, pattern_id) VALUES ('io.atcr.a', 1), ('io.atcr.b', 1), ('io.atcr.c', 1);
                 INSERT INTO repo_collections SELECT 1 + repo_id % 3, repo_id, 1 FROM repos;
                 INSERT INTO repo_collections SELECT 1 + (repo_id + 1) % 3, repo_id, 1 FROM repos WHERE repo_id % 2 = 0;
                 WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < {INVENTED})
                 INSERT INTO collections (nsid, pattern_id) SELECT 'io.atcr.x.n' || n, 1 FROM n;
                 INSERT INTO repo_collections SELECT collection_id, 8 * ((collection_id - 4) / 10 + 1), 1 FROM collections
                     WHERE nsid LIKE 'io.atcr.x.%';
                 INSERT INTO pattern_repos SELECT 1, repo_id, sum(record_count) FROM repo_collections GROUP BY 2;
                 ANALYZE"
            ))
        });
        database
    }

    fn patterns(texts: &[&str]) -> Vec<NsidPattern> {
        texts.iter().map(|text| NsidPattern::parse(text).expect("a pattern")).collect()
    }

    fn write(text: &mut String, did: &str) {
        text.extend([did, "\n"]);
    }

    /// The whole list, page by page, and how long the quickest full page took.
    fn walk(database: &mut Direct, texts: &[&str]) -> (Vec<String>, Duration) {
        let (patterns, mut dids, mut quickest, mut after) = (patterns(texts), Vec::new(), Duration::MAX, RepoId(0));
        loop {
            let began = Instant::now();
            let page = database.read(0, |tx| tx.list_repos_by_collection(&patterns, after, PAGE, write));
            let took = began.elapsed();
            dids.extend(page.text.lines().map(str::to_owned));
            match page.next_after {
                Some(last) => (after, quickest) = (last, quickest.min(took)),
                None => return (dids, quickest),
            }
        }
    }

    fn truth(database: &mut Direct, texts: &[&str]) -> BTreeSet<String> {
        let patterns = patterns(texts);
        let pairs: Vec<(String, String)> = database.read(0, |tx| {
            tx.db
                .prepare(
                    "SELECT did, nsid FROM repo_collections JOIN repos USING (repo_id) JOIN collections USING (collection_id)
                     WHERE active = 1",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        });
        let matches = |nsid: &str| patterns.iter().any(|pattern| pattern.matches(nsid));
        pairs.into_iter().filter(|(_, nsid)| matches(nsid)).map(|(did, _)| did).collect()
    }

    #[test]
    fn every_way_to_put_a_list_together_gives_each_repo_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut database = database(folder.path());
        let cases: &[(&[&str], usize)] = &[
            (&["io.atcr.*"], 1),
            (&["io.atcr.a"], 1),
            (&["io.atcr.x.*"], 1),
            (&["io.atcr.x.*", "io.atcr.a"], 1),
            (&["io.atcr.*", "io.atcr.b"], 2),
            (&["io.atcr.a", "io.atcr.b", "io.atcr.x.n7"], 3),
            (&["io.atcr.nobody"], 0),
            (&["io.atcr.nobody.*"], 0),
        ];
        for (texts, sources) in cases {
            let patterns = patterns(texts);
            assert_eq!(database.read(0, |tx| tx.sources(&patterns)).len(), *sources, "{texts:?}");
            let (dids, _) = walk(&mut database, texts);
            assert_eq!(dids.len(), dids.iter().collect::<BTreeSet<_>>().len(), "{texts:?} names one twice");
            assert_eq!(dids.into_iter().collect::<BTreeSet<_>>(), truth(&mut database, texts), "{texts:?}");
        }
    }

    #[test]
    fn invented_collections_do_not_slow_the_filters_pattern() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut database = database(folder.path());
        let (_, single) = walk(&mut database, &["io.atcr.a"]);
        let (_, pattern) = walk(&mut database, &["io.atcr.*"]);
        let (_, below) = walk(&mut database, &["io.atcr.x.*"]);
        let began = Instant::now();
        let merged: Vec<Source> = (1..INVENTED + 4).map(Source::Collection).collect();
        let mut page = crate::store::list::PageWriter::new(PAGE, RepoId(0), write);
        database.read(0, |tx| tx.repos_of_many(&merged, RepoId(0), &mut page));
        let merged = began.elapsed();
        println!(
            "a page of {PAGE}: one collection {single:?}, io.atcr.* {pattern:?}, io.atcr.x.* {below:?}, merged {merged:?}"
        );
        assert!(pattern < 3 * single, "{pattern:?} is far from {single:?}");
        assert!(below < merged, "{below:?} is no better than {merged:?}");
    }
}
