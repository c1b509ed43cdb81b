//! listRepos, getRepoStatus, getLatestCommit, listHosts and getHostStatus by their lexicons.

use super::*;

/// An active repo, and one of each account status.
async fn mixed_repos() -> World {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN]).await;
    world
        .fill(|tx| {
            for (number, status) in
                [(2, Status::Takendown), (3, Status::Suspended), (4, Status::Deactivated), (5, Status::Deleted)]
            {
                add_repo(tx, &did(number), false, Some(status), &[CAPTAIN]);
            }
            let listed_only = Did::parse(&did(6)).unwrap();
            tx.insert_repo(&listed_only, HostId(1), true, None).unwrap();
            // Its chain is known, its identity was never asked for.
            let chain_only = tx.insert_repo(&Did::parse(&did(8)).unwrap(), HostId(1), true, None).unwrap();
            let (rev, cid) = commit();
            tx.set_repo_commit(chain_only, &rev, cid, cid).unwrap();
        })
        .await;
    world
}

#[tokio::test]
async fn list_repos_gives_head_rev_and_status() {
    let world = mixed_repos().await;
    let (rev, cid) = commit();
    let (rev, cid) = (rev.to_string(), cid.to_string());
    let answer = world.query("listRepos").await.ok();
    assert_eq!(answer["repos"][0], json!({"did": did(1), "head": cid, "rev": rev, "active": true}));
    assert_eq!(
        answer["repos"][1],
        json!({"did": did(2), "head": cid, "rev": rev, "active": false, "status": "takendown"})
    );
    let dids = world.query("listRepos").await.dids();
    assert_eq!(dids, (1..=5).map(did).collect::<Vec<_>>(), "a repo without a known commit is not listed");
}

#[tokio::test]
async fn list_repos_pages_by_its_own_cursor() {
    let world = mixed_repos().await;
    let first = world.query("listRepos?limit=3").await;
    let second = world.query(&format!("listRepos?limit=3&cursor={}", first.cursor().unwrap())).await;
    assert_eq!([first.dids(), second.dids()].concat(), (1..=5).map(did).collect::<Vec<_>>());
    assert_eq!(second.cursor(), None);
    for limit in ["0", "1001", "x"] {
        world.query(&format!("listRepos?limit={limit}")).await.error(400, "InvalidRequest");
    }
}

