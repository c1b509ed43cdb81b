//! `patterns` and `pattern_repos`: which repos hold what a pattern of the filter matches, kept as `repo_collections` is. A query for
//! such a pattern then costs what one for a collection costs.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::{RepoId, Tx, TxResult};
use crate::syntax::{CollectionFilter, NsidPattern};

impl Tx<'_> {
    /// The id of a pattern of the filter.
    pub(super) fn pattern_id(&self, pattern: &NsidPattern) -> TxResult<Option<i64>> {
        self.db
            .prepare_cached("SELECT pattern_id FROM patterns WHERE pattern = :pattern")?
            .query_row(named_params! {":pattern": pattern.to_string()}, |row| row.get(0))
            .optional()
    }

    /// The pattern of the filter that matches a collection; none where the filter names the collection itself.
    pub(super) fn pattern_of(&self, nsid: &str) -> TxResult<Option<i64>> {
        Ok(matching(&stored(self.db)?, nsid))
    }

    /// Moves how many records of a repo a pattern matches; at 0 the repo is off the pattern's list.
    pub(super) fn adjust_pattern(&self, pattern: i64, repo: RepoId, by: i64) -> TxResult<()> {
        if by == 0 {
            return Ok(());
        }
        let key = named_params! {":pattern": pattern, ":repo": repo.0};
        let count: Option<i64> = self
            .db
            .prepare_cached("SELECT record_count FROM pattern_repos WHERE pattern_id = :pattern AND repo_id = :repo")?
            .query_row(key, |row| row.get(0))
            .optional()?;
        let count = count.unwrap_or(0) + by;
        if count == 0 {
            self.db
                .prepare_cached("DELETE FROM pattern_repos WHERE pattern_id = :pattern AND repo_id = :repo")?
                .execute(key)?;
            return Ok(());
        }
        // As in `adjust_count`, a negative count stops the process.
        self.db
            .prepare_cached(
                "INSERT INTO pattern_repos (pattern_id, repo_id, record_count) VALUES (:pattern, :repo, :count)
                 ON CONFLICT DO UPDATE SET record_count = :count",
            )?
            .execute(named_params! {":pattern": pattern, ":repo": repo.0, ":count": count})?;
        Ok(())
    }
}

/// Makes both tables anew when the filter's patterns are others than those that they were made for.
pub(super) fn adopt(db: &Connection, filter: &CollectionFilter) -> rusqlite::Result<()> {
    let is_wide = |pattern: &&NsidPattern| !matches!(pattern, NsidPattern::Exact(_));
    let wanted: Vec<NsidPattern> = filter.patterns().iter().filter(is_wide).cloned().collect();
    if stored(db)?.into_iter().map(|(pattern, _)| pattern).eq(wanted.iter().cloned()) {
        return Ok(());
    }
    db.execute_batch("DELETE FROM pattern_repos; UPDATE collections SET pattern_id = NULL; DELETE FROM patterns;")?;
    for pattern in &wanted {
        db.execute("INSERT INTO patterns (pattern) VALUES (?1)", [pattern.to_string()])?;
    }
    let patterns = stored(db)?;
    let mut collections = db.prepare("SELECT collection_id, nsid FROM collections")?;
    let mut set = db.prepare("UPDATE collections SET pattern_id = ?1 WHERE collection_id = ?2")?;
    let collections: Vec<(i64, String)> =
        collections.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    for (collection, nsid) in collections {
        set.execute((matching(&patterns, &nsid), collection))?;
    }
    db.execute_batch(
        "INSERT INTO pattern_repos (pattern_id, repo_id, record_count)
         SELECT pattern_id, repo_id, sum(record_count) FROM collections JOIN repo_collections USING (collection_id)
         WHERE pattern_id IS NOT NULL GROUP BY 1, 2",
    )
}

/// In the order of the filter, which has its patterns sorted.
fn stored(db: &Connection) -> rusqlite::Result<Vec<(NsidPattern, i64)>> {
    let mut statement = db.prepare_cached("SELECT pattern, pattern_id FROM patterns ORDER BY pattern_id")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    // One that this version cannot read is another than any wanted one.
    Ok(rows
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .filter_map(|(text, id)| NsidPattern::parse(&text).ok().map(|pattern| (pattern, id)))
        .collect())
}

fn matching(patterns: &[(NsidPattern, i64)], nsid: &str) -> Option<i64> {
    patterns.iter().find(|(pattern, _)| pattern.matches(nsid)).map(|(_, id)| *id)
}
