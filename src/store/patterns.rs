//! `patterns`: the patterns of the filter, and which of them matches a collection. Each has a list of its own in `lists`: a query for such a
//! pattern costs what one for a collection costs.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::{Tx, TxResult, lists};
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
}

/// Makes the table and its lists anew when the filter's patterns are others than those that they were made for.
pub(super) fn adopt(db: &Connection, filter: &CollectionFilter) -> rusqlite::Result<()> {
    let is_wide = |pattern: &&NsidPattern| !matches!(pattern, NsidPattern::Exact(_));
    let wanted: Vec<NsidPattern> = filter.patterns().iter().filter(is_wide).cloned().collect();
    if stored(db)?.into_iter().map(|(pattern, _)| pattern).eq(wanted.iter().cloned()) {
        return Ok(());
    }
    db.execute_batch("UPDATE collections SET pattern_id = NULL; DELETE FROM patterns;")?;
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
    lists::rebuild_patterns(db)
}

/// In the order of the filter, which has its patterns sorted.
pub(super) fn stored(db: &Connection) -> rusqlite::Result<Vec<(NsidPattern, i64)>> {
    let mut statement = db.prepare_cached("SELECT pattern, pattern_id FROM patterns ORDER BY pattern_id")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    // One that this version cannot read is another than any wanted one.
    Ok(rows
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .filter_map(|(text, id)| NsidPattern::parse(&text).ok().map(|pattern| (pattern, id)))
        .collect())
}

pub(super) fn matching(patterns: &[(NsidPattern, i64)], nsid: &str) -> Option<i64> {
    patterns.iter().find(|(pattern, _)| pattern.matches(nsid)).map(|(_, id)| *id)
}
