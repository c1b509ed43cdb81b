//! signpost's index compared with the truth: the text view of its database file against a fresh walk of the PDSes.

use std::collections::BTreeMap;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::await_condition::await_condition;
use crate::network::Pds;
use crate::signpost::Signpost;

/// The text view of schema.sql. It is read over another connection, as a person with the sqlite3 shell would.
const SELECT_RECORDS: &str = "SELECT did, collection, rkey, cid, record_data FROM records";

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
    let database = Connection::open_with_flags(signpost.database_path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
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

fn difference(index: &Records, truth: &Records) -> String {
    let missing = truth.iter().find(|(path, record)| index.get(*path) != Some(*record));
    let excess = index.iter().find(|(path, _)| !truth.contains_key(*path));
    format!(
        "{} rows for {} records, first missing or other: {missing:?}, first in excess: {excess:?}",
        index.len(),
        truth.len()
    )
}
