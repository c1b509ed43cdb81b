//! Files of every version that was shipped: brought up to what a new file is, without losing a row.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::*;

/// As they were shipped.
const VERSIONS: [(i64, &str); 3] = [
    (1, include_str!("../../../tests/schemas/1.sql")),
    (2, include_str!("../../../tests/schemas/2.sql")),
    (3, include_str!("../../../tests/schemas/3.sql")),
];
/// Two hosts, of which one has repos with records.
const ROWS: &str = "
    INSERT INTO meta VALUES ('instance_id', '0011223344556677'), ('filter', 'io.atcr.*'), ('complete_filter', 'io.atcr.*');
    INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at, reached_at)
        VALUES (1, 'hold01.example.com', 'https', 'active', 5, 7, 0, 6), (2, 'hold02.example.com', 'https', 'new', 8, 9, 0, NULL);
    INSERT INTO subscriptions (host_id, host_cursor) VALUES (1, 42);
    INSERT INTO collections (collection_id, nsid) VALUES (1, 'io.atcr.hold.captain'), (2, 'io.atcr.hold.crew');
    INSERT INTO repos (repo_id, did, host_id, active)
        VALUES (1, 'did:web:repo1.example.com', 1, 1), (2, 'did:web:repo2.example.com', 1, 1);
    INSERT INTO identities VALUES (1, 'did:key:z6Mk', 3, NULL);
    INSERT INTO indexed_records VALUES (1, 1, 'self', zeroblob(32), '{}', 1), (2, 1, 'a', zeroblob(32), '{\"a\":\"ä\"}', 1),
        (2, 1, 'b', zeroblob(32), '{}', 1);
    INSERT INTO repo_collections VALUES (1, 1, 1), (2, 1, 2);
    INSERT INTO crawl_queue (host_id, repo_id, kind, status, next_attempt_at, created_at)
        VALUES (1, NULL, 'host', 'subscribed', 10, 1), (1, 2, 'repo', 'failed', 11, 2), (2, NULL, 'host', 'pending', 12, 3);
    INSERT INTO held_events VALUES (2, 9, 1, x'0102');
    PRAGMA application_id = 0x7369676e;";
/// What version 2 has more: the sums, and a summary of the filter's pattern.
const ROWS_SINCE_2: &str = "
    UPDATE hosts SET created_at = requested_at;
    INSERT INTO host_usage VALUES (1, 2, 3, 14, 0, 0), (2, 0, 0, 0, 0, 0);
    UPDATE repos SET record_count = 3, record_bytes = 14, collection_count = 2 WHERE repo_id = 1;
    INSERT INTO patterns VALUES (1, 'io.atcr.*');
    UPDATE collections SET pattern_id = 1;";

fn file_of(version: i64, path: &Path) {
    let (_, schema) = VERSIONS.into_iter().find(|(known, _)| *known == version).unwrap();
    let db = Connection::open(path).unwrap();
    db.execute_batch(schema).unwrap();
    db.execute_batch(ROWS).unwrap();
    if version >= 2 {
        db.execute_batch(ROWS_SINCE_2).unwrap();
    }
    match version {
        2 => db.execute_batch("INSERT INTO pattern_repos VALUES (1, 1, 3)").unwrap(),
        3 => lists::rebuild(&db).unwrap(),
        _ => {}
    }
    db.pragma_update(None, "user_version", version).unwrap();
}

