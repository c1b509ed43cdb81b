//! What a stranger may have crawled, at the public listener.

use fake_network::client::{Answer, post_json_with};
use fake_network::{AccountOptions, Network};
use serde_json::json;
use signpost::config::{Flags, QuotaFlags};

use crate::CAPTAIN;
use crate::signpost::{Signpost, generous, impatient};

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

async fn announce(signpost: &Signpost, hostname: &str, forwarded_for: &str) -> Answer {
    let url = format!("{}/xrpc/com.atproto.sync.requestCrawl", signpost.url());
    post_json_with(&url, &[("x-forwarded-for", forwarded_for)], &json!({ "hostname": hostname })).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_client_is_refused_and_a_bystander_behind_the_same_proxy_is_served() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let quotas = QuotaFlags { request_crawl_per_minute: some("10"), ..generous() };
    let flags = Flags { quotas, ..Flags::default() };
    let signpost = Signpost::start_with_flags(&network, impatient(), flags).await;
    let invented = network.add_host();
    let mut refused = 0;
    for made_up in 0..50 {
        let answer = announce(&signpost, invented.name(), &format!("10.0.0.{made_up}, 198.51.100.1")).await;
        refused += usize::from(answer.status == 429);
    }
    assert!((39..=40).contains(&refused), "{refused} of 50");
    assert_eq!(signpost.metric("signpost_request_crawls_total{outcome=\"client_limit\"}").await, refused as f64);
    assert_eq!(announce(&signpost, host.name(), "198.51.100.1, 203.0.113.7").await.status, 200);
    signpost.await_listed(CAPTAIN, &[&did]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_new_hosts_holds_over_a_restart_and_known_hosts_come_back() {
    let network = Network::start().await;
    let quotas = QuotaFlags { new_hosts_per_domain_per_day: some("1"), ..generous() };
    let signpost = Signpost::start_with_flags(&network, impatient(), Flags { quotas, ..Flags::default() }).await;
    assert_eq!(announce(&signpost, "one.example.com", "198.51.100.1").await.status, 200);
    let signpost = signpost.restart().await;
    let answer = announce(&signpost, "two.example.com", "198.51.100.2").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (429, Some("RateLimitExceeded")));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("1 new hosts of example.com in 24 hours"), "{message}");
    assert_eq!(announce(&signpost, "one.example.com", "198.51.100.3").await.status, 200);
    // Hosts that only development lets in are free.
    let hosts = [network.add_host(), network.add_host()];
    signpost.follow(&network, &hosts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signpost_that_is_closed_to_the_public_takes_no_host_from_it() {
    let network = Network::start().await;
    let host = network.add_host();
    let quotas = QuotaFlags { public_request_crawl: some("false"), ..generous() };
    let flags = Flags { quotas, ..Flags::default() };
    let signpost = Signpost::start_with_flags(&network, impatient(), flags).await;
    let answer = announce(&signpost, host.name(), "198.51.100.1").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("Forbidden")));
    assert_eq!(signpost.get_internal("/hosts").await.json(), json!({ "hosts": [] }));
}
