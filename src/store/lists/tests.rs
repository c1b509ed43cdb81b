//! Lists after any writes in any order, and every way in which they can be wrong.

use std::path::Path;

use super::*;
use crate::config::{Limits, StoreConfig};
use crate::repo::DagCid;
use crate::store::{Direct, HostId, Status, UsageChange};
use crate::syntax::{CollectionFilter, Did, Host, HostPolicy};

const NSIDS: [&str; 5] = ["io.atcr.a", "io.atcr.b", "io.atcr.c", "x.y.a", "x.y.b"];

fn database(folder: &Path) -> Direct {
    let filter = CollectionFilter::parse("io.atcr.*,x.y.a,x.y.b").expect("a filter");
    let config = StoreConfig { path: folder.join("test.db"), filter, limits: Limits::default() };
    let mut database = Direct::open(&config).expect("a database");
    let host = Host::parse("pds.example.com", HostPolicy::PublicOnly).expect("a host");
    database.write(0, |tx| tx.accept_host(&host));
    database
}

/// Of both kinds.
fn did(number: i64) -> Did {
    match number % 5 {
        0 => Did::parse(&format!("did:web:repo{number}.example.com")).expect("a DID"),
        _ => did_plc(number),
    }
}

fn did_plc(number: i64) -> Did {
    let letters: String = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    Did::parse(&format!("did:plc:{letters:a>24}")).expect("a DID")
}

fn change(tx: &Tx, repo: RepoId, nsid: &str, by: i64) -> TxResult<()> {
    let known = tx.collection(nsid)?;
    let collection = known.map_or_else(|| tx.new_collection(nsid, HostId(1)), Ok)?;
    if by > 0 {
        tx.insert_record(collection.id, repo, "self", DagCid::for_block(b"a record"), "{}")?;
    } else {
        tx.delete_record(collection.id, repo, "self")?;
    }
    let collections = tx.adjust_count(collection, repo, by)?;
    tx.change_usage(repo, &UsageChange { records: by, bytes: 2 * by, collections })
}

fn holds(tx: &Tx, repo: RepoId, nsid: &str) -> TxResult<bool> {
    tx.collection(nsid)?.map_or(Ok(false), |collection| tx.has_collection(collection.id, repo))
}

fn largest_row(tx: &Tx) -> TxResult<(i64, i64)> {
    tx.db.query_row("SELECT count(*), max(length(repos)) FROM lists", [], |row| Ok((row.get(0)?, row.get(1)?)))
}

#[test]
fn lists_say_what_the_rows_say_whatever_is_done_in_whatever_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = database(folder.path());
    let mut random = fastrand::Rng::with_seed(7);
    let count = 400;
    database
        .write(0, |tx| (1..=count).try_for_each(|n| tx.insert_repo(&did(n), HostId(1), n % 11 != 0, None).map(drop)));
    for round in 0..40 {
        database.write(0, |tx| {
            for _ in 0..200 {
                let (number, nsid) = (random.i64(1..=count), NSIDS[random.usize(..NSIDS.len())]);
                let repo = RepoId(number);
                match random.u32(..20) {
                    0 => tx.set_repo_status(repo, false, Some(Status::Deactivated))?,
                    1 | 2 => tx.set_repo_status(repo, true, None)?,
                    3 => tx.take_down(&did(number))?,
                    4 => _ = tx.restore(&did(number))?,
                    // Later there are fewer and fewer.
                    5 if round > 30 => _ = tx.delete_records_of(repo)?,
                    _ if holds(tx, repo, nsid)? => change(tx, repo, nsid, -1)?,
                    _ => change(tx, repo, nsid, 1)?,
                }
            }
            Ok(())
        });
        assert_eq!(database.read(0, |tx| differences(tx.db)), Vec::<String>::new(), "round {round}");
        assert_eq!(database.read(0, |tx| tx.wrong_counts()), 0, "round {round}");
        let (rows, bytes) = database.read(0, largest_row);
        assert!(rows > 6 && bytes <= MOST_BYTES as i64, "{rows} rows of up to {bytes} bytes");
    }
    database.write(0, |tx| (1..=count).try_for_each(|n| tx.delete_records_of(RepoId(n)).map(drop)));
    assert_eq!(database.read(0, |tx| tx.db.query_row("SELECT count(*) FROM lists", [], |row| row.get::<_, i64>(0))), 0);
}

