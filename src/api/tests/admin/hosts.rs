//! What an operator does with hosts.

use super::*;

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
