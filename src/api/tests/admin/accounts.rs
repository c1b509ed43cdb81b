//! What an operator does with accounts, and the log of it.

use super::*;
use crate::store::RepoId;

#[tokio::test]
async fn a_takedown_hides_an_account_from_every_query_and_a_restore_shows_it() {
    let world = World::new("io.atcr.*");
    world.repos(2, &[CAPTAIN, CREW]).await;
    let hidden = did(1);
    post(&world, "/repo/takeDown", json!({"did": hidden})).await;
    for collections in ["collection=io.atcr.hold.captain", "collection=io.atcr.*"] {
        assert_eq!(world.query(&format!("listReposByCollection?{collections}")).await.dids(), [did(2)]);
    }
    let listed = world.query("listRepos").await.ok()["repos"][0].clone();
    let shown = (&listed["did"], &listed["active"], &listed["status"]);
    assert_eq!(shown, (&json!(hidden), &json!(false), &json!("takendown")));
    let status = world.query(&format!("getRepoStatus?did={hidden}")).await.ok();
    assert_eq!(status, json!({"did": hidden, "active": false, "status": "takendown"}));
    world.query(&format!("getLatestCommit?did={hidden}")).await.error(400, "RepoTakendown");
    let account_count =
        async || world.query("getHostStatus?hostname=hold01.example.com").await.ok()["accountCount"].clone();
    assert_eq!(account_count().await, 1);
    world.fill(|tx| tx.set_repo_status(RepoId(1), false, Some(Status::Deactivated)).unwrap()).await;
    assert_eq!(account_count().await, 1, "it is hidden and inactive, and counts once");
    world.fill(|tx| tx.set_repo_status(RepoId(1), true, None).unwrap()).await;
    assert_eq!(get(&world, "/repo/takedowns?cursor=&size=500").await, json!({"dids": [hidden]}));

    post(&world, "/repo/reverseTakedown", json!({"did": hidden})).await;
    assert_eq!(world.query("listReposByCollection?collection=io.atcr.*").await.dids(), [did(1), did(2)]);
    assert_eq!(world.query(&format!("getRepoStatus?did={hidden}")).await.ok()["active"], true);
    let again = json!({"did": hidden});
    call(&world, "POST", "/repo/reverseTakedown", again).await.error(404, "RepoNotTakenDown");
    call(&world, "POST", "/repo/takeDown", json!({"did": "x"})).await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn an_account_that_is_not_known_yet_is_taken_down_before_it_comes() {
    let world = World::new("io.atcr.*");
    post(&world, "/repo/takeDown", json!({"did": did(1)})).await;
    world.query(&format!("getRepoStatus?did={}", did(1))).await.error(400, "RepoNotFound");
    world.repos(2, &[CAPTAIN]).await;
    assert_eq!(world.query("listReposByCollection?collection=io.atcr.*").await.dids(), [did(2)]);
    assert_eq!(world.query(&format!("getRepoStatus?did={}", did(1))).await.ok()["status"], "takendown");
}

#[tokio::test]
async fn takedowns_and_the_log_are_walked_page_by_page() {
    let world = World::new("io.atcr.*");
    for number in 1..=5 {
        post(&world, "/repo/takeDown", json!({"did": did(number)})).await;
    }
    let (mut dids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&world, &format!("/repo/takedowns?cursor={cursor}&size=2")).await;
        dids.extend(page["dids"].as_array().unwrap().iter().map(|did| did.as_str().unwrap().to_owned()));
        match page.get("cursor") {
            Some(next) => cursor = next.as_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(dids, (1..=5).map(did).collect::<Vec<_>>());

    let page = get(&world, "/log?limit=3").await;
    let subjects = |page: &Value| -> Vec<String> {
        page["entries"].as_array().unwrap().iter().map(|entry| entry["subject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(subjects(&page), [did(5), did(4), did(3)]);
    assert_eq!(page["entries"][0]["action"], "takedown");
    let rest = get(&world, &format!("/log?limit=3&cursor={}", page["cursor"].as_str().unwrap())).await;
    assert_eq!((subjects(&rest), rest.get("cursor")), (vec![did(2), did(1)], None));
    call(&world, "GET", "/log?cursor=x", Value::Null).await.error(400, "InvalidRequest");
    call(&world, "GET", "/repo/takedowns?size=0", Value::Null).await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_resync_queues_a_repo_and_doubts_every_repo_of_a_host() {
    let world = World::new("io.atcr.*");
    world.repos(3, &[CAPTAIN]).await;
    post(&world, "/repo/resync", json!({"did": did(2)})).await;
    world
        .fill(|tx| {
            let jobs = tx.claim_repo_jobs(HostId(1), 9).unwrap();
            assert_eq!(jobs.iter().map(|job| job.did.to_string()).collect::<Vec<_>>(), [did(2)]);
        })
        .await;
    call(&world, "POST", "/repo/resync", json!({"did": did(9)})).await.error(404, "RepoNotFound");
    post(&world, "/pds/resync?host=hold01.example.com", Value::Null).await;
    world
        .fill(|tx| {
            for number in 1..=3 {
                assert!(tx.repo(&Did::parse(&did(number)).unwrap()).unwrap().unwrap().unproven);
            }
        })
        .await;
    call(&world, "POST", "/pds/resync?host=nobody.example.com", Value::Null).await.error(404, "HostNotFound");
}
