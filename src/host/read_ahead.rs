//! A firehose's bytes, read in long pieces: one call of the system for many frames, however small the room of those who take them.
//! Invariant: a socket holds memory only for what was read and not taken yet, so a quiet one holds none.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Some eight frames. A host that is slowed keeps one until it is read on, so thousands of them must be affordable.
const PIECE_BYTES: usize = 16 << 10;

thread_local! {
    /// Room for the next piece: a thread reads one at a time.
    static ROOM: Cell<BytesMut> = Cell::default();
}

/// A socket that is read in pieces.
#[derive(Debug)]
pub struct ReadAhead<S> {
    socket: S,
    /// Read, and not taken yet.
    ahead: BytesMut,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(socket: S) -> ReadAhead<S> {
        ReadAhead { socket, ahead: BytesMut::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            let mut room = ROOM.take();
            room.reserve(PIECE_BYTES);
            let read = poll_read_buf(Pin::new(&mut this.socket), context, &mut room);
            if !matches!(read, Poll::Ready(Ok(1..))) {
                ROOM.set(room);
                ready!(read)?;
                return Poll::Ready(Ok(()));
            }
            this.ahead = room;
        }
        let taken = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..taken]);
        this.ahead.advance(taken);
        if this.ahead.is_empty() {
            ROOM.set(std::mem::take(&mut this.ahead));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_once_in_order_and_what_is_taken_takes_no_memory() {
        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut host, ours) = tokio::io::duplex(100_000);
        let mut socket = ReadAhead::new(ours);
        let sending = tokio::spawn({
            let sent = sent.clone();
            async move { host.write_all(&sent).await }
        });
        let (mut received, mut piece) = (Vec::new(), [0; 1000]);
        loop {
            match socket.read(&mut piece).await.expect("open") {
                0 => break,
                taken => received.extend_from_slice(&piece[..taken]),
            }
        }
        sending.await.expect("it ends").expect("all of it was read");
        assert!(received == sent);
        assert_eq!(socket.ahead.capacity(), 0);
    }

    #[tokio::test]
    async fn a_socket_that_is_waited_for_holds_nothing() {
        let (mut host, ours) = tokio::io::duplex(100);
        let mut socket = ReadAhead::new(ours);
        let mut piece = [0; 3];
        assert!(tokio::select! { biased; _ = socket.read(&mut piece) => false, () = std::future::ready(()) => true });
        assert_eq!(socket.ahead.capacity(), 0);
        host.write_all(b"four").await.expect("open");
        assert_eq!(socket.read(&mut piece).await.expect("open"), 3);
        assert_eq!(&socket.ahead[..], b"r");
    }
}
