//! One host's firehose: dial from the stored cursor, read, verify, take in, dial again. A batch is taken in before the next is read,
//! so a host that floods is slowed by its own socket, and at most one batch of it is in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};
use tokio_util::sync::CancellationToken;

use super::Subscriber;
use super::frame;
use super::gather::{BATCH_FRAMES, Gathered, gather};
use super::rate::SharedRate;
use super::trouble::{self, Habit, Trouble};
use super::verify::{self, Batch, Notice};
use super::watermark::{Step, Watermark};
use crate::clock::now_micros;
use crate::host::{FirehoseSocket, HostError, full_jitter};
use crate::index::{self, Event, Ingested};
use crate::store::{Durability, Followed, HostId, StoreError, Tx, TxResult};
use crate::syntax::{Host, printable};

/// A host counts as slowed for so long after its last pause.
const SLOWED_FOR: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
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
    #[error("it was silent while the host's repos changed")]
    Restarted,
    #[error("signpost is shutting down")]
    Shutdown,
}

/// What the manager says to a connection.
#[derive(Debug, Default)]
pub(super) struct Bells {
    /// The host asks to be crawled: do not wait any longer.
    pub wake: Notify,
    /// Give the connection up and dial anew.
    pub restart: Notify,
}

/// Follows a host until `shutdown`, or until it is closed.
pub(super) async fn follow(
    subscriber: Subscriber,
    host_id: HostId,
    bells: Arc<Bells>,
    rate: SharedRate,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let timing = subscriber.timing;
    let lag = subscriber.store.lags().follow(host_id);
    let mut trouble = Trouble::default();
    let mut failures = 0;
    // The cursor at which the last connection died.
    let mut died_at = None;
    loop {
        // Read anew: the scheme may have changed.
        let (host, host_cursor) =
            subscriber.store.read(move |tx| Ok((tx.known_host_by_id(host_id)?, tx.host_cursor(host_id)?))).await?;
        let Some(host) = host else { return Ok(()) };
        let dialled = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            dialled = dial(&subscriber, &host, host_cursor) => dialled,
        };
        let began = Instant::now();
        let connected = dialled.is_ok();
        let ended = match dialled {
            Err(error) => error.into(),
            Ok(socket) => {
                let (is_first, is_open) = subscriber
                    .store
                    .write(Durability::Replayable, move |tx| {
                        Ok((!tx.ever_connected(host_id)?, tx.firehose_connected(host_id)?))
                    })
                    .await?;
                if !is_open {
                    return Ok(());
                }
                subscriber.metrics.firehose_connect("connected");
                match is_first {
                    true => tracing::info!(%host, "the host is followed from now on"),
                    false => tracing::debug!(%host, "firehose connected"),
                }
                lag.connected();
                let mut connection = Connection {
                    subscriber: &subscriber,
                    lag: &lag,
                    host: &host,
                    host_id,
                    socket,
                    watermark: Watermark::new(host_cursor),
                    rate: rate.clone(),
                    trouble: &mut trouble,
                    paused_at: None,
                };
                tokio::select! {
                    ended = connection.read(&shutdown) => ended?,
                    () = bells.restart.notified() => Ended::Restarted,
                }
            }
        };
        lag.disconnected();
        if matches!(ended, Ended::Shutdown) {
            return Ok(());
        }
        let asked_to_wait = note_end(&subscriber, &host, host_id, &ended, connected).await?;
        if let Some(lasts) = trouble.ended(Instant::now())
            && let Some(left_out) = trouble::line()
        {
            let lasts = humantime::format_duration(Duration::from_secs(lasts.as_secs()));
            tracing::info!(%host, error = %ended, %lasts, left_out, "the host cannot be followed: it is dialled again by itself");
        }
        let settled = connected && began.elapsed() >= timing.settled_after;
        failures = if settled { 0 } else { failures + 1 };
        if connected && ended.is_death() {
            // One that lived for long may have come to the poison as well: it is the first to die of it, and never the second.
            let died_before = died_at.filter(|_| !settled);
            died_at = pass_over_poison(&subscriber, &host, host_id, died_before, &mut trouble).await?;
        } else if settled {
            died_at = None;
        }
        let wait =
            asked_to_wait.unwrap_or_else(|| full_jitter(failures.max(1) - 1, timing.retry_base, timing.retry_cap));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = bells.wake.notified() => failures = 0,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn dial(
    subscriber: &Subscriber,
    host: &Host,
    host_cursor: Option<i64>,
) -> Result<Box<FirehoseSocket>, HostError> {
    let _turn = subscriber.dials.acquire().await.expect("the semaphore is never closed");
    subscriber.client.dial(host, host_cursor).await
}

/// When a young connection dies at the cursor at which the last one died, it is what the host sends there that kills it. Without a cursor
/// the next connection follows from live, and the host is compared. Answers the cursor at which it died.
async fn pass_over_poison(
    subscriber: &Subscriber,
    host: &Host,
    host_id: HostId,
    died_before: Option<i64>,
    trouble: &mut Trouble,
) -> Result<Option<i64>, StoreError> {
    let dies_at = subscriber.store.read(move |tx| tx.host_cursor(host_id)).await?;
    if dies_at.is_none() || dies_at != died_before {
        return Ok(dies_at);
    }
    if trouble.tells(Habit::Loses, Instant::now()) {
        tracing::info!(%host, "the firehose died twice at the same cursor: it is followed from live, and the host's repos are compared");
    }
    subscriber.store.write(Durability::Replayable, move |tx| tx.drop_host_cursor(host_id)).await?;
    Ok(None)
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
    tracing::debug!(%host, error = %ended, "firehose is down");
    let words = ended.to_string();
    let future_cursor = matches!(ended, Ended::Refused { name, .. } if name == "FutureCursor");
    subscriber
        .store
        .write(Durability::Replayable, move |tx| end_connection(tx, host_id, &words, connected, future_cursor))
        .await?;
    Ok(match ended {
        Ended::Dial(error) => error.retry_after(),
        _ => None,
    })
}

/// An open firehose.
struct Connection<'a> {
    subscriber: &'a Subscriber,
    lag: &'a Followed,
    host: &'a Host,
    host_id: HostId,
    socket: Box<FirehoseSocket>,
    watermark: Watermark,
    rate: SharedRate,
    trouble: &'a mut Trouble,
    /// When it was last paused, as long as the host counts as slowed.
    paused_at: Option<Instant>,
}

