//! requestCrawl as a stranger meets its limits.

use std::net::SocketAddr;

use super::request_crawl::{PATH, announce};
use super::*;
use crate::api::client_address::PeerAddr;
use crate::syntax::{AddressBlock, Domain};

fn from(peer: &str, forwarded_for: &str, hostname: &str) -> Request<Body> {
    let peer: SocketAddr = peer.parse().unwrap();
    let request = Request::post(PATH).header("content-type", "application/json").extension(PeerAddr(peer));
    let request = if forwarded_for.is_empty() { request } else { request.header("x-forwarded-for", forwarded_for) };
    request.body(Body::from(json!({"hostname": hostname}).to_string())).unwrap()
}

fn seconds(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

async fn outcome(world: &World, outcome: &str) -> bool {
    let line = format!("signpost_request_crawls_total{{outcome=\"{outcome}\"}} 1");
    world.internal("/metrics").await.text().lines().any(|found| found == line)
}

#[tokio::test]
async fn a_client_has_its_calls_a_minute_and_another_client_is_not_touched() {
    let world = World::with_quotas(QuotaConfig { request_crawl_per_minute: 3, ..generous() });
    for number in 0..3 {
        world.send(from("198.51.100.1:80", "", &format!("hold{number}.example.com"))).await.ok();
    }
    let refused = world.send(from("198.51.100.1:81", "203.0.113.1", "hold0.example.com")).await;
    let message = refused.error(429, "RateLimitExceeded");
    assert_eq!(message, "com.atproto.sync.requestCrawl may be called 3 times a minute by one client");
    assert!((1..=20).contains(&seconds(&refused)), "{refused:?}");
    assert!(outcome(&world, "client_limit").await);
    world.send(from("198.51.100.2:80", "", "hold0.example.com")).await.ok();
}

#[tokio::test]
async fn a_call_that_makes_no_sense_is_a_call() {
    let world = World::with_quotas(QuotaConfig { request_crawl_per_minute: 1, ..generous() });
    announce(&world, "not a host").await.error(400, "InvalidRequest");
    announce(&world, "hold01.example.com").await.error(429, "RateLimitExceeded");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_of_its_clients_has_its_own_calls() {
    let trusted_proxies = vec![AddressBlock::parse("127.0.0.0/8").unwrap()];
    let world = World::with_quotas(QuotaConfig { request_crawl_per_minute: 1, trusted_proxies, ..generous() });
    let proxy = "127.0.0.1:4711";
    world.send(from(proxy, "6.6.6.6, 198.51.100.1", "hold01.example.com")).await.ok();
    world.send(from(proxy, "7.7.7.7, 198.51.100.1", "hold01.example.com")).await.error(429, "RateLimitExceeded");
    world.send(from(proxy, "6.6.6.6, 2001:db8::1", "hold01.example.com")).await.ok();
    world.send(from(proxy, "2001:db8::2", "hold01.example.com")).await.error(429, "RateLimitExceeded");
}

#[tokio::test]
async fn new_hosts_have_budgets_and_known_hosts_do_not() {
    let world = World::with_quotas(QuotaConfig { new_hosts_per_day: 3, new_hosts_per_domain_per_day: 2, ..generous() });
    announce(&world, "hold01.example.com").await.ok();
    announce(&world, "hold02.example.com").await.ok();
    let refused = announce(&world, "hold03.example.com").await;
    let message = refused.error(429, "RateLimitExceeded");
    assert!(message.contains("2 new hosts of example.com in 24 hours"), "{message}");
    assert!((86_390..=86_400).contains(&seconds(&refused)), "{refused:?}");
    announce(&world, "hold01.example.net").await.ok();
    let refused = announce(&world, "hold01.example.org").await;
    let message = refused.error(429, "RateLimitExceeded");
    assert!(message.contains("takes 3 new hosts in 24 hours"), "{message}");
    assert!((86_390..=86_400).contains(&seconds(&refused)), "{refused:?}");
    for known in ["hold01.example.com", "hold02.example.com", "hold01.example.net"] {
        announce(&world, known).await.ok();
    }
    assert!(outcome(&world, "new_hosts_limit").await && outcome(&world, "domain_limit").await);
    assert_eq!(world.internal("/hosts").await.ok()["hosts"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn budgets_hold_over_a_restart() {
    let quotas = QuotaConfig { new_hosts_per_day: 1, ..generous() };
    let world = World::with_quotas(quotas.clone());
    announce(&world, "hold01.example.com").await.ok();
    world.store.close().await;
    let World { directory, public, internal, store, .. } = world;
    drop((public, internal, store));
    let world = World::open_with("io.atcr.*", HostPolicy::PublicOnly, quotas, directory);
    announce(&world, "hold02.example.com").await.error(429, "RateLimitExceeded");
    announce(&world, "hold01.example.com").await.ok();
}

#[tokio::test]
async fn a_trusted_domain_skips_the_budgets_and_spends_nothing_of_them() {
    let trusted_domains = vec![Domain::parse("example.com").unwrap()];
    let world = World::with_quotas(QuotaConfig { new_hosts_per_day: 1, trusted_domains, ..generous() });
    for hostname in ["a.example.com", "b.example.com", "c.d.example.com"] {
        announce(&world, hostname).await.ok();
    }
    announce(&world, "hold01.notexample.com").await.ok();
    announce(&world, "hold02.notexample.com").await.error(429, "RateLimitExceeded");
}

#[tokio::test]
async fn a_budget_of_nothing_lets_nobody_new_in() {
    let world = World::with_quotas(QuotaConfig { new_hosts_per_day: 0, ..generous() });
    let refused = announce(&world, "hold01.example.com").await;
    refused.error(429, "RateLimitExceeded");
    assert_eq!(seconds(&refused), 86_401);
}

#[tokio::test]
async fn request_crawl_can_be_closed_to_the_public() {
    let world = World::with_quotas(QuotaConfig { public_request_crawl: false, ..generous() });
    let message = announce(&world, "hold01.example.com").await.error(403, "Forbidden");
    assert!(message.contains("operator"), "{message}");
    assert_eq!(world.internal("/hosts").await.ok(), json!({"hosts": []}));
}

#[tokio::test]
async fn a_host_that_never_answered_is_forgotten_after_30_days() {
    let world = World::new("io.atcr.*");
    world.reached_hosts(&["reached.example.com"]).await;
    for hostname in ["invented.example.com", "blocked.example.com", "late.example.com"] {
        announce(&world, hostname).await.ok();
    }
    world
        .fill(|tx| {
            let host = Host::parse("blocked.example.com", HostPolicy::PublicOnly).unwrap();
            let id = tx.known_host_id(&host).unwrap().unwrap();
            tx.block_host(id, &host).unwrap();
            assert_eq!(tx.forget_unreached_hosts().unwrap(), 0, "none is old enough");
        })
        .await;
    let days = |days: i64| format!("unixepoch() * 1000 - {days} * 86400000");
    let db = rusqlite::Connection::open(world.directory.path().join("signpost.db")).unwrap();
    db.execute_batch(&format!("UPDATE hosts SET created_at = {}", days(31))).unwrap();
    db.execute_batch(&format!("UPDATE hosts SET created_at = {} WHERE hostname = 'late.example.com'", days(29)))
        .unwrap();
    world.fill(|tx| assert_eq!(tx.forget_unreached_hosts().unwrap(), 1)).await;
    let report = world.internal("/hosts").await.ok();
    let names: Vec<&str> =
        report["hosts"].as_array().unwrap().iter().map(|host| host["hostname"].as_str().unwrap()).collect();
    assert_eq!(names, ["blocked.example.com", "late.example.com", "reached.example.com"]);
}
