//! What a page of repos is put together from: the lists of collections and of the filter's patterns, and for the many collections that another
//! pattern may match, one walk over what each repo holds. Each gives repos in ascending order, from any point on.

use std::collections::HashSet;

use rusqlite::named_params;

use super::chunk::{ChunkWriter, Damaged, Entries, Entry, Place};
use super::lists::List;
use super::{RepoId, Tx, TxResult};
use crate::syntax::NsidPattern;

/// Up to so many collections are merged; to begin costs a seek for each of them. Of more than that, one after the other is looked for in
/// what the repos hold.
const MOST_MERGED: usize = 256;

pub(super) const NEXT_ROW_OF_LIST: &str =
    "SELECT up_to, repos FROM lists WHERE up_to > :after AND up_to <= :end ORDER BY up_to LIMIT 1";
pub(super) const PAIRS_BY_REPO: &str =
    "SELECT repo_id, collection_id FROM repo_collections WHERE repo_id > :after ORDER BY repo_id";

/// One of the ascending lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Repos that hold a collection, or what a pattern of the filter matches.
    List(List),
    /// Repos that hold one of these collections.
    AnyOf(HashSet<i64>),
}

impl Tx<'_> {
    /// What the repos that hold a match of one of the patterns are listed from. When these are more than `most` lists, not all may be
    /// named, but more than `most` are.
    pub(super) fn sources(&self, patterns: &[NsidPattern], most: usize) -> TxResult<Vec<Source>> {
        let mut sources = Vec::new();
        let mut collections = HashSet::new();
        for pattern in patterns {
            match (pattern, self.pattern_id(pattern)?) {
                (_, Some(id)) => sources.push(Source::List(List::of_pattern(id))),
                (NsidPattern::Exact(nsid), None) => {
                    collections.extend(self.stored_collection(nsid.as_str())?.map(|collection| collection.id));
                }
                (wide, None) => self.add_matching(wide, most, &mut collections)?,
            }
        }
        if collections.len() > MOST_MERGED && collections.len() <= most {
            sources.push(Source::AnyOf(collections));
        } else {
            sources.extend(collections.into_iter().map(|id| Source::List(List::of_collection(id))));
        }
        Ok(sources)
    }

    fn add_matching(&self, pattern: &NsidPattern, most: usize, collections: &mut HashSet<i64>) -> TxResult<()> {
        // What is below `io.atcr` lies between "io.atcr." and "io.atcr/": '/' is the character after '.'.
        let (from, to) = match pattern {
            NsidPattern::Prefix(prefix) => (format!("{prefix}."), format!("{prefix}/")),
            _ => (String::new(), "~".to_owned()),
        };
        let mut statement = self
            .db
            .prepare_cached("SELECT collection_id FROM collections WHERE nsid > :from AND nsid < :to LIMIT :limit")?;
        let limit = i64::try_from(most).map_or(-1, |most| most + 1);
        let mut rows = statement.query(named_params! {":from": from, ":to": to, ":limit": limit})?;
        while let Some(row) = rows.next()? {
            collections.insert(row.get(0)?);
        }
        Ok(())
    }
}

/// Goes through a source, a row at a time.
pub(super) struct Walk<'s> {
    source: &'s Source,
    /// What is not looked at: the repos up to this one.
    after: i64,
    /// Of repos that are looked for in what each holds, so many at once.
    at_once: usize,
    row: Vec<u8>,
    /// Up to which repo the source was read.
    up_to: i64,
    /// In the row, before the repo that [`Walk::next`] named, and after it.
    here: Place,
    next: Place,
}

impl<'s> Walk<'s> {
    pub(super) fn new(source: &'s Source, after: i64, at_once: usize) -> Walk<'s> {
        let (here, next) = (Place::default(), Place::default());
        Walk { source, after, at_once, row: Vec::new(), up_to: after, here, next }
    }

    /// The next repo; None at the end.
    pub(super) fn next(&mut self, tx: &Tx) -> TxResult<Option<i64>> {
        loop {
            let mut entries = Entries::at(&self.row, self.next);
            while let Some(entry) = entries.next().transpose()? {
                (self.here, self.next) = (self.next, entries.place(&self.row));
                if entry.repo > self.after {
                    return Ok(Some(entry.repo));
                }
            }
            let is_read = match self.source {
                Source::List(list) => self.read_list(tx, *list)?,
                Source::AnyOf(collections) => self.read_pairs(tx, collections)?,
            };
            if !is_read {
                return Ok(None);
            }
            self.next = Place::default();
        }
    }

    /// The repo that was named last, with its DID.
    pub(super) fn entry(&self) -> TxResult<Entry<'_>> {
        Entries::at(&self.row, self.here).next().unwrap_or(Err(Damaged)).map_err(Into::into)
    }