impl Connection<'_> {
    async fn read(&mut self, shutdown: &CancellationToken) -> Result<Ended, StoreError> {
        let timing = self.subscriber.timing;
        let mut pings = tokio::time::interval_at(Instant::now() + timing.ping_every, timing.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let settles_at = heard + timing.settled_after;
        loop {
            let pace = self.pace().await?;
            let first = tokio::select! {
                () = shutdown.cancelled() => {
                    // A courtesy: the host may wait for it, we do not.
                    let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.as_mut().close(None)).await;
                    return Ok(Ended::Shutdown);
                }
                message = self.socket.next(), if pace.is_ok() => message,
                () = pause(&pace), if pace.is_err() => {
                    // What it sends meanwhile is not looked at: it is not silent.
                    heard = Instant::now();
                    continue;
                }
                () = tokio::time::sleep_until(settles_at), if self.trouble.lasts() => {
                    if let Some(lasted) = self.trouble.over(Instant::now())
                        && let Some(left_out) = trouble::line()
                    {
                        let lasted = humantime::format_duration(Duration::from_secs(lasted.as_secs()));
                        tracing::info!(host = %self.host, %lasted, left_out, "the host is followed again");
                    }
                    continue;
                }
                _ = pings.tick() => {
                    let ping = self.socket.send(WsMessage::Ping(Bytes::new()));
                    match tokio::time::timeout(timing.ping_every, ping).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => return Ok(Ended::Broken(error)),
                        Err(_) => return Ok(Ended::Silent(timing.ping_every)),
                    }
                }
                () = tokio::time::sleep_until(heard + timing.dead_after) => return Ok(Ended::Silent(timing.dead_after)),
            };
            let most = pace.unwrap_or(1).min(BATCH_FRAMES);
            let Gathered { frames, messages, size_bytes, drained, ended } =
                gather(&self.subscriber.metrics, &mut self.socket, first, most).await;
            self.rate.lock().took(messages, size_bytes, Instant::now());
            let refused = if frames.is_empty() { None } else { self.take_in(frames, drained).await? };
            if let Some(ended) = refused.or(ended) {
                return Ok(ended);
            }
            heard = Instant::now();
        }
    }

    /// How many events may be read now, or until when none. Whether the host is slowed is written when it changes.
    async fn pace(&mut self) -> Result<Result<usize, Instant>, StoreError> {
        let (host, host_id, now) = (self.host, self.host_id, Instant::now());
        let allowance = self.rate.lock().allowance(now);
        let was_slowed = self.paused_at.is_some();
        match allowance {
            Err(wait) => {
                self.paused_at = Some(now);
                self.lag.paused();
                self.subscriber.metrics.firehose_paused(wait);
            }
            Ok(_) => self.paused_at = self.paused_at.filter(|at| now - *at < SLOWED_FOR),
        }
        let is_slowed = self.paused_at.is_some();
        if is_slowed != was_slowed {
            if is_slowed && self.trouble.tells(Habit::Floods, now) {
                tracing::info!(%host, "the firehose is read more slowly: it sends more events than its limits let through (signpost admin limits)");
            }
            self.subscriber.store.write(Durability::Replayable, move |tx| tx.set_slowed(host_id, is_slowed)).await?;
        }
        Ok(allowance.map_err(|wait| now + wait))
    }

    /// Verifies a batch, and commits its outcomes with the cursor. Answers whether the host refused to go on.
    async fn take_in(&mut self, frames: Vec<Bytes>, drained: bool) -> Result<Option<Ended>, StoreError> {
        let (host, host_id) = (self.host, self.host_id);
        let age_of = |frame: Option<&Bytes>| Some((now_micros() / 1000) as i64 - frame::time_millis(frame?)?);
        self.lag.read(frames.len(), drained, || age_of(frames.first()), age_of(frames.last()));
        let Batch { events, seqs, notices, kinds } = verify::batch(self.subscriber, host_id, frames).await?;
        let step = self.watermark.take_in(&seqs);
        if step.restarted && self.trouble.tells(Habit::Loses, Instant::now()) {
            tracing::info!(%host, "the firehose begins below its cursor: the host was reset or restored, and its repos are compared");
        }
        let outdated = is_outdated(&notices);
        let ingested = self
            .subscriber
            .store
            .write(Durability::Replayable, move |tx| commit_batch(tx, host_id, events, step, outdated))
            .await?;
        self.lag.stored();
        for (kind, verdict) in kinds.iter().zip(&ingested.verdicts) {
            self.subscriber.metrics.event(*kind, verdict.label());
        }
        self.subscriber.count_rows(&ingested);
        Ok(notices.into_iter().find_map(|notice| match notice {
            Notice::Error { name, message } => {
                Some(Ended::Refused { name: printable(&name, 64), message: printable(&message, 200) })
            }
            Notice::Info(name) => {
                let name = printable(&name, 64);
                match self.trouble.tells(Habit::Informs, Instant::now()) {
                    true => tracing::info!(%host, name, "the host's firehose says"),
                    false => tracing::debug!(%host, name, "the host's firehose says"),
                }
                None
            }
        }))
    }
}

