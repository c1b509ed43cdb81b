//! getRepo: large ones one at a time, none above the limit.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;

use crate::host::test_server::{client, endless_body, serve, stalled_body};
use crate::host::{HostError, Limits};
use crate::syntax::{Did, Host};

fn did() -> Did {
    Did::parse("did:web:a.com").expect("a DID")
}

type MakeBody = fn() -> Body;

async fn host_of(body: MakeBody) -> Host {
    serve(Router::new().route("/xrpc/com.atproto.sync.getRepo", any(async move || body()))).await
}

fn small_limits(limits: &mut Limits) {
    (limits.large_repo_bytes, limits.repo_bytes) = (1000, 100_000);
}

#[tokio::test]
async fn repos_come_whole_up_to_the_limit() {
    let client = client(small_limits);
    let cases: [(MakeBody, usize, bool); 4] = [
        (Body::empty, 0, false),
        (|| vec![7; 1000].into(), 1000, false),
        (|| vec![7; 1001].into(), 1001, true),
        (|| vec![7; 100_000].into(), 100_000, true),
    ];
    for (body, size, is_large) in cases {
        let car = client.get_repo(&host_of(body).await, &did()).await.expect("a repo");
        assert_eq!((car.bytes, car.large.is_some()), (vec![7; size], is_large));
    }
    let too_large = HostError::TooLarge { limit_bytes: 100_000 };
    for body in [(|| vec![7; 100_001].into()) as MakeBody, endless_body] {
        assert_eq!(client.get_repo(&host_of(body).await, &did()).await.map(|_| ()), Err(too_large.clone()));
    }
}

#[tokio::test]
async fn one_large_repo_is_in_memory_at_a_time_and_small_ones_pass_it() {
    // The whole timeout is shorter than the wait: waiting for us is not the host's fault.
    let client = client(|limits| {
        small_limits(limits);
        limits.repo_timeout = Duration::from_millis(500);
    });
    let large = host_of(|| vec![7; 50_000].into()).await;
    let small = host_of(|| vec![7; 10].into()).await;
    let first = client.get_repo(&large, &did()).await.expect("a repo");
    let did = did();
    let mut second = Box::pin(client.get_repo(&large, &did));
    let waited = tokio::time::timeout(Duration::from_millis(700), &mut second).await;
    assert!(waited.is_err(), "the second waits for the first");
    assert_eq!(client.get_repo(&small, &did).await.expect("a repo").bytes.len(), 10);
    drop(first);
    assert_eq!(second.await.expect("a repo").bytes.len(), 50_000);
}

#[tokio::test]
async fn failed_large_repo_gives_its_place_back() {
    let client = client(small_limits);
    for _ in 0..2 {
        assert!(client.get_repo(&host_of(endless_body).await, &did()).await.is_err());
    }
    assert_eq!(client.large_repos.available_permits(), 1);
}

#[tokio::test]
async fn stalled_repo_ends_at_the_idle_limit() {
    let client = client(|limits| limits.idle_timeout = Duration::from_millis(50));
    let error = client.get_repo(&host_of(stalled_body).await, &did()).await.expect_err("silence");
    assert_eq!(error.reason(), "timeout");
}
