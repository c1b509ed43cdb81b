//! How far a host is behind: told by its events' own time, and nothing once it is quiet.

use fake_network::{Fault, FaultScope, Network};
use serde_json::{Value, json};

use crate::CAPTAIN;
use crate::await_condition::await_condition;
use crate::signpost::Signpost;

const HOUR: u64 = 3600;

fn seconds(report: &Value) -> Option<u64> {
    report["lag"]["seconds"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_a_lag_in_words_and_numbers_until_the_host_is_quiet() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let host = network.add_host();
    let did = host.create_accounts(1).remove(0);
    signpost.follow(&network, [&host]).await;
    assert_eq!(signpost.host_report(&host).await["lag"], json!({ "seconds": null, "events": 0, "more": false }));

    host.fault(Fault::HourOld, FaultScope::Always);
    let write = |number: u32| drop(host.put_record(&did, CAPTAIN, "self", json!({ "number": number })));
    write(1);
    signpost.await_host_report(&host, "it is an hour behind", |report| seconds(report) >= Some(HOUR)).await;
    assert!(seconds(&signpost.host_report(&host).await) < Some(HOUR + 60), "and not more");
    assert!(signpost.metric("signpost_host_lag_seconds").await >= HOUR as f64);
    assert_eq!(signpost.metric("signpost_lagging_hosts").await, 1.0);
    let status = signpost.get_internal("/status").await.json();
    assert!(status["hosts"]["lag_seconds"].as_u64() >= Some(HOUR), "{status}");
    let sentence = format!("{} is 60 minutes behind: its events are taken in late.", host.name());
    assert_eq!(status["health"]["sentence"], sentence);

    signpost.await_host_report(&host, "it has no more to say", |report| seconds(report) == Some(0)).await;
    assert_eq!(signpost.metric("signpost_host_lag_seconds").await, 0.0);
    // What comes after a silence did not wait: it is the host's clock that is wrong.
    write(2);
    signpost.await_heard(&host).await;
    assert_eq!(seconds(&signpost.host_report(&host).await), Some(0));
    assert_eq!(host.fired(&Fault::HourOld), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_of_a_host_that_is_not_connected() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let host = network.add_host();
    signpost.follow(&network, [&host]).await;
    host.down().await;
    await_condition("it has no lag", async || match signpost.host_report(&host).await {
        report if report["lag"].is_null() => Ok(()),
        report => Err(report.to_string()),
    })
    .await;
}