#[test]
fn a_list_that_grows_at_its_end_has_full_rows_and_roughly_at_its_end_hardly_emptier_ones() {
    for (disorder, least_full) in [(1, 0.9), (10, 0.6), (100, 0.6), (2000, 0.6)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut database = database(folder.path());
        let mut random = fastrand::Rng::with_seed(8);
        let mut order: Vec<i64> = (1..=2000).collect();
        order.sort_by_cached_key(|n| n + random.i64(0..disorder));
        let mean = |tx: &Tx| tx.db.query_row("SELECT avg(length(repos)) FROM lists", [], |row| row.get::<_, f64>(0));
        let (grown, anew) = database.write(0, |tx| {
            (1..=2000).try_for_each(|n| tx.insert_repo(&did_plc(n), HostId(1), true, None).map(drop))?;
            order.iter().try_for_each(|n| change(tx, RepoId(*n), "x.y.a", 1).and_then(|()| tx.write_lists()))?;
            let grown = mean(tx)?;
            rebuild(tx.db)?;
            Ok((grown / MOST_BYTES as f64, mean(tx)? / MOST_BYTES as f64))
        });
        assert!(grown > least_full && anew > 0.9, "{disorder}: {grown} and {anew} full");
        assert_eq!(database.read(0, |tx| differences(tx.db)), Vec::<String>::new());
    }
}

#[test]
fn a_did_longer_than_a_row_is_listed_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = database(folder.path());
    let long = |n: i64| Did::parse(&format!("did:web:{}{n}.example.com", "x".repeat(1900))).expect("a DID");
    database.write(0, |tx| {
        for n in [1, 2, 3, 4] {
            let did = if n % 2 == 0 { long(n) } else { did(n) };
            let repo = tx.insert_repo(&did, HostId(1), true, None)?;
            change(tx, repo, "io.atcr.a", 1)?;
        }
        Ok(())
    });
    for _ in 0..2 {
        assert_eq!(database.read(0, |tx| differences(tx.db)), Vec::<String>::new());
        let listed = database.read(0, |tx| tx.listed_dids("io.atcr.*"));
        assert_eq!(listed, [did(1), long(2), did(3), long(4)].map(|did| did.as_str().to_owned()));
        database.write(0, |tx| rebuild(tx.db));
    }
}

#[test]
fn every_wrong_row_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = database(folder.path());
    database.write(0, |tx| {
        for n in 1..=3 {
            let repo = tx.insert_repo(&did(n), HostId(1), true, None)?;
            change(tx, repo, "x.y.a", 1)?;
        }
        Ok(())
    });
    for (sql, lines) in [
        ("DELETE FROM lists", 3),
        ("UPDATE lists SET repos = substr(repos, 1, 16)", 2),
        ("UPDATE lists SET repos = x'ff'", 4),
        ("UPDATE lists SET up_to = up_to + (1 << 34)", 6),
        ("UPDATE lists SET up_to = (1 << 34) + 2", 1),
        ("UPDATE repos SET taken_down = 1 WHERE repo_id = 2", 1),
        ("UPDATE repos SET did = 'did:web:other.com' WHERE repo_id = 2", 1),
        ("DELETE FROM repo_collections WHERE repo_id = 3", 1),
    ] {
        let found = database.write(0, |tx| {
            tx.db.execute_batch("SAVEPOINT tampered")?;
            tx.db.execute_batch(sql)?;
            let found = differences(tx.db)?;
            tx.db.execute_batch("ROLLBACK TO tampered; RELEASE tampered")?;
            Ok(found)
        });
        assert_eq!(found.len(), lines, "{sql}: {found:#?}");
    }
    assert_eq!(database.read(0, |tx| differences(tx.db)), Vec::<String>::new());
}
