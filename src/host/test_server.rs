//! Small hosts on loopback for the tests of this layer and of `identity`.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, Limits, Outbound};
use crate::syntax::{Host, HostPolicy};

/// A client that may speak to loopback, with adjusted limits.
pub fn client(adjust: impl FnOnce(&mut Limits)) -> Arc<Client> {
    client_in(std::env::temp_dir(), adjust)
}

/// The same with a directory for large repos.
pub fn client_in(spool_directory: impl Into<PathBuf>, adjust: impl FnOnce(&mut Limits)) -> Arc<Client> {
    let mut outbound = Outbound::new(HostPolicy::AllowPrivate, "signpost/test", spool_directory);
    adjust(&mut outbound.limits);
    Arc::new(Client::new(outbound).expect("a client"))
}

/// Serves the routes on a free port for as long as the test runs.
pub async fn serve(router: Router) -> Host {
    let (listener, host) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    host
}

/// Answers every connection with the same bytes, after its request's header, and then closes it.
pub async fn serve_bytes(answer: impl Into<Bytes>) -> Host {
    let (answer, (listener, host)) = (answer.into(), listen().await);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_header(&mut stream).await.expect("a request");
            stream.write_all(&answer).await.expect("the answer is taken");
        }
    });
    host
}

/// A listener on a free port, and the host that it is.
pub async fn listen() -> (TcpListener, Host) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, Host::parse(&address, HostPolicy::AllowPrivate).expect("a loopback host"))
}

/// Reads a request's header.
pub async fn read_header(stream: &mut TcpStream) -> io::Result<String> {
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n\r\n") {
        header.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&header).into_owned())
}

/// A body of chunks of spaces without an end.
pub fn endless_body() -> Body {
    let chunk = Bytes::from_static(&[b' '; 1000]);
    Body::from_stream(futures_util::stream::repeat(chunk).map(Ok::<_, io::Error>))
}

/// A body that begins and never goes on.
pub fn stalled_body() -> Body {
    let mut first = Some(Bytes::from_static(b" "));
    let chunks = futures_util::stream::poll_fn(move |_| match first.take() {
        Some(chunk) => Poll::Ready(Some(Ok::<_, io::Error>(chunk))),
        None => Poll::Pending,
    });
    Body::from_stream(chunks)
}

/// Waits until the condition holds, for the test's patience at most.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let holds = poll_fn(|context| match condition() {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    tokio::time::timeout(std::time::Duration::from_secs(10), holds).await.expect("the condition holds in time");
}
