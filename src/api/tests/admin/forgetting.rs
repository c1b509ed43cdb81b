//! Hosts that are forgotten, with all that is known of them.

use std::time::Duration;

use super::*;
use crate::crawl::get_repo::StatusAsked;
use crate::host::ListedRepo;
use crate::index;
use crate::store::RepoId;

#[tokio::test]
async fn a_forgotten_host_leaves_nothing_and_its_id_does_not_come_back() {
    let world = World::new("io.atcr.*");
    world.repos(1_500, &[CAPTAIN, CREW]).await;
    post(&world, "/repo/takeDown", json!({"did": did(1)})).await;
    let answer = post(&world, "/pds/forget?host=hold01.example.com", Value::Null).await;
    assert_eq!(answer, json!({"success": "true", "accounts": 1500}));
    assert_eq!(host(&world, "hold01.example.com").await["Status"], "forgetting");
    let announced = request_crawl::announce(&world, "hold01.example.com").await;
    announced.error(503, "HostBeingForgotten");
    let mut pieces = 0;
    while world.store.forget_some().await.unwrap() {
        pieces += 1;
    }
    assert!((9..=14).contains(&pieces), "{pieces} transactions for 4,500 rows");
    assert_eq!(get(&world, "/pds/list").await, json!([]));
    let db = rusqlite::Connection::open(world.directory.path().join("signpost.db")).unwrap();
    for table in ["repos", "indexed_records", "repo_collections", "crawl_queue", "subscriptions", "hosts"] {
        let rows: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(get(&world, "/repo/takedowns").await["dids"], json!([did(1)]), "a takedown is not forgotten");
    request_crawl::announce(&world, "hold02.example.com").await.ok();
    assert_eq!(host(&world, "hold02.example.com").await["ID"], 2);
}

#[tokio::test]
async fn work_that_ends_after_its_host_was_forgotten_changes_nothing() {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN]).await;
    post(&world, "/repo/resync", json!({"did": did(1)})).await;
    let claimed = world.store.write(Durability::Replayable, |tx| {
        Ok((tx.claim_repo_jobs(HostId(1), 1)?.remove(0), tx.claim_host_jobs(1)?.remove(0)))
    });
    let (repo_job, host_job) = claimed.await.unwrap();
    post(&world, "/pds/forget?host=hold01.example.com", Value::Null).await;
    while world.store.forget_some().await.unwrap() {}
    world
        .fill(move |tx| {
            let listed = ListedRepo { did: repo_job.did.clone(), rev: None, head: None, active: true, status: None };
            StatusAsked::NoMethod.write(tx, &repo_job).unwrap();
            StatusAsked::Active(None).write(tx, &repo_job).unwrap();
            index::identity_resolved(tx, &repo_job, "did:key:zNone").unwrap();
            index::not_at_this_host(tx, &repo_job, None).unwrap();
            index::fetched_gone(tx, &repo_job).unwrap();
            index::list_page(tx, HostId(1), host_job.job_id, &[listed], None).unwrap();
            index::ask_after_missing(tx, HostId(1), RepoId(0), |_| false).unwrap();
            index::ingest(tx, HostId(1), Vec::new(), Some(7)).unwrap();
            tx.fail_job(repo_job.job_id, "late", Duration::ZERO).unwrap();
            tx.finish_host_job(host_job.job_id, Duration::ZERO).unwrap();
            tx.host_reached(HostId(1)).unwrap();
            assert!(!tx.firehose_connected(HostId(1)).unwrap());
            tx.firehose_down(HostId(1), "late", false).unwrap();
            assert_eq!(tx.host_cursor(HostId(1)).unwrap(), None);
            assert_eq!(tx.page_cursor(host_job.job_id).unwrap(), None);
            assert_eq!(tx.known_host_by_id(HostId(1)).unwrap(), None);
        })
        .await;
    assert_eq!(get(&world, "/pds/list").await, json!([]));
    world.query(&format!("getRepoStatus?did={}", did(1))).await.error(400, "RepoNotFound");
}

#[tokio::test]
async fn a_start_goes_on_forgetting_where_the_last_one_ended() {
    let world = World::new("io.atcr.*");
    world.repos(300, &[CAPTAIN]).await;
    post(&world, "/pds/forget?host=hold01.example.com", Value::Null).await;
    assert!(world.store.forget_some().await.unwrap());
    world.store.close().await;
    let World { directory, public, internal, store, .. } = world;
    drop((public, internal, store));
    let world = World::open("io.atcr.*", HostPolicy::PublicOnly, directory);
    let left = host(&world, "hold01.example.com").await;
    assert_eq!(left["Status"], "forgetting");
    assert!((1..300).contains(&left["RepoCount"].as_i64().unwrap()), "{left}");
    while world.store.forget_some().await.unwrap() {}
    assert_eq!(get(&world, "/pds/list").await, json!([]));
}

/// A writer that a long deletion holds up would hold up every host.

#[tokio::test]
async fn forgetting_is_done_in_pieces_whatever_a_repo_holds() {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN]).await;
    world
        .fill(|tx| {
            let (repo, collection) = (RepoId(1), tx.new_collection(CREW, HostId(1)).unwrap());
            for rkey in 0..10_000 {
                tx.insert_record(collection.id, repo, &rkey.to_string(), commit().1, "{}").unwrap();
            }
            let collections = tx.adjust_count(collection, repo, 10_000).unwrap();
            let change = UsageChange { records: 10_000, bytes: 20_000, collections };
            tx.change_usage(repo, &change).unwrap();
        })
        .await;
    post(&world, "/pds/forget?host=hold01.example.com", Value::Null).await;
    let (mut pieces, mut listed) = (0, true);
    while world.store.forget_some().await.unwrap() {
        pieces += 1;
        let counts = world.query("listReposByCollection?collection=io.atcr.hold.crew").await.dids();
        assert!(listed || counts.is_empty());
        listed = !counts.is_empty();
    }
    assert!((20..=23).contains(&pieces), "{pieces} transactions");
}

#[tokio::test]
async fn a_host_that_is_blocked_stays_so_when_it_is_forgotten() {
    let world = World::new("io.atcr.*");
    world.repos(2, &[CAPTAIN]).await;
    post(&world, "/pds/block?host=hold01.example.com", Value::Null).await;
    post(&world, "/pds/forget?host=hold01.example.com", Value::Null).await;
    while world.store.forget_some().await.unwrap() {}
    assert_eq!(world.query("listReposByCollection?collection=io.atcr.*").await.dids(), [""; 0]);
    request_crawl::announce(&world, "hold01.example.com").await.error(400, "HostBanned");
    assert_eq!(world.query("listHosts").await.ok()["hosts"], json!([]));
    post(&world, "/pds/unblock?host=hold01.example.com", Value::Null).await;
    world.fill(|tx| assert_eq!(tx.claim_host_jobs(9).unwrap().len(), 1)).await;
}
