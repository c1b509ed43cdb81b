//! One host's firehose: dial from the stored cursor, read, verify, take in, dial again. A batch is taken in before the next is read,
//! so a host that floods is slowed by its own socket, and at most one batch of it is in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};
use tokio_util::sync::CancellationToken;

use super::Subscriber;
use super::verify::{self, Batch};
use crate::host::{FirehoseSocket, HostError, full_jitter};
use crate::index;
use crate::store::{Durability, HostId, StoreError};
use crate::syntax::{Host, printable};

const BATCH_FRAMES: usize = 256;
const BATCH_BYTES: usize = 2 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Dial(#[from] HostError),
    #[error("the host closed the firehose")]
    Closed,
    #[error("the firehose broke: {0}")]
    Broken(WsError),
    #[error("nothing was heard for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the host refused: {name} {message}")]
    Refused { name: String, message: String },
    #[error("signpost is shutting down")]
    Shutdown,
}

/// Follows a host until `shutdown`.
pub(super) async fn follow(
    subscriber: Subscriber,
    host_id: HostId,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let timing = subscriber.timing;
    let mut failures = 0;
    loop {
        // Read anew: the scheme may have changed.
        let host = subscriber.store.read(move |tx| tx.host(host_id)).await?;
        let began = Instant::now();
        let mut connected = false;
        let ended = tokio::select! {
            () = shutdown.cancelled(), if !connected => Ended::Shutdown,
            socket = dial(&subscriber, &host, host_id) => match socket? {
                Err(error) => error.into(),
                Ok(socket) => {
                    connected = true;
                    subscriber.store.write(Durability::Replayable, move |tx| tx.firehose_connected(host_id)).await?;
                    tracing::info!(%host, "firehose connected");
                    read(&subscriber, &host, host_id, socket, &shutdown).await?
                }
            },
        };
        if matches!(ended, Ended::Shutdown) {
            return Ok(());
        }
        let asked_to_wait = note_end(&subscriber, &host, host_id, &ended, connected).await?;
        failures = if connected && began.elapsed() >= timing.settled_after { 0 } else { failures + 1 };
        let wait =
            asked_to_wait.unwrap_or_else(|| full_jitter(failures.max(1) - 1, timing.retry_base, timing.retry_cap));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = wake.notified() => failures = 0,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn dial(
    subscriber: &Subscriber,
    host: &Host,
    host_id: HostId,
) -> Result<Result<FirehoseSocket, HostError>, StoreError> {
    let _turn = subscriber.dials.acquire().await.expect("the semaphore is never closed");
    let host_cursor = subscriber.store.read(move |tx| tx.host_cursor(host_id)).await?;
    Ok(subscriber.client.dial(host, host_cursor).await)
}

/// Records why the connection ended; answers how long the host asked to wait.
async fn note_end(
    subscriber: &Subscriber,
    host: &Host,
    host_id: HostId,
    ended: &Ended,
    connected: bool,
) -> Result<Option<Duration>, StoreError> {
    subscriber.metrics.firehose_connect(ended.label());
    tracing::info!(%host, error = %ended, "firehose is down");
    let words = ended.to_string();
    let future_cursor = matches!(ended, Ended::Refused { name, .. } if name == "FutureCursor");
    subscriber
        .store
        .write(Durability::Replayable, move |tx| {
            if future_cursor {
                // The host does not know our cursor: it was reset. The next connection follows from live, and lists again.
                tx.drop_host_cursor(host_id)?;
            }
            tx.firehose_down(host_id, &words, connected)
        })
        .await?;
    Ok(match ended {
        Ended::Dial(error) => error.retry_after(),
        _ => None,
    })
}

async fn read(
    subscriber: &Subscriber,
    host: &Host,
    host_id: HostId,
    mut socket: FirehoseSocket,
    shutdown: &CancellationToken,
) -> Result<Ended, StoreError> {
    let timing = subscriber.timing;
    let mut pings = tokio::time::interval_at(Instant::now() + timing.ping_every, timing.ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let first = tokio::select! {
            () = shutdown.cancelled() => {
                // A courtesy: the host may wait for it, we do not.
                let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
                return Ok(Ended::Shutdown);
            }
            message = socket.next() => message,
            _ = pings.tick() => {
                match tokio::time::timeout(timing.ping_every, socket.send(WsMessage::Ping(Bytes::new()))).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return Ok(Ended::Broken(error)),
                    Err(_) => return Ok(Ended::Silent(timing.ping_every)),
                }
            }
            () = tokio::time::sleep_until(heard + timing.dead_after) => return Ok(Ended::Silent(timing.dead_after)),
        };
        let (frames, mut ended) = gather(subscriber, &mut socket, first).await;
        if !frames.is_empty() {
            let (batch, said) = take_in(subscriber, host, host_id, frames).await?;
            subscriber.count_rows(&batch);
            ended = said.or(ended);
        }
        heard = Instant::now();
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

/// Takes what the socket has without waiting, up to the bounds of a batch.
async fn gather(
    subscriber: &Subscriber,
    socket: &mut FirehoseSocket,
    first: Option<Result<WsMessage, WsError>>,
) -> (Vec<Bytes>, Option<Ended>) {
    let (mut frames, mut size_bytes) = (Vec::new(), 0);
    let mut message = first;
    loop {
        match message {
            None | Some(Ok(WsMessage::Close(_))) => return (frames, Some(Ended::Closed)),
            Some(Err(error)) => return (frames, Some(Ended::Broken(error))),
            Some(Ok(WsMessage::Binary(frame))) => {
                size_bytes += frame.len();
                frames.push(frame);
            }
            Some(Ok(WsMessage::Text(_))) => subscriber.metrics.bad_frame("text"),
            // Answered by the library, or an answer to ours.
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_))) => {}
        }
        if frames.len() >= BATCH_FRAMES || size_bytes >= BATCH_BYTES {
            return (frames, None);
        }
        message = match socket.next().now_or_never() {
            Some(message) => message,
            None => return (frames, None),
        };
    }
}

