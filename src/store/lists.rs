//! `lists`: for every collection, and every pattern of the filter, the repos that hold it and are shown, with their DIDs; packed, so that a
//! page is a few rows.
//!
//! Invariant: a list says what `repo_collections`, `collections` and `repos` say. It changes in the transaction that changes them, at its
//! end (src/store/list_changes.rs).

use rusqlite::{Connection, OptionalExtension, Row, ffi, named_params};

use super::chunk::{ChunkWriter, Damaged, Entries, Entry};
use super::list_changes::{Belongs, MOST_BYTES};
use super::{Collection, RepoId, Tx, TxResult};

/// A row with so much has no room for another did:plc.
const FULL_BYTES: usize = MOST_BYTES - 20;
/// Of a row's key, the bits of the repo_id; the others are the list's.
const REPO_BITS: u32 = 34;
const LAST_REPO: i64 = (1 << REPO_BITS) - 1;

/// What the lists have to say: list, repo_id and DID.
const OF_PATTERNS: &str = "SELECT -pattern_id, repo_id, did FROM
         (SELECT DISTINCT pattern_id, repo_id FROM repo_collections JOIN collections USING (collection_id) WHERE pattern_id IS NOT NULL)
         JOIN repos r USING (repo_id) WHERE r.active = 1 AND r.taken_down = 0";
const OF_COLLECTIONS: &str = "SELECT collection_id, repo_id, did FROM repo_collections JOIN repos r USING (repo_id)
         WHERE r.active = 1 AND r.taken_down = 0";

/// One of the lists; in `lists` it is the key's upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct List(i64);

impl List {
    pub(super) fn of_collection(collection_id: i64) -> List {
        List(collection_id)
    }

    pub(super) fn of_pattern(pattern_id: i64) -> List {
        List(-pattern_id)
    }

    /// The key of the row that ends with a repo.
    pub(super) fn key(self, repo: i64) -> i64 {
        assert!(repo >> REPO_BITS == 0, "more accounts than there are people");
        (self.0 << REPO_BITS) + repo
    }

    /// Rows with a higher key have the repos after this one, which a client may have named: any number from 0.
    pub(super) fn after(self, repo: i64) -> i64 {
        self.key(repo.clamp(0, LAST_REPO))
    }

    /// The key of the last row.
    pub(super) fn end(self) -> i64 {
        self.key(LAST_REPO)
    }

    fn of_key(key: i64) -> List {
        List(key >> REPO_BITS)
    }

    /// The repo that the row of a key goes up to.
    pub(super) fn last_repo(key: i64) -> i64 {
        key & LAST_REPO
    }
}

/// As where SQLite finds a page damaged: the process stops.
impl From<Damaged> for rusqlite::Error {
    fn from(damaged: Damaged) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(damaged.to_string()))
    }
}

impl Tx<'_> {
    /// A repo has a first record of a collection.
    pub(super) fn pair_came(&self, collection: Collection, repo: RepoId) -> TxResult<()> {
        self.change_list(List::of_collection(collection.id), repo, Belongs::Listed)?;
        match collection.pattern {
            Some(pattern) => self.change_list(List::of_pattern(pattern), repo, Belongs::Listed),
            None => Ok(()),
        }
    }

    /// A repo has no record of a collection any more, and its row of `repo_collections` is gone.
    pub(super) fn pair_went(&self, collection: Collection, repo: RepoId) -> TxResult<()> {
        self.change_list(List::of_collection(collection.id), repo, Belongs::Unlisted)?;
        match collection.pattern {
            Some(pattern) if !self.holds_pattern(pattern, repo)? => {
                self.change_list(List::of_pattern(pattern), repo, Belongs::Unlisted)
            }
            _ => Ok(()),
        }
    }

    /// All rows of a repo are about to go.
    pub(super) fn pairs_go(&self, repo: RepoId) -> TxResult<()> {
        self.change_lists_of(repo, Belongs::Unlisted)
    }

    /// Does what may change whether a repo is shown, and changes its lists with it.
    pub(super) fn change_visibility(&self, repo: RepoId, change: impl FnOnce() -> TxResult<()>) -> TxResult<()> {
        let before = self.shown_did(repo)?;
        change()?;
        if before == self.shown_did(repo)? {
            return Ok(());
        }
        // Whether it is shown is looked at again when the lists are written.
        self.change_lists_of(repo, Belongs::Listed)
    }

    fn change_lists_of(&self, repo: RepoId, belongs: Belongs) -> TxResult<()> {
        self.lists_of(repo)?.into_iter().try_for_each(|list| self.change_list(list, repo, belongs))
    }

    /// The DID of a repo that is shown.
    pub(super) fn shown_did(&self, repo: RepoId) -> TxResult<Option<String>> {
        self.db
            .prepare_cached("SELECT did FROM repos WHERE repo_id = ?1 AND active = 1 AND taken_down = 0")?
            .query_row([repo.0], |row| row.get(0))
            .optional()
    }

    fn holds_pattern(&self, pattern: i64, repo: RepoId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM repo_collections JOIN collections USING (collection_id)
                                WHERE repo_id = :repo AND pattern_id = :pattern)",
            )?
            .query_row(named_params! {":repo": repo.0, ":pattern": pattern}, |row| row.get(0))
    }

    fn lists_of(&self, repo: RepoId) -> TxResult<Vec<List>> {
        let mut statement = self.db.prepare_cached(
            "SELECT collection_id, pattern_id FROM repo_collections JOIN collections USING (collection_id) WHERE repo_id = ?1",
        )?;
        let mut rows = statement.query([repo.0])?;
        let mut lists = Vec::new();
        while let Some(row) = rows.next()? {
            lists.push(List::of_collection(row.get(0)?));
            lists.extend(row.get::<_, Option<i64>>(1)?.map(List::of_pattern));
        }
        lists.sort_unstable();
        lists.dedup();
        Ok(lists)
    }
}

