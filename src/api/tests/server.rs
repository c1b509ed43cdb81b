//! The connection loop, over real sockets.

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
    Running { address, served: tokio::spawn(serve(listener, router, shutdown.clone())), shutdown }
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
