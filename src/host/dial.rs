//! Opens a host's firehose, `com.atproto.sync.subscribeRepos`, over a connection that the guard has judged.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{HeaderValue, USER_AGENT};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::either::Either;

use super::client::error_answer;
use super::error::cause_in_words;
use super::read_ahead::ReadAhead;
use super::{Client, HostError};
use crate::syntax::{Host, Scheme, printable};

/// A firehose: plain in development, TLS otherwise.
pub type FirehoseSocket = WebSocketStream<ReadAhead<Either<TcpStream, Box<TlsStream<TcpStream>>>>>;

/// Small, for there is one per host and most of them are quiet; it grows to what a frame needs.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// We send pings and closes only.
const WRITE_BUFFER_BYTES: usize = 1 << 10;
const MAX_WRITE_BUFFER_BYTES: usize = 64 << 10;

impl Client {
    /// Connects to the firehose, which starts after `host_cursor`, or with what comes next when there is none.
    pub async fn dial(&self, host: &Host, host_cursor: Option<i64>) -> Result<Box<FirehoseSocket>, HostError> {
        let timeout = self.limits.dial_timeout;
        // In a box that goes with the dialling, as the socket is in one: the task of a connection has room for all that it ever holds.
        let dialled = tokio::time::timeout(timeout, Box::pin(self.dial_patiently(host, host_cursor))).await;
        dialled.map_err(|_| HostError::Timeout { missed: "the firehose was not open", after: timeout })?
    }

    async fn dial_patiently(&self, host: &Host, host_cursor: Option<i64>) -> Result<Box<FirehoseSocket>, HostError> {
        self.permit(host)?;
        let budget = self.budget(host);
        // Without a slot of the budget: requests that take their time do not keep the firehose closed.
        budget.ready().await?;
        let request = self.firehose_request(host, host_cursor)?;
        let tcp = self.connect(host).await?;
        let stream = match host.scheme() {
            Scheme::Http => Either::Left(tcp),
            Scheme::Https => Either::Right(Box::new(self.encrypt(host, tcp).await?)),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
            .max_frame_size(Some(self.limits.message_bytes))
            .max_message_size(Some(self.limits.message_bytes));
        match client_async_with_config(request, ReadAhead::new(stream), Some(config)).await {
            Ok((socket, _)) => Ok(Box::new(socket)),
            Err(WsError::Http(response)) => {
                let status = response.status().as_u16();
                let pause = budget.note(status, response.headers());
                Err(refused(status, pause, response.body().as_deref().unwrap_or_default()))
            }
            Err(WsError::Io(error)) => Err(HostError::Broken(cause_in_words(&error))),
            Err(error) => Err(HostError::Malformed(printable(&error.to_string(), 200))),
        }
    }

    fn firehose_request(&self, host: &Host, host_cursor: Option<i64>) -> Result<Request, HostError> {
        let cursor = host_cursor.map(|seq| format!("?cursor={seq}")).unwrap_or_default();
        let url = format!("{}/xrpc/com.atproto.sync.subscribeRepos{cursor}", host.websocket_origin());
        let impossible = |error: &dyn std::fmt::Display| HostError::Forbidden(format!("{host}: {error}"));
        let mut request = url.into_client_request().map_err(|error| impossible(&error))?;
        let user_agent = HeaderValue::from_str(&self.user_agent).map_err(|error| impossible(&error))?;
        request.headers_mut().insert(USER_AGENT, user_agent);
        Ok(request)
    }

    /// Tries the addresses that the guard lets through one after the other.
    async fn connect(&self, host: &Host) -> Result<TcpStream, HostError> {
        let addresses = self.guard.resolve(host.name(), host.port()).await?;
        let patience = self.limits.connect_timeout / addresses.len().clamp(1, 4) as u32;
        let mut last = HostError::Resolve("it has no address".into());
        for address in addresses {
            match connect_to(address, patience).await {
                Ok(stream) => {
                    let peer = stream.peer_addr().map_err(|error| HostError::Broken(cause_in_words(&error)))?;
                    self.guard.check(host.name(), peer.ip())?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn encrypt(&self, host: &Host, tcp: TcpStream) -> Result<TlsStream<TcpStream>, HostError> {
        let name = match host.ip() {
            Some(ip) => ServerName::from(ip),
            None => ServerName::try_from(host.name().to_owned())
                .map_err(|error| HostError::Forbidden(format!("{host}: {error}")))?,
        };
        let connecting = TlsConnector::from(self.tls.clone()).connect(name, tcp);
        let timeout = self.limits.connect_timeout;
        let connected = tokio::time::timeout(timeout, connecting).await;
        let connected = connected.map_err(|_| HostError::Timeout { missed: "no TLS connection", after: timeout })?;
        connected.map_err(|error| HostError::Connect(cause_in_words(&error)))
    }
}

async fn connect_to(address: SocketAddr, timeout: Duration) -> Result<TcpStream, HostError> {
    let connected = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
    let stream = connected
        .map_err(|_| HostError::Timeout { missed: "no connection", after: timeout })?
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    stream.map_err(|error| HostError::Connect(cause_in_words(&error)))
}

fn refused(status: u16, pause: Option<Duration>, body: &[u8]) -> HostError {
    match status {
        300..=399 => HostError::Redirect(status),
        429 => HostError::RateLimited { retry_after: pause },
        503 if pause.is_some() => HostError::RateLimited { retry_after: pause },
        status => HostError::NoWebSocket { status, error: error_answer(status, body).xrpc_name().map(str::to_owned) },
    }
}
