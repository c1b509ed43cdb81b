//! `signpost backup` and `signpost check`, beside a service that goes on and without one.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake_network::Network;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::await_condition::await_condition;
use crate::index::Index;
use crate::process::{Options, Process, output, signpost};
use crate::{CAPTAIN, CREW};

fn backup(database: &Path, to: &Path, more: &[&str]) -> Output {
    output(signpost().arg("backup").arg(to).args(more).arg("--database-path").arg(database))
}

fn check(database: &Path) -> (Option<i32>, String) {
    let output = output(signpost().arg("check").arg("--database-path").arg(database));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_taken_while_the_index_changes_and_serves_as_well() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(50);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    host.wait_for_subscribers(1).await;

    let target = TempDir::new().unwrap();
    let copy = target.path().join("signpost.db");
    let enough = AtomicBool::new(false);
    let write = async {
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        let mut number = 0;
        while !enough.load(Ordering::Relaxed) {
            pace.tick().await;
            number += 1;
            drop(host.put_record(&dids[number % 50], CREW, &number.to_string(), json!({})));
        }
    };
    let back_up = async {
        for round in 0..5 {
            let seen = host.latest_seq();
            await_condition("the stream goes on", async || match signpost.index().host_cursor(host.name()) {
                cursor if cursor > Some(seen + 10) => Ok(()),
                cursor => Err(format!("at {cursor:?}")),
            })
            .await;
            let made = backup(&signpost.database_path(), &copy, if round > 0 { &["--force"] } else { &[] });
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            assert!(String::from_utf8(made.stdout).unwrap().contains("verified"));
            let copied = Index::open(&copy);
            assert_eq!(copied.wrong_counts(), 0);
            assert!(copied.host_cursor(host.name()) > Some(seen));
        }
        enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, back_up);
    assert_eq!(target.path().read_dir().unwrap().count(), 1, "nothing unfinished is left");

    // Never over a file that is there, unless asked to.
    let refused = backup(&signpost.database_path(), &copy, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(line.contains("exists") && line.contains("--force") && line.lines().count() == 1, "{line}");

    signpost.await_truth(&network).await;
    assert!(signpost.terminate().await.success());
    let without_service = target.path().join("second.db");
    assert!(backup(&signpost.database_path(), &without_service, &[]).status.success());
    assert_eq!(Index::open(&without_service).records(), signpost.index().records());
    std::fs::remove_file(without_service).unwrap();

    // The copy is a database like any other: a service on it takes up where it was made.
    let restored = Process::start_in(target, &network, Options::default());
    restored.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_nothing_or_to_nowhere_is_one_line_and_no_file() {
    let directory = TempDir::new().unwrap();
    let network = Network::start().await;
    let mut signpost = Process::start(&network);
    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
    let copy = directory.path().join("copy.db");
    let nowhere = directory.path().join("missing/copy.db");
    for (database, to) in
        [(directory.path().join("missing.db"), &copy), (foreign, &copy), (signpost.database_path(), &nowhere)]
    {
        let refused = backup(&database, to, &[]);
        let line = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(!to.exists());
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 1, "only the foreign one is there");
    assert!(signpost.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_beside_the_service_names_what_is_wrong() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(20);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    let (code, said) = check(&signpost.database_path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("20 records"), "{said}");

    let tampering = Connection::open(signpost.database_path()).unwrap();
    tampering.busy_timeout(Duration::from_secs(10)).unwrap();
    tampering.execute_batch("UPDATE repo_collections SET record_count = 9 WHERE repo_id <= 15").unwrap();
    let (code, said) = check(&signpost.database_path());
    assert_eq!(code, Some(1));
    assert!(
        said.contains("repo_collections counts other than the rows: collection 1 of repo 1: 9 stored, 1 counted"),
        "{said}"
    );
    assert!(said.contains("and 5 more"), "{said}");
}
