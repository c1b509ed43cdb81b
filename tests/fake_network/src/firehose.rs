//! A host's event history, and the WebSocket that replays it and follows it.

use std::collections::VecDeque;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;

use crate::fault::Fault;
use crate::frame;
use crate::host::FakeHost;

const BATCH: usize = 256;
const POLICY_VIOLATION: u16 = 1008;

/// An event as it goes out.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) seq: i64,
    pub(crate) did: Option<String>,
    pub(crate) frame: Bytes,
}

/// The events that a subscriber can still ask for, in the order of seq.
#[derive(Clone, Default)]
pub(crate) struct History {
    pub(crate) events: VecDeque<Event>,
    pub(crate) last_seq: i64,
    /// The highest seq that was forgotten.
    pub(crate) forgotten: i64,
}

impl History {
    /// A history whose first event has this seq; what lies before is forgotten.
    pub(crate) fn starting_at(first_seq: i64) -> History {
        History { events: VecDeque::new(), last_seq: first_seq - 1, forgotten: first_seq - 1 }
    }

    fn after(&self, seq: i64) -> Vec<Event> {
        let start = self.events.partition_point(|event| event.seq <= seq);
        self.events.iter().skip(start).take(BATCH).cloned().collect()
    }

    pub(crate) fn forget(&mut self, up_to: i64) {
        self.events.retain(|event| event.seq > up_to);
        self.forgotten = up_to;
    }
}

/// Why a connection ends; the socket is then dropped without a closing handshake.
struct Gone;

impl From<axum::Error> for Gone {
    fn from(_: axum::Error) -> Gone {
        Gone
    }
}

/// Serves one subscriber until it leaves, the host stops or a fault ends it.
pub(crate) async fn serve_subscriber(mut socket: WebSocket, host: FakeHost, cursor: Option<i64>) {
    let stop = host.stop_token();
    if host.fires(&Fault::AcceptThenClose, None) {
        return;
    }
    if host.fires(&Fault::SilentSocket, None) {
        let _counted = Counted::new(&host);
        return stop.cancelled().await;
    }
    let Some(position) = start(&mut socket, &host, cursor).await else {
        return;
    };
    // From here on it hears what comes.
    let _counted = Counted::new(&host);
    stop.run_until_cancelled(follow(&mut socket, &host, position)).await;
}

/// Where the subscriber's events begin: after the seq that is returned.
async fn start(socket: &mut WebSocket, host: &FakeHost, cursor: Option<i64>) -> Option<i64> {
    let (last, forgotten) = host.with_history(|history| (history.last_seq, history.forgotten));
    match cursor {
        None => Some(last),
        Some(_) if host.fires(&Fault::ReplaysAll, None) => Some(0),
        Some(future) if future > last && host.fires(&Fault::NoFutureCursor, None) => Some(future),
        Some(future) if future > last && host.fires(&Fault::LiveFromFutureCursor, None) => Some(last),
        Some(future) if future > last => {
            socket.send(binary(frame::error("FutureCursor"))).await.ok()?;
            let close = CloseFrame { code: POLICY_VIOLATION, reason: "FutureCursor".into() };
            socket.send(Message::Close(Some(close))).await.ok()?;
            None
        }
        Some(old) if 0 < old && old < forgotten => {
            socket.send(binary(frame::info("OutdatedCursor"))).await.ok()?;
            Some(old)
        }
        Some(known) => Some(known),
    }
}

async fn follow(socket: &mut WebSocket, host: &FakeHost, mut position: i64) -> Result<(), Gone> {
    let mut latest = host.latest().subscribe();
    loop {
        latest.mark_unchanged();
        let mut batch = host.with_history(|history| history.after(position));
        if let Some(last) = batch.last() {
            position = last.seq;
            if batch.len() > 1 && host.fires(&Fault::ReversedEvents, None) {
                batch.reverse();
            }
            for event in batch {
                send(socket, host, event).await?;
            }
            continue;
        }
        tokio::select! {
            changed = latest.changed() => changed.map_err(|_| Gone)?,
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                Some(Ok(_)) => {}
            },
        }
    }
}

async fn send(socket: &mut WebSocket, host: &FakeHost, event: Event) -> Result<(), Gone> {
    let fires = |fault| host.fires(&fault, event.did.as_deref());
    if fires(Fault::Disconnect) {
        return Err(Gone);
    }
    if fires(Fault::ErrorFrame) {
        socket.send(binary(frame::error("ConsumerTooSlow"))).await?;
        return Err(Gone);
    }
    if fires(Fault::GarbageFrame) {
        socket.send(binary(vec![0xff; 32])).await?;
    }
    if fires(Fault::TextFrame) {
        socket.send(Message::text("hello")).await?;
    }
    if fires(Fault::UnknownType) {
        socket.send(binary(frame::unknown_type(event.seq))).await?;
    }
    if fires(Fault::Info) {
        socket.send(binary(frame::info("JustSoYouKnow"))).await?;
    }
    if fires(Fault::OversizedFrame) {
        socket.send(binary(vec![0; 6_000_000])).await?;
    }
    if fires(Fault::DuplicatedEvent) {
        socket.send(Message::Binary(event.frame.clone())).await?;
    }
    let told = if fires(Fault::HourOld) { frame::an_hour_earlier(&event.frame).into() } else { event.frame };
    Ok(socket.send(Message::Binary(told)).await?)
}

fn binary(frame: Vec<u8>) -> Message {
    Message::Binary(frame.into())
}

/// Counts a subscriber for as long as it lives.
struct Counted<'a>(&'a FakeHost);

impl Counted<'_> {
    fn new(host: &FakeHost) -> Counted<'_> {
        host.subscriber_count().send_modify(|count| *count += 1);
        Counted(host)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.subscriber_count().send_modify(|count| *count -= 1);
    }
}
