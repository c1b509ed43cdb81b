//! What `check` costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::repo::DagCid;
use crate::store::check::checked;
use crate::store::{Direct, HostId, UsageChange, open};
use crate::syntax::{Did, Host, HostPolicy};

const STEPS_A_CALL: i32 = 100;

/// A sound database with so many repos, each with a record in two collections.
fn database(directory: &Path, repos: usize) -> std::path::PathBuf {
    let config = config(directory);
    let mut database = Direct::open(&config).unwrap();
    let host = Host::parse("pds.example.com", HostPolicy::PublicOnly).unwrap();
    database.write(0, |tx| tx.accept_host(&host));
    let cid = DagCid::for_block(b"a record");
    for number in 0..repos {
        let did = Did::parse(&format!("did:web:repo{number}.example.com")).unwrap();
        database.write(0, |tx| {
            let repo = tx.insert_repo(&did, HostId(1), true, None)?;
            for nsid in ["io.atcr.a", "io.atcr.b"] {
                let collection = tx.collection(nsid)?.map_or_else(|| tx.new_collection(nsid, HostId(1)), Ok)?;
                tx.insert_record(collection.id, repo, "self", cid, "{}")?;
                let collections = tx.adjust_count(collection, repo, 1)?;
                tx.change_usage(repo, &UsageChange { records: 1, bytes: 2, collections })?;
            }
            Ok(())
        });
    }
    config.path
}

/// How many steps SQLite goes for a check.
fn steps_to_check(repos: usize) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let db = open::open_to_read(&database(directory.path(), repos)).unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    db.progress_handler(STEPS_A_CALL, Some(count)).unwrap();
    let found = checked(&db).unwrap();
    assert_eq!((found.problems, found.records), (vec![], 2 * repos as i64));
    calls.load(Ordering::Relaxed)
}

#[test]
fn a_check_of_twice_as_much_takes_twice_as_long() {
    let (once, twice) = (steps_to_check(400), steps_to_check(800));
    assert!(once > 0 && twice < once * 5 / 2, "{once} and {twice} times {STEPS_A_CALL} steps");
}
