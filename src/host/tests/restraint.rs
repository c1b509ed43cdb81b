//! Requests that are held back or never made: budgets, pauses and the policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get};
use tokio::sync::Notify;

use crate::host::guard::Guard;
use crate::host::test_server::{client, serve, until};
use crate::host::{Client, HostError, Outbound, tls};
use crate::syntax::{Host, HostPolicy};

#[tokio::test]
async fn rate_limited_host_is_left_alone_and_others_are_not() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let limiting = serve(Router::new().fallback(any(async move || {
        count.fetch_add(1, SeqCst);
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "120")])
    })))
    .await;
    let client = client(|_| ());
    let first = client.describe_server(&limiting).await.expect_err("429");
    assert_eq!(first.retry_after(), Some(Duration::from_secs(120)));
    for _ in 0..5 {
        let again = client.list_repos(&limiting, None, 10).await.expect_err("paused");
        assert!(again.retry_after().is_some_and(|left| left > Duration::from_secs(100)), "{again:?}");
        assert!(client.dial(&limiting, None).await.is_err_and(|error| error.reason() == "rate_limited"));
    }
    assert_eq!(asked.load(SeqCst), 1);
    let other = serve(Router::new().fallback(any(async || "{}"))).await;
    assert!(client.describe_server(&other).await.is_ok());
}

#[tokio::test]
async fn host_has_no_more_requests_at_once_than_its_budget() {
    let (running, most, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (r, m, g) = (running.clone(), most.clone(), go.clone());
    let slow = get(async move || {
        let now = r.fetch_add(1, SeqCst) + 1;
        m.fetch_max(now, SeqCst);
        g.notified().await;
        r.fetch_sub(1, SeqCst);
        "{}"
    });
    let host = serve(Router::new().fallback(slow)).await;
    let client = client(|limits| limits.requests_in_flight = 2);
    let calls = (0..6).map(|_| {
        let (client, host) = (client.clone(), host.clone());
        tokio::spawn(async move { client.describe_server(&host).await })
    });
    let calls: Vec<_> = calls.collect();
    until(|| running.load(SeqCst) == 2).await;
    until(|| {
        go.notify_one();
        calls.iter().all(|call| call.is_finished())
    })
    .await;
    assert_eq!(most.load(SeqCst), 2);
}

#[tokio::test]
async fn what_the_policy_forbids_is_never_asked() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let private = serve(Router::new().fallback(any(async move || {
        count.fetch_add(1, SeqCst);
        "{}"
    })))
    .await;
    let public_only =
        Client::new(Outbound::new(HostPolicy::PublicOnly, "signpost/test", std::env::temp_dir())).expect("a client");
    for text in [private.as_str(), "localhost", "http://pds.example.com", "pds.test", "10.0.0.1", "[::1]"] {
        let host = Host::parse(text, HostPolicy::AllowPrivate).expect(text);
        let call = public_only.describe_server(&host).await.expect_err(text);
        let dial = public_only.dial(&host, None).await.expect_err(text);
        assert_eq!((call.reason(), dial.reason()), ("forbidden", "forbidden"), "{text}: {call} {dial}");
    }
    assert_eq!(asked.load(SeqCst), 0);
}

#[tokio::test]
async fn name_that_resolves_into_our_network_is_told_as_forbidden() {
    let guard = Guard::new(HostPolicy::PublicOnly, Duration::from_secs(5));
    let http = reqwest::Client::builder().tls_backend_preconfigured(tls::client_config(tls::roots()).as_ref().clone());
    let http = http.no_proxy().dns_resolver(guard).build().expect("a client");
    let error = http.get("http://localhost:1/").send().await.expect_err("the guard refuses");
    let told = client(|_| ()).unsent(&error);
    assert_eq!(told, HostError::Forbidden("localhost is at 127.0.0.1, which is not a public address".into()));
}
