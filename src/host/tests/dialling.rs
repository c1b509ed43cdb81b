//! The firehose: opened, refused in every way that proxies and hosts have, and its limits.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::host::HostError;
use crate::host::test_server::{client, listen, serve_bytes};
use crate::syntax::Host;

/// A host that accepts one firehose, and gives it to the test with the request's target and User-Agent.
async fn firehose() -> (Host, tokio::task::JoinHandle<(WebSocketStream<TcpStream>, String)>) {
    let (listener, host) = listen().await;
    let accepting = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut asked = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite wants this type")]
        let note = |request: &Request, response: Response| {
            asked = format!("{} {:?}", request.uri(), request.headers()["user-agent"]);
            Ok(response)
        };
        let socket = accept_hdr_async(stream, note).await.expect("a WebSocket");
        (socket, asked)
    });
    (host, accepting)
}

#[tokio::test]
async fn firehose_opens_at_the_cursor() {
    for (cursor, query) in [(None, ""), (Some(0), "?cursor=0"), (Some(i64::MAX), "?cursor=9223372036854775807")] {
        let (host, accepting) = firehose().await;
        let mut socket = client(|_| ()).dial(&host, cursor).await.expect("a firehose");
        let (mut server, asked) = accepting.await.expect("accepted");
        assert_eq!(asked, format!("/xrpc/com.atproto.sync.subscribeRepos{query} \"signpost/test\""));
        server.send(Message::binary(vec![1, 2, 3])).await.expect("sent");
        assert_eq!(socket.next().await.expect("a message").expect("read"), Message::binary(vec![1, 2, 3]));
    }
}

#[tokio::test]
async fn oversized_messages_are_read_up_to_the_hard_limit() {
    let (host, accepting) = firehose().await;
    let client = client(|limits| limits.message_bytes = 10_000);
    let mut socket = client.dial(&host, None).await.expect("a firehose");
    let (mut server, _) = accepting.await.expect("accepted");
    server.send(Message::binary(vec![0; 10_000])).await.expect("sent");
    assert_eq!(socket.next().await.expect("a message").expect("read").len(), 10_000);
    server.send(Message::binary(vec![0; 10_001])).await.expect("sent");
    assert!(matches!(socket.next().await, Some(Err(WsError::Capacity(_)))));
}

#[tokio::test]
async fn refusals_are_typed_and_told_in_words() {
    let cases = [
        ("200 OK", "{}", "no_websocket", "does a proxy in front of it pass WebSocket through?"),
        ("426 Upgrade Required", "", "no_websocket", "does a proxy in front of it pass WebSocket through?"),
        ("400 Bad Request", r#"{"error":"InvalidRequest"}"#, "no_websocket", "answered InvalidRequest (HTTP 400)"),
        ("404 Not Found", "", "no_websocket", "it has no firehose, or a proxy"),
        ("502 Bad Gateway", "<html>", "no_websocket", "the proxy in front of it does not reach it"),
        ("403 Forbidden", "", "no_websocket", "something in front of it refuses us"),
        ("500 Internal Server Error", "", "no_websocket", "answered HTTP 500 to subscribeRepos"),
        ("301 Moved Permanently", "", "redirect", "which is not followed"),
        ("429 Too Many Requests", "", "rate_limited", "limits our rate"),
    ];
    for (status, body, reason, words) in cases {
        let length = body.len();
        let host = serve_bytes(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")).await;
        let error = client(|_| ()).dial(&host, None).await.expect_err(status);
        assert_eq!(error.reason(), reason, "{status}: {error}");
        assert!(error.to_string().contains(words), "{status}: {error}");
    }
    let refused = HostError::NoWebSocket { status: 200, error: None };
    assert!(refused.to_string().starts_with("answered HTTP 200 to subscribeRepos instead of upgrading to WebSocket"));
}

#[tokio::test]
async fn refusal_with_a_time_to_wait_pauses_the_host() {
    let host = serve_bytes("HTTP/1.1 503 Busy\r\nretry-after: 40\r\ncontent-length: 0\r\n\r\n").await;
    let client = client(|_| ());
    let error = client.dial(&host, None).await.expect_err("503");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(40)));
    assert_eq!(client.describe_server(&host).await.expect_err("paused").reason(), "rate_limited");
}

#[tokio::test]
async fn nonsense_and_silence_are_not_a_firehose() {
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: AAAA\r\n\r\n";
    for (answer, reason) in [("", "malformed"), ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"), (upgrade, "malformed")] {
        let host = serve_bytes(answer).await;
        let error = client(|_| ()).dial(&host, None).await.expect_err(answer);
        assert_eq!(error.reason(), reason, "{answer:?}: {error}");
    }
    let soon = Duration::from_millis(50);
    let (silent, host) = listen().await;
    let error = client(|limits| limits.dial_timeout = soon).dial(&host, None).await.expect_err("silence");
    assert_eq!(error, HostError::Timeout { missed: "the firehose was not open", after: soon });
    drop(silent);
    let error = client(|_| ()).dial(&host, None).await.expect_err("nobody listens");
    assert_eq!(error.reason(), "connect", "{error}");
}
