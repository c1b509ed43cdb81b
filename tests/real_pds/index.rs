//! signpost's index compared with the truth: the text view of its database file against a fresh walk of the PDSes.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::await_condition::await_condition;
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

/// The text view of schema.sql. It is read over another connection, as a person with the sqlite3 shell would.
const SELECT_RECORDS: &str = "SELECT did, collection, rkey, cid, record_data FROM records";

const SELECT_HOST: &str = "SELECT hostname FROM repos JOIN hosts USING (host_id) WHERE did = ?1";
const FORGET_CURSOR: &str = "UPDATE subscriptions SET host_cursor = 1
    WHERE host_id = (SELECT host_id FROM hosts WHERE hostname = ?1) AND host_cursor > 1";

/// (did, collection, rkey) -> (cid, record)
type Records = BTreeMap<(String, String, String), (String, Value)>;

/// Waits until the index holds exactly the matching records of these PDSes, by path, CID and value.
pub fn await_index_equal_to_walk(signpost: &Signpost, pdses: &[&Pds]) {
    let truth: Records = pdses.iter().flat_map(|pds| walked(pds)).collect();
    await_condition("the index equals a fresh walk", || {
        let index = indexed(signpost);
        if index == truth { Ok(()) } else { Err(difference(&index, &truth)) }
    });
}

/// Waits until a record is in the index.
pub fn await_record(signpost: &Signpost, account: &Account, collection: &str, rkey: &str) {
    let path = (account.did.clone(), collection.to_owned(), rkey.to_owned());
    await_condition(&format!("{path:?} is indexed"), || match indexed(signpost).contains_key(&path) {
        true => Ok(()),
        false => Err("not there".to_owned()),
    });
}

/// Waits until the account's repo is known as one of this PDS.
pub fn await_host(signpost: &Signpost, account: &Account, pds: &Pds) {
    await_condition(&format!("{} is a repo of {}", account.did, pds.hostname()), || {
        let host: String = open(signpost)
            .query_row(SELECT_HOST, [&account.did], |row| row.get(0))
            .map_err(|error| error.to_string())?;
        if host == pds.hostname() { Ok(()) } else { Err(host) }
    });
}

/// As if `--crawl-interval` had passed for every host. For a database that nobody serves.
pub fn make_comparison_due(database: &Path) {
    let database = Connection::open(database).unwrap();
    database.execute("UPDATE crawl_queue SET next_attempt_at = 0 WHERE repo_id IS NULL", []).unwrap();
}

/// As if nothing of this host was ever heard but its first event: it replays the rest. For a database that nobody serves.
pub fn forget_cursor(database: &Path, pds: &Pds) {
    let database = Connection::open(database).unwrap();
    let forgotten = database.execute(FORGET_CURSOR, [pds.hostname()]).unwrap();
    assert_eq!(forgotten, 1, "{} had a cursor", pds.hostname());
}

/// How many records the index holds.
pub fn indexed_count(signpost: &Signpost) -> usize {
    indexed(signpost).len()
}

fn walked(pds: &Pds) -> Records {
    let walk = pds.walk();
    let records = walk["records"].as_array().unwrap();
    let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    records
        .iter()
        .filter(|record| text(record, "collection").starts_with("io.atcr."))
        .map(|record| {
            let path = (text(record, "did"), text(record, "collection"), text(record, "rkey"));
            (path, (text(record, "cid"), record["value"].clone()))
        })
        .collect()
}

fn indexed(signpost: &Signpost) -> Records {
    let database = open(signpost);
    let mut statement = database.prepare(SELECT_RECORDS).unwrap();
    let mut records = Records::new();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let path = (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
        let json: String = row.get(4).unwrap();
        let record = serde_json::from_str(&json).expect("record_data is JSON");
        let twice = records.insert(path, (row.get(3).unwrap(), record));
        assert!(twice.is_none(), "a record has two rows: {twice:?}");
    }
    records
}

fn open(signpost: &Signpost) -> Connection {
    Connection::open_with_flags(signpost.database_path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn difference(index: &Records, truth: &Records) -> String {
    let missing = truth.iter().find(|(path, record)| index.get(*path) != Some(*record));
    let excess = index.iter().find(|(path, _)| !truth.contains_key(*path));
    format!(
        "{} rows for {} records, first missing or other: {missing:?}, first in excess: {excess:?}",
        index.len(),
        truth.len()
    )
}