#[tokio::test]
async fn get_repo_status_gives_the_rev_of_active_repos_only() {
    let world = mixed_repos().await;
    let status = async |number: usize| world.query(&format!("getRepoStatus?did={}", did(number))).await;
    assert_eq!(status(1).await.ok(), json!({"did": did(1), "active": true, "rev": commit().0.to_string()}));
    for (number, word) in [(2, "takendown"), (3, "suspended"), (4, "deactivated"), (5, "deleted")] {
        assert_eq!(status(number).await.ok(), json!({"did": did(number), "active": false, "status": word}));
    }
    // An active repo that was never verified is hearsay, and one without an identity too.
    for number in [6, 7, 8] {
        status(number).await.error(400, "RepoNotFound");
    }
    world.query("getRepoStatus?did=repo1").await.error(400, "InvalidRequest");
    world.query("getRepoStatus").await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_repo_without_an_identity_is_public_once_it_has_one_or_its_host_switched_it_off() {
    let world = mixed_repos().await;
    let status = async || world.query(&format!("getRepoStatus?did={}", did(8))).await;
    let id = |tx: &Tx| tx.repo(&Did::parse(&did(8)).unwrap()).unwrap().unwrap().id;
    world.fill(move |tx| tx.mark_desynchronized(id(tx)).unwrap()).await;
    status().await.error(400, "RepoNotFound");
    assert!(!world.query("listRepos").await.dids().contains(&did(8)));
    world.fill(move |tx| tx.set_repo_status(id(tx), false, Some(Status::Deactivated)).unwrap()).await;
    assert_eq!(status().await.ok(), json!({"did": did(8), "active": false, "status": "deactivated"}));
    world.fill(move |tx| tx.set_repo_status(id(tx), true, None).unwrap()).await;
    world.fill(move |tx| tx.set_signing_key(id(tx), "did:key:z6Mk").unwrap()).await;
    assert_eq!(status().await.ok()["active"], true);
    assert!(world.query("listRepos").await.dids().contains(&did(8)));
}

#[tokio::test]
async fn get_latest_commit_names_why_there_is_none() {
    let world = mixed_repos().await;
    let latest = async |number: usize| world.query(&format!("getLatestCommit?did={}", did(number))).await;
    let (rev, cid) = commit();
    assert_eq!(latest(1).await.ok(), json!({"cid": cid.to_string(), "rev": rev.to_string()}));
    for (number, error) in [
        (2, "RepoTakendown"),
        (3, "RepoSuspended"),
        (4, "RepoDeactivated"),
        (5, "RepoNotFound"),
        (6, "RepoNotFound"),
        (7, "RepoNotFound"),
        (8, "RepoNotFound"),
    ] {
        latest(number).await.error(400, error);
    }
}

#[tokio::test]
async fn a_did_may_be_percent_encoded() {
    let world = mixed_repos().await;
    world.query("getRepoStatus?did=did%3Aweb%3Arepo1.example.com").await.ok();
}

#[tokio::test]
async fn only_hosts_that_were_reached_are_shown() {
    let world = World::with("io.atcr.*", HostPolicy::AllowPrivate);
    world.reached_hosts(&["hold01.example.com", "localhost:2583", "[::1]:2583"]).await;
    let unreached = Host::parse("hold02.example.com", HostPolicy::PublicOnly).unwrap();
    world.store.request_crawl(&unreached, Admission::Free).await.unwrap();
    let answer = world.query("listHosts").await.ok();
    let names: Vec<&str> =
        answer["hosts"].as_array().unwrap().iter().map(|host| host["hostname"].as_str().unwrap()).collect();
    assert_eq!(names, ["hold01.example.com", "localhost:2583", "[::1]:2583"]);
    world.query("getHostStatus?hostname=hold02.example.com").await.error(400, "HostNotFound");
    world.query("getHostStatus?hostname=hold03.example.com").await.error(400, "HostNotFound");
    world.query("getHostStatus?hostname=a%20b").await.error(400, "InvalidRequest");
    world.query("getHostStatus").await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn get_host_status_takes_any_spelling_and_counts_accounts() {
    let world = World::new("io.atcr.*");
    world.repos(2, &[CAPTAIN]).await;
    world.fill(|tx| tx.set_host_cursor(HostId(1), 42).unwrap()).await;
    for spelling in ["hold01.example.com", "HOLD01.Example.Com.", "https://hold01.example.com/"] {
        let answer = world.query(&format!("getHostStatus?hostname={spelling}")).await.ok();
        assert_eq!(answer["hostname"], "hold01.example.com");
        assert_eq!(answer["seq"], 42);
        assert_eq!(answer["accountCount"], 2);
        assert!(["active", "idle", "offline"].contains(&answer["status"].as_str().unwrap()), "{answer}");
        assert_eq!(world.query("listHosts").await.ok()["hosts"][0], answer);
    }
}

#[tokio::test]
async fn list_hosts_pages_by_its_own_cursor() {
    let world = World::new("io.atcr.*");
    world.reached_hosts(&["a.example.com", "b.example.com", "c.example.com"]).await;
    let first = world.query("listHosts?limit=2").await;
    let second = world.query(&format!("listHosts?limit=2&cursor={}", first.cursor().unwrap())).await;
    assert_eq!(second.ok()["hosts"][0]["hostname"], "c.example.com");
    assert_eq!(second.cursor(), None);
    world.query("listHosts?limit=1001").await.error(400, "InvalidRequest");
}
