//! Revs that lie in the future: of one host it is refused, of most of them it is our clock that is wrong.

use std::time::Duration;

use fake_network::{AccountOptions, FakeHost, Network};
use serde_json::json;

use crate::CREW;
use crate::signpost::Signpost;

fn hosts(network: &Network, count: usize) -> Vec<(FakeHost, String)> {
    let host = |_| {
        let host = network.add_host();
        let did = host.create_account(AccountOptions::default());
        host.put_record(&did, CREW, "one", json!({}));
        (host, did)
    };
    (0..count).map(host).collect()
}

async fn clock_is_behind(signpost: &Signpost) -> (bool, f64) {
    let ready = signpost.get_internal("/ready").await.json();
    (ready["clock_is_behind"] == true, signpost.metric("signpost_clock_behind").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_most_hosts_are_ahead_it_is_our_clock_and_nobody_is_refused() {
    let network = Network::start().await;
    let hosts = hosts(&network, 3);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, hosts.iter().map(|(host, _)| host)).await;
    assert_eq!(clock_is_behind(&signpost).await, (false, 0.0));
    for (host, did) in &hosts {
        host.set_clock_ahead(Duration::from_secs(3600));
        host.put_record(did, CREW, "two", json!({}));
        signpost.await_heard(host).await;
    }
    assert_eq!(clock_is_behind(&signpost).await, (true, 1.0));
    for (host, did) in &hosts {
        host.put_record(did, CREW, "three", json!({}));
    }
    signpost.await_truth(&network).await;
    // Ours is set right: nothing more is said.
    for (host, did) in &hosts {
        host.set_clock_ahead(Duration::ZERO);
        let later = host.create_account(AccountOptions::default());
        host.put_record(&later, CREW, did, json!({}));
        signpost.await_heard(host).await;
    }
    assert_eq!(clock_is_behind(&signpost).await, (false, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_were_ahead_from_the_beginning_are_backfilled_once_they_are_most() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let hosts: Vec<FakeHost> = (0..3).map(|_| network.add_host()).collect();
    for host in &hosts {
        host.set_clock_ahead(Duration::from_secs(3600));
        let did = host.create_account(AccountOptions::default());
        host.put_record(&did, CREW, "one", json!({}));
        signpost.request_crawl(host).await;
    }
    signpost.await_truth(&network).await;
    assert_eq!(clock_is_behind(&signpost).await, (true, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_that_is_ahead_among_several_is_refused() {
    let network = Network::start().await;
    let hosts = hosts(&network, 4);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, hosts.iter().map(|(host, _)| host)).await;
    let (ahead, did) = &hosts[0];
    ahead.set_clock_ahead(Duration::from_secs(3600));
    let before = network.expected(crate::index::is_atcr);
    ahead.put_record(did, CREW, "two", json!({}));
    signpost.await_heard(ahead).await;
    assert_eq!(signpost.outcomes("commit", "rejected_future_rev").await, 1.0);
    assert_eq!(signpost.index().records(), before);
    assert_eq!(clock_is_behind(&signpost).await, (false, 0.0));
}