/// Every table with its columns, every index with its, every view: their text apart, for comments and layout do not come along.
fn shape(path: &Path) -> BTreeMap<String, Vec<String>> {
    let db = Connection::open(path).unwrap();
    let names = "SELECT type || ' ' || name, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'";
    let objects: Vec<(String, String)> = db
        .prepare(names)
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let columns = "SELECT printf('%s %s notnull=%d default=%s pk=%d hidden=%d', name, type, \"notnull\", dflt_value, pk, hidden)
                   FROM pragma_table_xinfo(?1)
                   UNION ALL SELECT printf('%s desc=%d key=%d', name, \"desc\", key) FROM pragma_index_xinfo(?1)
                   UNION ALL SELECT printf('-> %s (%s) from %s', \"table\", \"to\", \"from\") FROM pragma_foreign_key_list(?1)
                   UNION ALL SELECT printf('strict=%d wr=%d', strict, wr) FROM pragma_table_list WHERE name = ?1
                   UNION ALL SELECT printf('unique=%d partial=%d', \"unique\", partial) FROM sqlite_schema s
                       JOIN pragma_index_list(s.tbl_name) l ON l.name = s.name WHERE s.name = ?1";
    let mut statement = db.prepare(columns).unwrap();
    let mut parts = |name: &str| statement.query_map([name], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    objects.into_iter().map(|(object, name)| (object, parts(&name))).collect()
}

/// Every row of every table of the old version that is still there, in the columns that it had.
fn rows(db: &Connection, tables: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let of = |columns: &Vec<String>, table: &str| -> Vec<String> {
        let texts: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let sql = format!("SELECT {} FROM {table} ORDER BY 1", texts.join(" || ',' || "));
        db.prepare(&sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    tables.iter().map(|(table, columns)| (table.clone(), of(columns, table))).collect()
}

fn tables(db: &Connection) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_xinfo(t.name) c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut statement = db.prepare(sql).unwrap();
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap() {
        let (table, column) = row.unwrap();
        tables.entry(table).or_default().push(column);
    }
    tables
}

#[tokio::test]
async fn an_old_file_becomes_what_a_new_file_is_and_keeps_every_row() {
    for (version, _) in VERSIONS {
        let (new, old) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (new_path, old_path) = (config(new.path()).path, config(old.path()).path);
        file_of(version, &old_path);
        let db = Connection::open(&old_path).unwrap();
        let mut known = tables(&db);
        // A summary whose place `lists` has taken.
        known.remove("pattern_repos");
        // Two tables, whose rows the view brings together.
        known.remove("indexed_records");
        let view = ["did", "collection", "rkey", "cid", "record_data", "indexed_at"];
        known.insert("records".to_owned(), view.map(str::to_owned).to_vec());
        let before = rows(&db, &known);
        drop(db);
        for directory in [&new, &old] {
            Store::open(&config(directory.path()), CancellationToken::new()).unwrap().close().await;
        }
        assert_eq!(shape(&old_path), shape(&new_path));
        assert_eq!(check(&old_path).unwrap().problems, Vec::<String>::new());
        let db = Connection::open(&old_path).unwrap();
        let after = rows(&db, &known);
        for (table, rows) in &before {
            assert!(rows.iter().all(|row| after[table].contains(row)), "{table}: {rows:?} became {:?}", after[table]);
        }
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("SELECT user_version FROM pragma_user_version"), 4);
        assert_eq!(number("SELECT count(*) FROM hosts WHERE created_at <> requested_at"), 0);
        assert_eq!(
            number("SELECT accounts * 1000 + records * 100 + record_bytes FROM host_usage WHERE host_id = 1"),
            2314
        );
        assert_eq!(number("SELECT accounts + records + record_bytes FROM host_usage WHERE host_id = 2"), 0);
        assert_eq!(number("SELECT record_bytes FROM repos WHERE repo_id = 1"), 14);
        assert_eq!(number("SELECT count(*) FROM records"), 3);
        // Two collections and the pattern.
        assert_eq!(number("SELECT count(*) FROM lists"), 3);
    }
}

#[test]
fn an_upgrade_that_does_not_end_leaves_the_old_file() {
    for (version, _) in VERSIONS {
        let directory = TempDir::new().unwrap();
        let path = config(directory.path()).path;
        file_of(version, &path);
        let before = shape(&path);
        // It finds no room at some moment or other.
        let mut db = Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let mut cut_short = 0;
        for most in pages..pages + 100 {
            db.query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get::<_, i64>(0)).unwrap();
            if open::apply_schema(&mut db).is_ok() {
                break;
            }
            cut_short += 1;
            assert_eq!(shape(&path), before, "with {most} pages");
            assert_eq!(db.query_row("SELECT count(*) FROM records", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
        }
        assert!(cut_short > 0, "it was cut short {cut_short} times");
        assert_ne!(shape(&path), before);
    }
}

#[tokio::test]
async fn a_sound_file_checks_well_and_every_wrong_sum_is_named() {
    let directory = TempDir::new().unwrap();
    let path = config(directory.path()).path;
    file_of(1, &path);
    assert!(matches!(check(&path), Err(OpenError::Older { found: 1, .. })));
    Store::open(&config(directory.path()), CancellationToken::new()).unwrap().close().await;
    let checked = check(&path).unwrap();
    assert_eq!(checked.problems, Vec::<String>::new());
    assert_eq!((checked.records, checked.empty_collections), (3, 0));
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA foreign_keys = OFF;
         DELETE FROM repo_collections WHERE collection_id = 2;
         INSERT INTO repo_collections VALUES (1, 2, 1);
         UPDATE repos SET record_bytes = 1, taken_down = 1 WHERE repo_id = 2;
         UPDATE host_usage SET accounts = 7 WHERE host_id = 1;
         DELETE FROM crawl_queue WHERE host_id = 2;
         UPDATE record_contents SET record_data = 'no' WHERE record_id = 1;
         DELETE FROM record_contents WHERE record_id = 2;
         INSERT INTO record_contents VALUES (9, '{}');
         INSERT INTO identities VALUES (99, 'did:key:z', 1, NULL);",
    )
    .unwrap();
    let problems = check(&path).unwrap().problems;
    for (words, lines) in [
        ("repo_collections", 2),
        // Repo 1 has another collection yet, so it is in the pattern's list still; repo 2 is taken down.
        ("lists other than the rows: collection 2 has repo 1", 1),
        // Repo 1 lacks the content that went.
        ("record_bytes of a repo", 2),
        ("host_usage", 1),
        ("taken down", 1),
        ("crawl_queue", 1),
        ("not JSON", 1),
        ("without a content", 2),
        ("references", 1),
    ] {
        assert_eq!(problems.iter().filter(|line| line.contains(words)).count(), lines, "{words}: {problems:#?}");
    }
}
