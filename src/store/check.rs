//! Whether the file is sound and its sums are those of its rows, in one snapshot; beside a service that goes on.

use std::path::Path;

use rusqlite::Connection;

use super::lists;
use super::open::{self, OpenError};

/// What a check found wrong is shown up to so many lines each.
const MOST_LINES: usize = 10;

/// What a check looks at: its name, and a query for one line per difference.
const DERIVED: [(&str, &str); 8] = [
    (
        "repo_collections counts other than the rows",
        // One sort of both. A FULL JOIN of them goes through all pairs for each pair.
        "SELECT printf('collection %d of repo %d: %s stored, %s counted', collection_id, repo_id,
                    ifnull(max(stored), 'none'), ifnull(max(counted), 'none'))
         FROM (SELECT collection_id, repo_id, record_count AS stored, NULL AS counted FROM repo_collections
               UNION ALL SELECT collection_id, repo_id, NULL, count(*) FROM indexed_records GROUP BY 1, 2)
         GROUP BY collection_id, repo_id HAVING max(stored) IS NOT max(counted)",
    ),
    (
        "record_bytes of a repo other than its rows'",
        "SELECT printf('repo %d: %d stored, %d counted', repo_id, record_bytes, counted)
         FROM (SELECT r.repo_id, r.record_bytes, ifnull(counted, 0) AS counted FROM repos r LEFT JOIN
               (SELECT repo_id, sum(octet_length(record_data)) AS counted FROM indexed_records JOIN record_contents USING (record_id)
                GROUP BY 1) USING (repo_id))
         WHERE record_bytes <> counted",
    ),
    (
        "host_usage other than the rows",
        "WITH of_repo AS (SELECT repo_id, count(*) AS records, sum(octet_length(record_data)) AS bytes
                          FROM indexed_records JOIN record_contents USING (record_id) GROUP BY 1),
              counted AS (SELECT host_id, count(repo_id) AS accounts, ifnull(sum(o.records), 0) AS records,
                                 ifnull(sum(o.bytes), 0) AS record_bytes
                          FROM hosts LEFT JOIN repos USING (host_id) LEFT JOIN of_repo o USING (repo_id) GROUP BY host_id)
         SELECT printf('host %d: %d accounts, %d records, %d bytes stored; %d, %d, %d counted', host_id, ifnull(u.accounts, 0),
                    ifnull(u.records, 0), ifnull(u.record_bytes, 0), c.accounts, c.records, c.record_bytes)
         FROM counted c LEFT JOIN host_usage u USING (host_id)
         WHERE (ifnull(u.accounts, 0), ifnull(u.records, 0), ifnull(u.record_bytes, 0))
             IS NOT (c.accounts, c.records, c.record_bytes)",
    ),
    (
        "accounts that are taken down in one table and not in the other",
        "SELECT did FROM repos r WHERE taken_down <> EXISTS (SELECT 1 FROM takedowns t WHERE t.did = r.did)",
    ),
    (
        "hosts without their one row of crawl_queue",
        "SELECT hostname FROM hosts h WHERE NOT EXISTS
             (SELECT 1 FROM crawl_queue q WHERE q.host_id = h.host_id AND q.repo_id IS NULL)",
    ),
    (
        "records whose content is not JSON",
        "SELECT printf('collection %d of repo %d: %s', collection_id, repo_id, rkey) FROM indexed_records
         JOIN record_contents USING (record_id) WHERE NOT json_valid(record_data)",
    ),
    (
        "records without a content, or a content without its record",
        "SELECT printf('collection %d of repo %d: %s', collection_id, repo_id, rkey) FROM indexed_records
         WHERE record_id NOT IN (SELECT record_id FROM record_contents)
         UNION ALL SELECT printf('content %d', record_id) FROM record_contents
         WHERE record_id NOT IN (SELECT record_id FROM indexed_records)",
    ),
    ("references to rows that are not there", "SELECT printf('%s row %s -> %s', \"table\", rowid, parent) FROM pragma_foreign_key_check"),
];

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong, a line each; nothing: all is well.
    pub problems: Vec<String>,
    /// Rows of the index.
    pub records: i64,
    /// Collections of which no record is left: harmless.
    pub empty_collections: i64,
}

/// Checks the file and re-derives every sum from the rows that it sums up.
pub fn check(database: &Path) -> Result<Checked, OpenError> {
    let db = open::open_to_read(database)?;
    open::require_current(&db, database)?;
    checked(&db).map_err(|error| OpenError::Sqlite(database.to_owned(), error))
}

pub(super) fn checked(db: &Connection) -> rusqlite::Result<Checked> {
    let snapshot = db.unchecked_transaction()?;
    let mut problems: Vec<String> = lines(&snapshot, "PRAGMA integrity_check(100)")?;
    problems.retain(|line| line != "ok");
    if !problems.is_empty() {
        // What the rows of a damaged file add up to says nothing.
        return Ok(Checked { problems, ..Checked::default() });
    }
    let mut tell = |what: &str, found: Vec<String>| {
        problems.extend(found.iter().take(MOST_LINES).map(|line| format!("{what}: {line}")));
        if let Some(more @ 1..) = found.len().checked_sub(MOST_LINES) {
            problems.push(format!("{what}: and {more} more"));
        }
    };
    for (what, sql) in DERIVED {
        tell(what, lines(&snapshot, sql)?);
    }
    tell("lists other than the rows", lists::differences(&snapshot)?);
    // The view that people read, with the text form of every CID.
    lines(&snapshot, "SELECT cid FROM records LIMIT 1000")?;
    let number = |sql: &str| snapshot.query_row(sql, [], |row| row.get(0));
    Ok(Checked {
        problems,
        records: number("SELECT count(*) FROM indexed_records")?,
        empty_collections: number(
            "SELECT count(*) FROM collections WHERE collection_id NOT IN (SELECT collection_id FROM repo_collections)",
        )?,
    })
}

fn lines(db: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}