/// Makes all lists anew.
pub(super) fn rebuild(db: &Connection) -> rusqlite::Result<()> {
    db.execute("DELETE FROM lists", [])?;
    build(db, &truth())
}

/// Makes the lists of the patterns anew.
pub(super) fn rebuild_patterns(db: &Connection) -> rusqlite::Result<()> {
    db.execute("DELETE FROM lists WHERE up_to < 0", [])?;
    build(db, &format!("{OF_PATTERNS} ORDER BY 1, 2"))
}

/// Of all lists, in their order.
fn truth() -> String {
    format!("{OF_PATTERNS} UNION ALL {OF_COLLECTIONS} ORDER BY 1, 2")
}

/// Drops the list of a collection.
pub(super) fn drop_list(db: &Connection, collection_id: i64) -> rusqlite::Result<()> {
    let list = List::of_collection(collection_id);
    db.prepare_cached("DELETE FROM lists WHERE up_to BETWEEN ?1 AND ?2")?.execute([list.key(0), list.end()])?;
    Ok(())
}

fn build(db: &Connection, truth: &str) -> rusqlite::Result<()> {
    let mut insert = db.prepare("INSERT INTO lists (up_to, repos) VALUES (?1, ?2)")?;
    let mut statement = db.prepare(truth)?;
    let mut rows = statement.query([])?;
    let mut current: Option<List> = None;
    let mut writer = ChunkWriter::default();
    while let Some(row) = rows.next()? {
        let (list, repo, did) = listed(row)?;
        let ends_at = current.filter(|current| *current != list).map(List::end);
        let is_full = writer.bytes.len() > FULL_BYTES;
        let full_at = current.filter(|_| is_full).map(|list| list.key(writer.last));
        if let Some(key) = ends_at.or(full_at) {
            insert.execute((key, &writer.bytes))?;
            writer = ChunkWriter::default();
        }
        current = Some(list);
        Entry::pack(repo, did, |entry| writer.push(entry));
    }
    if let Some(list) = current {
        insert.execute((list.end(), &writer.bytes))?;
    }
    Ok(())
}

fn listed<'a>(row: &'a Row) -> rusqlite::Result<(List, i64, &'a str)> {
    Ok((List(row.get(0)?), row.get(1)?, row.get_ref(2)?.as_str()?))
}

/// What the lists say that the rows do not, and the other way round: a line each.
pub(super) fn differences(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let (mut statement, mut stored) =
        (db.prepare(&truth())?, db.prepare("SELECT up_to, repos FROM lists ORDER BY up_to")?);
    let (mut rows, mut chunks) = (statement.query([])?, stored.query([])?);
    let mut lines = Vec::new();
    let mut truth = next_truth(rows.next()?)?;
    let mut previous_key = i64::MIN;
    while let Some(row) = chunks.next()? {
        let (key, repos): (i64, &[u8]) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
        let list = List::of_key(key);
        for entry in Entries::of(repos) {
            let Ok(Entry { repo, did }) = entry else {
                lines.push(format!("row {key} cannot be read"));
                break;
            };
            let at = (list, repo);
            while let Some(missing) = truth.take_if(|(list, repo, _)| (*list, *repo) < at) {
                lines.push(format!("{} lacks repo {}", missing.0.name(), missing.1));
                truth = next_truth(rows.next()?)?;
            }
            match truth.take_if(|(list, repo, _)| (*list, *repo) == at) {
                Some((_, _, told)) if did.give(|did| told.as_bytes() == did) => {}
                Some(_) => lines.push(format!("{} has another DID for repo {repo}", list.name())),
                None => lines.push(format!("{} has repo {repo}, which is not to be listed", list.name())),
            }
            if truth.is_none() {
                truth = next_truth(rows.next()?)?;
            }
            if repo > List::last_repo(key) || list.key(repo) <= previous_key {
                lines.push(format!("{} has repo {repo} in a row that it is not looked for in", list.name()));
            }
        }
        previous_key = key;
    }
    while let Some((list, repo, _)) = truth {
        lines.push(format!("{} lacks repo {repo}", list.name()));
        truth = next_truth(rows.next()?)?;
    }
    Ok(lines)
}

fn next_truth(row: Option<&Row>) -> rusqlite::Result<Option<(List, i64, String)>> {
    row.map(|row| listed(row).map(|(list, repo, did)| (list, repo, did.to_owned()))).transpose()
}

impl List {
    fn name(self) -> String {
        match self.0 {
            pattern @ ..0 => format!("pattern {}", -pattern),
            collection => format!("collection {collection}"),
        }
    }
}

#[cfg(test)]
mod tests;