/// Verifies a batch, and commits its outcomes with the cursor.
async fn take_in(
    subscriber: &Subscriber,
    host: &Host,
    host_id: HostId,
    frames: Vec<Bytes>,
) -> Result<(index::Ingested, Option<Ended>), StoreError> {
    let Batch { events, seq, notices, kinds } = verify::batch(subscriber, host_id, frames).await?;
    let outdated =
        notices.iter().any(|notice| matches!(notice, verify::Notice::Info(name) if name == "OutdatedCursor"));
    let ingested = subscriber
        .store
        .write(Durability::Replayable, move |tx| {
            if outdated {
                // Events between our cursor and the host's oldest are lost: compare the whole host.
                tx.relist_host(host_id)?;
            }
            index::ingest(tx, host_id, &events, seq)
        })
        .await?;
    for (kind, verdict) in kinds.iter().zip(&ingested.verdicts) {
        subscriber.metrics.event(*kind, verdict.label());
    }
    let refused = notices.into_iter().find_map(|notice| match notice {
        verify::Notice::Error { name, message } => {
            Some(Ended::Refused { name: printable(&name, 64), message: printable(&message, 200) })
        }
        verify::Notice::Info(name) => {
            tracing::info!(%host, name = %printable(&name, 64), "the host's firehose says");
            None
        }
    });
    Ok((ingested, refused))
}

impl Subscriber {
    /// Counts the rows that a batch changed.
    pub(super) fn count_rows(&self, ingested: &index::Ingested) {
        self.metrics.records_written(ingested.records_written);
        self.metrics.records_deleted(ingested.records_deleted);
    }
}

impl Ended {
    fn label(&self) -> &'static str {
        match self {
            Ended::Dial(error) => error.reason(),
            Ended::Closed => "closed",
            Ended::Broken(_) => "broken",
            Ended::Silent(_) => "silent",
            Ended::Refused { .. } => "refused",
            Ended::Shutdown => "shutdown",
        }
    }
}
