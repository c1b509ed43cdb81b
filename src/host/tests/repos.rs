//! getRepo: small ones in memory, large ones on disk, none above the limit, none too slow.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::any;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use crate::host::test_server::{client, client_in, endless_body, serve, serve_bytes, stalled_body};
use crate::host::{Client, HostError, Limits};
use crate::syntax::{Did, Host};

const MIB: usize = 1 << 20;

fn did() -> Did {
    Did::parse("did:web:a.com").expect("a DID")
}

async fn host_of(body: impl Fn() -> Body + Clone + Send + Sync + 'static) -> Host {
    serve(Router::new().route("/xrpc/com.atproto.sync.getRepo", any(async move || body()))).await
}

/// A host with a repo of so many bytes, no two places alike.
async fn host_of_size(bytes: usize) -> (Host, Bytes) {
    let repo: Bytes = (0..bytes as u64)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().into_iter().take(1))
        .collect();
    let served = repo.clone();
    (host_of(move || served.clone().into()).await, repo)
}

#[tokio::test]
async fn a_repo_that_is_declared_too_large_is_not_read() {
    let host = serve_bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40)).await;
    let client = client(|limits| limits.idle_timeout = Duration::from_secs(60));
    assert_eq!(error_of(&client, &host).await, HostError::TooLarge { limit_bytes: 512 * MIB });
}

fn small_limits(limits: &mut Limits) {
    (limits.spool_above_bytes, limits.repo_bytes) = (1000, 3 * MIB);
}

async fn error_of(client: &Client, host: &Host) -> HostError {
    client.get_repo(host, &did()).await.map(drop).expect_err("refused")
}

fn is_unused(client: &Client) -> bool {
    client.repo_memory.free_bytes() == client.limits.repo_memory_bytes
        && client.spools.free_bytes() == client.limits.spool_bytes
}

#[tokio::test]
async fn repos_come_whole_up_to_the_limit_in_memory_or_on_disk() {
    let client = client(small_limits);
    for (size, is_on_disk) in
        [(0, false), (1, false), (1000, false), (1001, true), (700_000, true), (3 * MIB - 1, true), (3 * MIB, true)]
    {
        let (host, repo) = host_of_size(size).await;
        let car = client.get_repo(&host, &did()).await.expect("a repo");
        assert!(car.bytes == repo, "{size} bytes come as they are");
        assert_eq!(car.is_on_disk(), is_on_disk, "{size}");
    }
    let (host, _) = host_of_size(3 * MIB + 1).await;
    let too_large = HostError::TooLarge { limit_bytes: 3 * MIB };
    assert_eq!(error_of(&client, &host).await, too_large);
    assert_eq!(error_of(&client, &host_of(endless_body).await).await, too_large);
    assert!(is_unused(&client), "everything is given back");
}

#[tokio::test]
async fn repos_that_find_no_room_in_memory_go_to_disk() {
    let client = client(|limits| limits.repo_memory_bytes = 7 * MIB);
    let (host, repo) = host_of_size(4 * MIB).await;
    let first = client.get_repo(&host, &did()).await.expect("a repo");
    let second = client.get_repo(&host, &did()).await.expect("a repo");
    assert!(first.bytes == repo && second.bytes == repo);
    assert_eq!((first.is_on_disk(), second.is_on_disk()), (false, true));
    drop((first, second));
    assert!(is_unused(&client));
}

#[tokio::test]
async fn large_verifications_queue_on_disk_while_small_ones_pass() {
    let client = client(|limits| limits.repo_memory_bytes = 40 * MIB);
    let (large, repo) = host_of_size(10 * MIB).await;
    let (small, _) = host_of_size(1000).await;
    let get = async |host: &Host| client.get_repo(host, &did()).await.expect("a repo");
    let mut first = client.make_room(get(&large).await, 20 * MIB).await.expect("room");
    assert!(!first.is_on_disk());
    let second = get(&large).await;
    let mut waiting = Box::pin(client.make_room(second, 20 * MIB));
    for _ in 0..20 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        client.make_room(get(&small).await, MIB).await.expect("room");
    }
    first.know_only(0);
    assert!(!first.is_on_disk(), "its bytes are still there");
    let second = waiting.await.expect("room");
    assert!(second.is_on_disk() && second.bytes == repo, "it does not wait in memory");
    drop((first, second));
    assert!(is_unused(&client));
}

#[tokio::test]
async fn a_disk_that_takes_no_more_is_an_error_of_that_repo_alone() {
    let (host, _) = host_of_size(2 * MIB).await;
    let full = client(|limits| {
        small_limits(limits);
        limits.spool_bytes = MIB;
    });
    let error = error_of(&full, &host).await;
    assert_eq!(error.to_string(), "no place on disk for the answer: repos take 1048576 bytes already");
    assert!(error.is_answer(), "the host is not to blame");
    assert!(is_unused(&full));
    let nowhere = client_in("/nonexistent", small_limits);
    assert_eq!(error_of(&nowhere, &host).await.reason(), "no_place_on_disk");
    let (small, _) = host_of_size(1000).await;
    assert!(nowhere.get_repo(&small, &did()).await.is_ok());
}

/// One byte each `every`, for ever.
fn drip(every: Duration) -> Body {
    let bytes = stream::repeat(Bytes::from_static(b" "));
    Body::from_stream(bytes.then(move |byte| async move {
        sleep(every).await;
        Ok::<_, std::io::Error>(byte)
    }))
}

#[tokio::test]
async fn a_repo_that_drips_is_cut_and_one_that_moves_is_not() {
    let window = Duration::from_millis(300);
    let at_pace = |bytes_per_second| {
        client(move |limits| (limits.pace_bytes_per_second, limits.pace_window) = (bytes_per_second, window))
    };
    let error = error_of(&at_pace(8192), &host_of(|| drip(Duration::from_millis(5))).await).await;
    assert_eq!(error.reason(), "too_slow", "{error}");
    assert!(error.to_string().ends_with("bytes came within 300ms"), "{error}");
    // Four bytes a second are enough here, and there is no limit on the whole.
    let slow = host_of(|| Body::from_stream(drip(Duration::from_millis(20)).into_data_stream().take(60))).await;
    let car = at_pace(4).get_repo(&slow, &did()).await.expect("a repo");
    assert_eq!(car.bytes.len(), 60);
}

#[tokio::test]
async fn stalled_repo_ends_at_the_idle_limit() {
    let client = client(|limits| limits.idle_timeout = Duration::from_millis(50));
    assert_eq!(error_of(&client, &host_of(stalled_body).await).await.reason(), "timeout");
}
