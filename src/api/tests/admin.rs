//! The admin calls: who may make them, what they refuse, and what they leave behind.

use std::time::Duration;

use super::*;
use crate::crawl::get_repo::StatusAsked;
use crate::host::ListedRepo;
use crate::index;
use crate::store::RepoId;

const JSON: &str = "application/json";

/// A call with the token; the body may be none.
async fn call(world: &World, verb: &str, path: &str, body: Value) -> Answer {
    let request = Request::builder().method(verb).uri(format!("/admin{path}"));
    let request = request.header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    let request = match body {
        Value::Null => request.body(Body::empty()),
        body => request.header("content-type", JSON).body(Body::from(body.to_string())),
    };
    world.internal_send(request.unwrap()).await
}

async fn get(world: &World, path: &str) -> Value {
    call(world, "GET", path, Value::Null).await.ok()
}

async fn post(world: &World, path: &str, body: Value) -> Value {
    call(world, "POST", path, body).await.ok()
}

async fn without_token(world: &World, authorization: Option<&str>) -> Answer {
    let mut request = Request::get("/admin/pds/list");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    world.internal_send(request.body(Body::empty()).unwrap()).await
}

async fn host(world: &World, name: &str) -> Value {
    let hosts = get(world, "/pds/list").await;
    hosts.as_array().unwrap().iter().find(|host| host["Host"] == name).cloned().unwrap_or_default()
}

#[tokio::test]
async fn nothing_is_answered_without_the_token() {
    let world = World::new("io.atcr.*");
    for authorization in [None, Some("Bearer nonsense"), Some("Basic YWRtaW46eA==")] {
        let answer = without_token(&world, authorization).await;
        let message = answer.error(401, "AuthenticationRequired");
        assert!(!message.contains(ADMIN_TOKEN));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"signpost\""), "no browser asks its user");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let unknown = Request::post("/admin/nothing").body(Body::empty()).unwrap();
    world.internal_send(unknown).await.error(401, "AuthenticationRequired");
    call(&world, "GET", "/nothing", Value::Null).await.error(404, "NotFound");
    call(&world, "GET", "/pds/block", Value::Null).await.error(405, "MethodNotAllowed");
    assert_eq!(get(&world, "/pds/list").await, json!([]));
    assert_eq!(world.get("/admin/pds/list").await.status, StatusCode::NOT_FOUND, "not on the public listener");
}