    fn read_list(&mut self, tx: &Tx, list: List) -> TxResult<bool> {
        let mut statement = tx.db.prepare_cached(NEXT_ROW_OF_LIST)?;
        let mut rows = statement.query(named_params! {":after": list.after(self.up_to), ":end": list.end()})?;
        let Some(row) = rows.next()? else { return Ok(false) };
        self.up_to = List::last_repo(row.get(0)?);
        self.row.clear();
        self.row.extend_from_slice(row.get_ref(1)?.as_blob()?);
        Ok(true)
    }

    fn read_pairs(&mut self, tx: &Tx, collections: &HashSet<i64>) -> TxResult<bool> {
        let mut statement = tx.db.prepare_cached(PAIRS_BY_REPO)?;
        let mut pairs = statement.query(named_params! {":after": self.up_to})?;
        let mut writer = ChunkWriter { bytes: std::mem::take(&mut self.row), last: 0 };
        writer.bytes.clear();
        let mut found = 0;
        while found < self.at_once
            && let Some(pair) = pairs.next()?
        {
            let repo: i64 = pair.get(0)?;
            if repo == self.up_to || !collections.contains(&pair.get(1)?) {
                continue;
            }
            self.up_to = repo;
            if let Some(did) = tx.shown_did(RepoId(repo))? {
                Entry::pack(repo, &did, |entry| writer.push(entry));
                found += 1;
            }
        }
        self.row = writer.bytes;
        Ok(found > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::{Limits, StoreConfig};
    use crate::store::list::PageWriter;
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
                 ANALYZE"
            ))?;
            crate::store::lists::rebuild(tx.db)
        });
        database
    }

    fn patterns(texts: &[&str]) -> Vec<NsidPattern> {
        texts.iter().map(|text| NsidPattern::parse(text).expect("a pattern")).collect()
    }

    fn write(text: &mut Vec<u8>, did: &[u8]) {
        text.extend_from_slice(did);
        text.push(b'\n');
    }

    /// The whole list, page by page, and how long the quickest full page took.
    fn walk(database: &mut Direct, texts: &[&str]) -> (Vec<String>, Duration) {
        let (patterns, mut dids, mut quickest, mut after) = (patterns(texts), Vec::new(), Duration::MAX, RepoId(0));
        loop {
            let began = Instant::now();
            let page = PageWriter::new(Vec::new(), after, PAGE, write);
            let page = database.read(0, |tx| tx.list_repos_by_collection(&patterns, page));
            let took = began.elapsed();
            dids.extend(String::from_utf8(page.text).expect("UTF-8").lines().map(str::to_owned));
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
            assert_eq!(database.read(0, |tx| tx.sources(&patterns, usize::MAX)).len(), *sources, "{texts:?}");
            let (dids, _) = walk(&mut database, texts);
            assert_eq!(dids.len(), dids.iter().collect::<BTreeSet<_>>().len(), "{texts:?} names one twice");
            assert_eq!(dids.into_iter().collect::<BTreeSet<_>>(), truth(&mut database, texts), "{texts:?}");
        }
    }

    #[test]
    fn what_is_cut_at_so_many_lists_is_never_taken_for_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut database = database(folder.path());
        let many: Vec<String> = (1..=50).map(|n| format!("io.atcr.x.n{n}")).collect();
        let wide = ["io.atcr.x.*", "io.atcr.*", "io.atcr.a"];
        for texts in [&["io.atcr.x.*"; 50][..], &wide, &many.iter().map(String::as_str).collect::<Vec<_>>()] {
            let patterns = patterns(texts);
            for most in [1, 32, 49, 300] {
                let named = database.read(0, |tx| tx.sources(&patterns, most));
                let all = database.read(0, |tx| tx.sources(&patterns, usize::MAX));
                assert!(named.len() > most || named.len() == all.len(), "{texts:?} {most}");
            }
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
        let merged: Vec<Source> = (1..INVENTED + 4).map(|id| Source::List(List::of_collection(id))).collect();
        let mut page = PageWriter::new(Vec::new(), RepoId(0), PAGE, write);
        database.read(0, |tx| tx.repos_of_many(&merged, &mut page));
        let merged = began.elapsed();
        println!(
            "a page of {PAGE}: one collection {single:?}, io.atcr.* {pattern:?}, io.atcr.x.* {below:?}, merged {merged:?}"
        );
        assert!(pattern < 3 * single, "{pattern:?} is far from {single:?}");
        assert!(below < merged, "{below:?} is no better than {merged:?}");
    }
}
