//! What a socket has at once, as one batch. Invariant: it is bounded, in messages, and in bytes but for its last message.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};

use super::connection::Ended;
use crate::host::FirehoseSocket;
use crate::metrics::Metrics;

/// Messages at most.
pub(super) const BATCH_FRAMES: usize = 1024;
const BATCH_BYTES: usize = 2 << 20;

/// What was read at once.
pub(super) struct Gathered {
    pub frames: Vec<Bytes>,
    /// Frames, and whatever else was sent.
    pub messages: usize,
    pub size_bytes: usize,
    /// Whether the socket had no more.
    pub drained: bool,
    pub ended: Option<Ended>,
}

/// Takes what the socket has without waiting, up to the bounds of a batch.
pub(super) async fn gather(
    metrics: &Metrics,
    socket: &mut FirehoseSocket,
    first: Option<Result<WsMessage, WsError>>,
    most: usize,
) -> Gathered {
    let mut gathered = Gathered { frames: Vec::new(), messages: 0, size_bytes: 0, drained: false, ended: None };
    let mut message = first;
    loop {
        gathered.messages += 1;
        match message {
            None | Some(Ok(WsMessage::Close(_))) => return Gathered { ended: Some(Ended::Closed), ..gathered },
            Some(Err(error)) => return Gathered { ended: Some(Ended::Broken(error)), ..gathered },
            Some(Ok(WsMessage::Binary(frame))) => {
                gathered.size_bytes += frame.len();
                gathered.frames.push(frame);
            }
            Some(Ok(WsMessage::Text(_))) => metrics.bad_frame("text"),
            // Answered by the library, or an answer to ours.
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_))) => {}
        }
        if gathered.messages >= most || gathered.size_bytes >= BATCH_BYTES {
            return gathered;
        }
        message = match socket.next().now_or_never() {
            Some(message) => message,
            None => return Gathered { drained: true, ..gathered },
        };
    }
}