#[tokio::test]
async fn without_a_token_of_ours_admin_is_off() {
    let world = World::without_admin();
    let message = without_token(&world, Some(&format!("Bearer {ADMIN_TOKEN}"))).await.error(403, "AdminDisabled");
    assert!(message.contains("--admin-token"), "{message}");
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_even_with_the_token() {
    let world = World::new("io.atcr.*");
    let request = Request::get("/admin/pds/list").header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    let request = request.header("sec-fetch-site", "cross-site").body(Body::empty()).unwrap();
    world.internal_send(request).await.error(403, "CrossSite");
}

#[tokio::test(start_paused = true)]
async fn guesses_get_slower_and_the_right_token_does_not() {
    let world = World::new("io.atcr.*");
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        without_token(&world, Some("Bearer guess")).await.error(401, "AuthenticationRequired");
    }
    assert!(began.elapsed() < Duration::from_millis(900), "a typing mistake costs nothing");
    for _ in 0..5 {
        without_token(&world, Some("Bearer guess")).await.error(401, "AuthenticationRequired");
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    let right = tokio::time::Instant::now();
    get(&world, "/pds/list").await;
    assert!(right.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn hosts_have_the_relays_names() {
    let world = World::new("io.atcr.*");
    world.repos(2, &[CAPTAIN]).await;
    world.fill(|tx| tx.set_host_cursor(HostId(1), 42).unwrap()).await;
    let listed = host(&world, "hold01.example.com").await;
    for (name, value) in [
        ("ID", json!(1)),
        ("Host", json!("hold01.example.com")),
        ("SSL", json!(true)),
        ("Cursor", json!(42)),
        ("Registered", json!(true)),
        ("Blocked", json!(false)),
        ("RepoCount", json!(2)),
        ("UserCount", json!(2)),
        ("RepoLimit", json!(100_000)),
        ("HasActiveConnection", json!(false)),
        ("EventsSeenSinceStartup", json!(0)),
        ("PerSecondEventRate", json!({"Max": 10_000, "Window": 1})),
        ("PerHourEventRate", json!({"Max": 2_000_000, "Window": 3600})),
        ("PerDayEventRate", json!({"Max": 20_000_000, "Window": 86400})),
    ] {
        assert_eq!(listed[name], value, "{name}");
    }
    assert!(listed["CreatedAt"].as_str().unwrap().ends_with('Z'), "{listed}");
}

#[tokio::test]
async fn limits_are_set_one_by_one_and_taken_back_with_null() {
    let world = World::new("io.atcr.*");
    world.reached_hosts(&["hold01.example.com"]).await;
    let set = async |body: Value| post(&world, "/pds/changeLimits", body).await;
    set(json!({"host": "hold01.example.com", "repo_limit": 7, "per_second": 5})).await;
    set(json!({"host": "hold01.example.com", "per_day": 9, "per_second": null})).await;
    let listed = host(&world, "hold01.example.com").await;
    let rates = ["PerSecondEventRate", "PerHourEventRate", "PerDayEventRate"].map(|rate| listed[rate]["Max"].clone());
    assert_eq!((&listed["RepoLimit"], rates), (&json!(7), [json!(10_000), json!(2_000_000), json!(9)]));
    for body in [
        json!({"host": "hold01.example.com", "repo_limit": -1}),
        json!({"host": "hold01.example.com", "repo_limit": "7"}),
        json!({"host": "hold01.example.com", "repo_limit": 1.5}),
        json!({"repo_limit": 7}),
        json!({"host": "not a host", "repo_limit": 7}),
    ] {
        call(&world, "POST", "/pds/changeLimits", body).await.error(400, "InvalidRequest");
    }
    let unknown = json!({"host": "nobody.example.com", "repo_limit": 7});
    call(&world, "POST", "/pds/changeLimits", unknown).await.error(404, "HostNotFound");
}

#[tokio::test]
async fn a_blocked_host_is_banned_in_public_until_it_is_let_in_again() {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN]).await;
    let status = async || world.query("getHostStatus?hostname=hold01.example.com").await.ok()["status"].clone();
    let announced = async || request_crawl::announce(&world, "hold01.example.com").await;
    post(&world, "/pds/block?host=HOLD01.example.com", Value::Null).await;
    assert_eq!(status().await, "banned");
    assert_eq!(world.query("listHosts").await.ok()["hosts"][0]["status"], "banned");
    announced().await.error(400, "HostBanned");
    assert_eq!(world.query("listReposByCollection?collection=io.atcr.*").await.dids(), [did(1)], "its repos stay");
    world
        .fill(|tx| {
            assert!(tx.claim_host_jobs(9).unwrap().is_empty());
            assert!(tx.next_host_job_at().unwrap().is_none());
            assert!(tx.subscriptions().unwrap().is_empty());
        })
        .await;
    post(&world, "/pds/unblock?host=hold01.example.com", Value::Null).await;
    assert_eq!(status().await, "active");
    announced().await.ok();
    world
        .fill(|tx| {
            assert_eq!(tx.subscriptions().unwrap().len(), 1);
            assert_eq!(tx.claim_host_jobs(9).unwrap().len(), 1);
        })
        .await;
    call(&world, "POST", "/pds/block?host=nobody.example.com", Value::Null).await.error(404, "HostNotFound");
    call(&world, "POST", "/pds/block", Value::Null).await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_ban_covers_a_domain_until_no_ban_covers_it() {
    let world = World::new("io.atcr.*");
    world.reached_hosts(&["a.b.example.com", "c.example.com", "example.net"]).await;
    let banned = async |domains: [&str; 2]| {
        for domain in domains {
            post(&world, "/subs/banDomain", json!({"domain": domain})).await;
        }
    };
    let blocked = async || {
        let hosts = get(&world, "/pds/list").await;
        let blocked = hosts.as_array().unwrap().iter().filter(|host| host["Blocked"] == true);
        blocked.map(|host| host["Host"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    banned(["b.example.com", "EXAMPLE.com."]).await;
    assert_eq!(get(&world, "/subs/listDomainBans").await, json!({"banned_domains": ["b.example.com", "example.com"]}));
    assert_eq!(blocked().await, ["a.b.example.com", "c.example.com"]);
    request_crawl::announce(&world, "new.example.com").await.error(400, "HostBanned");
    let added = json!({"hostname": "new.example.com"});
    call(&world, "POST", "/pds/requestCrawl", added).await.error(400, "HostBanned");
    post(&world, "/subs/unbanDomain", json!({"domain": "example.com"})).await;
    assert_eq!(blocked().await, ["a.b.example.com"], "another ban covers it");
    post(&world, "/pds/block?host=a.b.example.com", Value::Null).await;
    post(&world, "/subs/unbanDomain", json!({"domain": "b.example.com"})).await;
    assert_eq!(blocked().await, ["a.b.example.com"], "it is blocked by its own name too");
    post(&world, "/pds/unblock?host=a.b.example.com", Value::Null).await;
    assert_eq!(blocked().await, [""; 0]);
    let again = json!({"domain": "example.com"});
    call(&world, "POST", "/subs/unbanDomain", again).await.error(404, "DomainNotBanned");
    call(&world, "POST", "/subs/banDomain", json!({"domain": "https://a"})).await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn the_operator_adds_hosts_whatever_the_quotas_say() {
    let world = World::with_quotas(QuotaConfig { public_request_crawl: false, new_hosts_per_day: 0, ..generous() });
    assert_eq!(post(&world, "/pds/requestCrawl", json!({"hostname": "hold01.example.com"})).await, json!({}));
    assert_eq!(host(&world, "hold01.example.com").await["Status"], "new");
    let private = json!({"hostname": "127.0.0.1"});
    call(&world, "POST", "/pds/requestCrawl", private).await.error(400, "InvalidRequest");
}

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
    assert_eq!(world.query("getHostStatus?hostname=hold01.example.com").await.ok()["accountCount"], 1);
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

#[tokio::test]
async fn the_public_methods_are_on_the_internal_listener_too() {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN]).await;
    let answer = world.internal("/xrpc/com.atproto.sync.listReposByCollection?collection=io.atcr.*").await;
    assert_eq!(answer.dids(), [did(1)]);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
