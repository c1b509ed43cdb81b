//! Accepts connections and speaks HTTP/1.1 on them, with bounds: so many at once, so long for a head, so long
//! in all.
//!
//! `axum::serve` has no limit on the time that a client takes for its request's head, nor on the number of
//! clients.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client_address::PeerAddr;

/// Further ones wait in the kernel's backlog.
const MOST_CONNECTIONS: usize = 1024;
/// From the first byte, or from the end of the last answer: also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for the longest request: 50 collections of 317 characters.
const HEAD_BYTES: usize = 32 * 1024;
/// Then a connection ends after its current answer: nobody holds one for good.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// For the answer that is under way when the connection's life or the service ends.
/// Shorter than what the service has for everything: after the answers the database is to be closed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// Pause when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until `shutdown`, then lets the answers under way finish; returns within 6 s of it.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let connections = TaskTracker::new();
    while let Some((stream, peer, slot)) = accept(&listener, &slots, &shutdown).await {
        connections.spawn(connection(stream, peer, router.clone(), shutdown.clone(), slot));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection and its slot; `None` on shutdown.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, PeerAddr, OwnedSemaphorePermit)> {
    let accept = async {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, PeerAddr(peer), slot),
                Err(error) if is_the_clients(error.kind()) => {}
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await
}

/// Whether only the connection in question is gone.
fn is_the_clients(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

async fn connection(
    stream: TcpStream,
    peer: PeerAddr,
    router: Router,
    shutdown: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    // Without it a small answer may wait for the client's next acknowledgement; it fails only on a dead socket.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request| {
        hyper::Request::extensions_mut(&mut request).insert(peer);
        router.call(request)
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // Errors on a connection are the client's affair: it went away, or sent what is not HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(DRAIN_TIMEOUT, connection).await;
}
