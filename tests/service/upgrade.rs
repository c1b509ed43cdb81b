//! A file of version 1 that is brought up by the real binary, which is killed while it does that.

use std::path::Path;
use std::process::Stdio;

use fake_network::Network;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::await_condition::await_condition;
use crate::index::Index;
use crate::process::{Options, Process, serve};

/// As it was shipped.
const VERSION_1: &str = include_str!("../schemas/1.sql");
const REPOS: i64 = 150_000;

/// Every repo with one record; none is active, so that nobody is asked for them.
fn large_version_1(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(VERSION_1).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN;
         INSERT INTO meta VALUES ('instance_id', '0011223344556677'), ('filter', 'io.atcr.*'), ('complete_filter', 'io.atcr.*');
         INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at)
             VALUES (1, 'hold01.example.com', 'https', 'new', 1, 1, 0);
         INSERT INTO collections VALUES (1, 'io.atcr.hold.captain');
         CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {REPOS}) SELECT i FROM n;
         INSERT INTO repos (repo_id, did, host_id, active, status)
             SELECT i, printf('did:web:repo%d.example.com', i), 1, 0, 'deactivated' FROM n;
         INSERT INTO indexed_records SELECT 1, i, 'self', randomblob(32), printf('{{\"n\":%d}}', 100000 + i), 1 FROM n;
         INSERT INTO repo_collections SELECT 1, i, 1 FROM n;
         COMMIT; PRAGMA application_id = 0x7369676e; PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .unwrap();
}

/// What a process has written so far.
fn written_bytes(pid: u32) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    counts.lines().find_map(|line| line.strip_prefix("wchar: ")).map_or(0, |bytes| bytes.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_killed_again_and_again_is_finished_by_the_next_start_and_loses_nothing() {
    let network = Network::start().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("signpost.db");
    block_in_place(|| large_version_1(&path));
    let mut random = fastrand::Rng::with_seed(11);
    let mut killed_halfway = 0;
    for _ in 0..5 {
        let target = random.u64(1..8 << 20);
        let mut child = serve(&path, network.plc_url()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        await_condition("the upgrade writes", async || match written_bytes(child.id()) {
            written if written >= target => Ok(()),
            written => Err(format!("{written} of {target} bytes")),
        })
        .await;
        child.kill().unwrap();
        block_in_place(|| child.wait().unwrap());
        let index = Index::open(&path);
        assert_eq!(index.number("SELECT count(*) FROM repos JOIN indexed_records USING (repo_id)", []), REPOS);
        if index.number("SELECT user_version FROM pragma_user_version", []) > 1 {
            break;
        }
        killed_halfway += 1;
    }
    assert!(killed_halfway > 0, "every kill came too late");
    let signpost = Process::start_in(directory, &network, Options::default());
    let index = signpost.index();
    for (sql, expected) in [
        ("SELECT user_version FROM pragma_user_version", 4),
        ("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'", 1),
        ("SELECT count(*) FROM repos WHERE record_bytes = 12", REPOS),
        ("SELECT accounts FROM host_usage", REPOS),
        ("SELECT records FROM host_usage", REPOS),
        ("SELECT record_bytes FROM host_usage", 12 * REPOS),
    ] {
        assert_eq!(index.number(sql, []), expected, "{sql}");
    }
    println!("| an upgrade of {REPOS} repos | killed {killed_halfway} times halfway | finished by the next start |");
}
