//! Accepts connections and speaks HTTP/1.1 on them, with bounds: so many at once, so long for a head, for an answer to be read,
//! and in all.
//!
//! `axum::serve` has no limit on the time that a client takes for its request's head or for its answer, nor on the number of
//! clients.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::client_address::PeerAddr;
use super::client_io::{AwaitedBody, TimedWrites};
use super::connections::{ConnectionLimits, Connections, Place, Refusal};
use crate::metrics::Metrics;

/// From the first byte, or from the end of the last answer: also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for the longest request: 50 collections of 317 characters.
const HEAD_BYTES: usize = 32 * 1024;
/// For an answer to be taken, the longest being a few hundred KiB.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// What the kernel holds of answers that a client does not read; by itself it would hold 4 MiB for each.
const UNREAD_BYTES: usize = 128 * 1024;
/// Then a connection ends after its current answer: nobody holds one for good.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// For the answer that is under way when the connection's life or the service ends.
/// Shorter than what the service has for everything: after the answers the database is to be closed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// Pause when the process has no file descriptor left, and nobody here can give one back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// For the connection that was ended to close.
const EVICTION_PAUSE: Duration = Duration::from_millis(5);
/// How often it is said that none is left.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What answers the requests of a listener, and is always ready to.
pub trait Answers:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

/// Serves until `shutdown`, then lets the answers under way finish; returns within 6 s of it. Counts into `metrics`, if given.
pub async fn serve(
    listener: TcpListener,
    answers: impl Answers,
    limits: ConnectionLimits,
    metrics: Option<Metrics>,
    shutdown: CancellationToken,
) {
    let connections = Connections::new(limits);
    let closed = |reason| metrics.iter().for_each(|metrics| metrics.connection_closed(reason));
    let tasks = TaskTracker::new();
    let mut said = None;
    while let Some((stream, peer)) = accept(&listener, &connections, &mut said, &shutdown).await {
        // While nobody can go for it, the next ones wait in the kernel's backlog, in turn.
        let admitted = loop {
            match connections.admit(peer.ip()) {
                Err(Refusal::Full) if !shutdown.is_cancelled() => sleep(EVICTION_PAUSE).await,
                admitted => break admitted,
            }
        };
        match admitted {
            Ok((place, someone_went)) => {
                if someone_went {
                    closed("evicted");
                }
                let served = connection(stream, PeerAddr(peer), answers.clone(), shutdown.clone(), place);
                let (connections, metrics) = (connections.clone(), metrics.clone());
                tasks.spawn(async move {
                    let count = || metrics.iter().for_each(|metrics| metrics.connections(connections.count()));
                    count();
                    served.await;
                    count();
                });
            }
            // No answer: who opens connections by the thousand is not to have work done for each.
            Err(Refusal::TooManyOfClient) => closed("client_limit"),
            Err(Refusal::Full) => break,
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// The next connection; `None` on shutdown.
async fn accept(
    listener: &TcpListener,
    connections: &Connections,
    said: &mut Option<Instant>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    let accept = async {
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_the_clients(error.kind()) => {}
                Err(error) => {
                    if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                        tracing::warn!(%error, "cannot accept a connection: is the limit on open files too low (LimitNOFILE)?");
                        *said = Some(Instant::now());
                    }
                    // No file descriptor is left: the one that is waited for longest gives its own back.
                    sleep(if connections.evict() { EVICTION_PAUSE } else { ACCEPT_PAUSE }).await;
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
    answers: impl Answers,
    shutdown: CancellationToken,
    place: Place,
) {
    // Both fail only on a dead socket. Without the first a small answer may wait for the client's next acknowledgement.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, UNREAD_BYTES);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let place = Arc::new(place);
    let service = service_fn(|request| answer(request, peer, answers.clone(), place.clone()));
    let stream = TokioIo::new(TimedWrites::new(stream, WRITE_TIMEOUT));
    let mut connection = pin!(http.serve_connection(stream, service));
    // Errors on a connection are the client's affair: it went away, or sent what is not HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.evicted() => return,
        () = shutdown.cancelled() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(DRAIN_TIMEOUT, connection).await;
}

async fn answer(
    request: Request<Incoming>,
    peer: PeerAddr,
    mut answers: impl Answers,
    place: Arc<Place>,
) -> Result<Response, Infallible> {
    let mut request = request.map(|body| AwaitedBody::of(body, &place));
    request.extensions_mut().insert(peer);
    let response = answers.call(request).await;
    place.waits_for_client();
    response
}
