//! What the two listeners answer besides XRPC.

use fake_network::{AccountOptions, Fault, FaultScope, Network};
use serde_json::json;

use crate::signpost::Signpost;
use crate::{CAPTAIN, GET_RECORD, GET_REPO};

#[tokio::test(flavor = "multi_thread")]
async fn the_internal_listener_tells_an_operator_how_it_goes() {
    let network = Network::start().await;
    let (host, failing) = (network.add_host(), network.add_host());
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    failing.create_account(AccountOptions::default());
    failing.fault(Fault::Status { method: GET_RECORD, code: 500 }, FaultScope::Always);
    let broken = Fault::Status { method: GET_REPO, code: 500 };
    failing.fault(broken.clone(), FaultScope::Always);
    let signpost = Signpost::start(&network).await;
    signpost.follow(&network, [&host]).await;
    signpost.request_crawl(&failing).await;
    failing.wait_fired(&broken, 1).await;
    signpost.await_host_report(&failing, "its repo fails", |report| report["last_error"].is_string()).await;
    host.put_record(&did, CAPTAIN, "self", json!({ "changed": true }));
    signpost.await_truth(&network).await;

    let ready = signpost.get_internal("/ready").await;
    assert_eq!(ready.status, 200);
    let expected = json!({ "ready": true, "reasons": [], "index_complete": true, "clock_is_behind": false, "repos_to_reindex": 0 });
    assert_eq!(ready.json(), expected);

    let report = signpost.host_report(&host).await;
    assert_eq!((&report["state"], &report["crawl"]), (&json!("active"), &json!("subscribed")));
    assert_eq!((&report["connected"], &report["cursor"]), (&json!(true), &json!(host.latest_seq())));
    assert_eq!((&report["repos"], &report["last_error"]), (&json!(1), &json!(null)));
    assert!(report["queue"].is_object());

    let metrics = String::from_utf8(signpost.get_internal("/metrics").await.body).unwrap();
    for name in [
        "signpost_queue_jobs{status=\"subscribed\"} 2",
        "signpost_hosts{state=\"active\"} 2",
        "signpost_repos{status=\"active\"} 2",
        "signpost_records 1",
        "signpost_events_total{kind=\"commit\",outcome=\"applied\"} 1",
        "signpost_http_requests_total{method=\"com.atproto.sync.requestCrawl\",status=\"200\"} 2",
        "signpost_http_request_duration_seconds_bucket{",
        "signpost_database_size_bytes ",
        "signpost_connected_firehoses 2",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert!(!metrics.contains(host.name()) && !metrics.contains(&did), "labels are bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_listener_does_not_answer_what_is_for_the_operator() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    for path in ["/metrics", "/ready", "/hosts"] {
        let answer = signpost.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["error"], "NotFound", "{path}");
    }
    for (path, status) in
        [("/xrpc/com.atproto.sync.listHosts", 200), ("/admin/pds/list", 403), ("/", 200), ("/nothing", 404)]
    {
        assert_eq!(signpost.get_internal(path).await.status, status, "{path}");
    }
    assert_eq!(signpost.get("/admin/pds/list").await.status, 404);
    let unknown = signpost.get("/xrpc/com.example.nothing").await;
    assert_eq!((unknown.status, unknown.json()["error"].as_str()), (501, Some("MethodNotImplemented")));
    assert!(signpost.get("/xrpc/_health").await.json()["version"].is_string());
}
