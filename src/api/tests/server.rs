//! The connection loop, over real sockets.

use crate::api::client_address::PeerAddr;
use std::time::Duration;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use std::sync::Arc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

async fn start(router: Router) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let served = serve(listener, router, ConnectionLimits::internal(), None, shutdown.clone());
    Running { address, served: tokio::spawn(served), shutdown }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection stays open").unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_connection_serves_several_requests() {
    let running = start(Router::new().route("/", get(async || "hello"))).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_to_end(&mut stream).await.matches("hello").count(), 2);
    running.shutdown.cancel();
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_under_way_is_finished_on_shutdown_and_idle_connections_are_closed() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (entered, release) = (entered.clone(), release.clone());
        async move || {
            entered.notify_one();
            release.notified().await;
            "finished"
        }
    };
    let running = start(Router::new().route("/", get(handler))).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    entered.notified().await;
    running.shutdown.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    release.notify_one();
    assert!(read_to_end(&mut busy).await.ends_with("finished"));
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

/// With the clock paused, the time limit passes as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_head_is_dropped() {
    let running = start(Router::new().route("/", get(async || "hello"))).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.contains("hello"), "{answer}");
    running.shutdown.cancel();
    running.served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_ends_its_connection() {
    let long = "x".repeat(32 << 20);
    let running = start(Router::new().route("/", get(async move || long.clone()))).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // A little is taken now and then: that does not help.
    let mut taken = [0; 4096];
    for _ in 0..7 {
        slow.read_exact(&mut taken).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    assert!(rest.len() < 32 << 20, "it was all sent");
    running.shutdown.cancel();
    running.served.await.unwrap();
}

#[tokio::test]
async fn a_request_knows_its_peer() {
    let whoami = async |axum::Extension(PeerAddr(peer)): axum::Extension<PeerAddr>| peer.to_string();
    let running = start(Router::new().route("/", get(whoami))).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with(&own), "{answer}");
}

#[tokio::test]
async fn connections_that_are_waited_for_make_room_for_new_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, metrics) = (CancellationToken::new(), Metrics::new());
    let limits = ConnectionLimits { most: 8, most_per_client: 8, is_trusted: Arc::new(|_| true) };
    let router = Router::new().route("/", get(async || "hello"));
    let served = tokio::spawn(serve(listener, router, limits, Some(metrics.clone()), shutdown.clone()));
    let mut slow = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
    }
    let mut bystander = TcpStream::connect(address).await.unwrap();
    bystander.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut bystander).await.ends_with("hello"));
    assert_eq!(read_to_end(&mut slow[0]).await, "", "the first one went");
    let text = metrics.render(&crate::metrics::Sizes::default());
    assert!(text.contains("signpost_http_connections_closed_total{reason=\"evicted\"} 17"), "{text}");
    shutdown.cancel();
    drop(slow);
    timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_is_not_trusted_has_so_many_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, metrics) = (CancellationToken::new(), Metrics::new());
    let limits = ConnectionLimits { most: 100, most_per_client: 2, is_trusted: Arc::new(|_| false) };
    let router = Router::new().route("/", get(async || "hello"));
    let served = tokio::spawn(serve(listener, router, limits, Some(metrics.clone()), shutdown.clone()));
    let mut two: Vec<TcpStream> = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        two.push(stream);
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(read_to_end(&mut third).await, "");
    assert!(metrics.render(&crate::metrics::Sizes::default()).contains("closed_total{reason=\"client_limit\"} 1"));
    shutdown.cancel();
    timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_without_being_read_to_its_end() {
    let running = start(Router::new().route("/", get(async || "hello"))).await;
    for head in [
        format!("GET /?{} HTTP/1.1\r\n", "a".repeat(40_000)),
        format!("GET / HTTP/1.1\r\nX: {}\r\n", "a".repeat(40_000)),
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "), "{answer}");
    }
    running.shutdown.cancel();
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
}