/// Whether the host says that it forgot events since our cursor.
pub(crate) fn is_outdated(notices: &[Notice]) -> bool {
    notices.iter().any(|notice| matches!(notice, Notice::Info(name) if name == "OutdatedCursor"))
}

/// Writes the outcomes of a batch with the cursor.
pub(crate) fn commit_batch(
    tx: &Tx,
    host_id: HostId,
    events: Vec<Event>,
    step: Step,
    outdated: bool,
) -> TxResult<Ingested> {
    if outdated || step.restarted {
        // Nobody says what happened between our cursor and here: compare the whole host.
        tx.relist_host(host_id)?;
    }
    index::ingest(tx, host_id, events, step.store)
}

/// Writes that a connection ended. A host that does not know our cursor was reset: the next connection follows from live, and lists again.
pub(crate) fn end_connection(
    tx: &Tx,
    host_id: HostId,
    words: &str,
    connected: bool,
    future_cursor: bool,
) -> TxResult<()> {
    if future_cursor {
        tx.drop_host_cursor(host_id)?;
    }
    tx.set_slowed(host_id, false)?;
    tx.firehose_down(host_id, words, connected)
}

async fn pause(pace: &Result<usize, Instant>) {
    if let Err(until) = pace {
        tokio::time::sleep_until(*until).await;
    }
}

impl Subscriber {
    /// Counts the rows that a batch changed.
    pub(super) fn count_rows(&self, ingested: &index::Ingested) {
        self.metrics.records_written(ingested.records_written);
        self.metrics.records_deleted(ingested.records_deleted);
        if ingested.over_limit > 0 {
            self.metrics.records_skipped("over_limit", ingested.over_limit);
        }
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
            Ended::Restarted => "restarted",
            Ended::Shutdown => "shutdown",
        }
    }

    /// Whether the connection died of what came, or by the host's will, and may do so again; that we are too slow is no such thing.
    fn is_death(&self) -> bool {
        match self {
            Ended::Closed | Ended::Broken(_) | Ended::Silent(_) => true,
            Ended::Refused { name, .. } => name != "ConsumerTooSlow",
            _ => false,
        }
    }
}
