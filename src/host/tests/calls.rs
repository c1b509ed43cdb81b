//! JSON calls: their limits, and what each kind of answer becomes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use serde_json::{Value, json};

use crate::host::test_server::{client, endless_body, listen, serve, serve_bytes, stalled_body};
use crate::host::{HostError, RepoRefusal};
use crate::syntax::Did;

const LIST_REPOS: &str = "/xrpc/com.atproto.sync.listRepos";

/// 100,000 spaces.
const GZIP_BOMB: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xed, 0xc1, 0x31, 0x01, 0x00, 0x00, 0x00, 0xc2, 0xa0,
    0x2a, 0xeb, 0x9f, 0xd2, 0x1a, 0x1e, 0x40, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xaf, 0x06, 0x2d, 0xf0, 0x79, 0xca,
    0xa0, 0x86, 0x01, 0x00,
];
const BROTLI_BOMB: &[u8] = &[0x5b, 0x9f, 0x86, 0x81, 0x5f, 0x02, 0x24, 0x1e, 0x0b, 0x04, 0xb2, 0xfc, 0x02, 0x00];

fn did() -> Did {
    Did::parse("did:web:a.com").expect("a DID")
}

/// What describeServer of a host that gives this answer to everything comes to.
async fn outcome(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Result<(), HostError> {
    let host = serve(Router::new().fallback(any(async || answer))).await;
    client(|limits| limits.json_bytes = 1000).describe_server(&host).await.map(drop)
}

#[tokio::test]
async fn call_names_the_method_its_parameters_and_who_asks() {
    let echo = get(async |uri: Uri, headers: HeaderMap| {
        let seen = json!([
            uri.to_string(),
            headers["user-agent"].to_str().expect("text"),
            headers["accept-encoding"].to_str().expect("text")
        ]);
        json!({"repos": [], "cursor": seen.to_string()}).to_string()
    });
    let host = serve(Router::new().route(LIST_REPOS, echo)).await;
    let page = client(|_| ()).list_repos(&host, Some("a b&c=d"), 500).await.expect("a page");
    let seen: Value = serde_json::from_str(&page.cursor.expect("a cursor")).expect("JSON");
    assert_eq!(seen[0], "/xrpc/com.atproto.sync.listRepos?limit=500&cursor=a+b%26c%3Dd");
    assert_eq!(seen[1], "signpost/test");
    assert_eq!(seen[2], "gzip");
}

#[tokio::test]
async fn compressed_answers_are_read() {
    const GZIP_PAGE: &[u8] = &[
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xab, 0x56, 0x2a, 0x4a, 0x2d, 0xc8, 0x2f, 0x56,
        0xb2, 0x8a, 0x8e, 0xd5, 0x51, 0x4a, 0x2e, 0x2d, 0x2a, 0xce, 0x2f, 0x52, 0xb2, 0x52, 0xca, 0x4b, 0xad, 0x28,
        0x51, 0xaa, 0x05, 0x00, 0x6f, 0x35, 0x70, 0x1f, 0x1c, 0x00, 0x00, 0x00,
    ];
    let host = serve(Router::new().fallback(any(async || ([("content-encoding", "gzip")], GZIP_PAGE)))).await;
    let page = client(|_| ()).list_repos(&host, None, 1000).await.expect("a page");
    assert_eq!(page.cursor.as_deref(), Some("next"));
}

#[tokio::test]
async fn answer_may_not_be_larger_than_the_limit_once_decompressed() {
    let too_large = HostError::TooLarge { limit_bytes: 1000 };
    assert_eq!(outcome(format!("{{\"did\":{:990}}}", 1)).await, Ok(()));
    assert_eq!(outcome(format!("{{\"did\":{:995}}}", 1)).await, Err(too_large.clone()));
    assert_eq!(outcome(([("content-encoding", "gzip")], GZIP_BOMB)).await, Err(too_large.clone()));
    // What was not asked for is not unpacked: a window of brotli may be larger than any limit of ours.
    let unpacked = outcome(([("content-encoding", "br")], BROTLI_BOMB)).await.expect_err("not unpacked");
    assert_eq!(unpacked.reason(), "malformed");
    let endless = serve(Router::new().fallback(any(async || endless_body()))).await;
    let error = client(|limits| limits.json_bytes = 1000).describe_server(&endless).await;
    assert_eq!(error.map(drop), Err(too_large));
}

#[tokio::test]
async fn redirects_are_never_followed() {
    let followed = Arc::new(AtomicUsize::new(0));
    let count = followed.clone();
    let elsewhere = serve(Router::new().fallback(any(async move || {
        count.fetch_add(1, SeqCst);
        "{}"
    })))
    .await;
    for status in [301, 302, 303, 307, 308, 300, 304] {
        let status_code = StatusCode::from_u16(status).expect("a status");
        let error = outcome((status_code, [("location", elsewhere.origin())])).await;
        assert_eq!(error, Err(HostError::Redirect(status)));
    }
    assert_eq!(followed.load(SeqCst), 0);
}

#[tokio::test]
async fn xrpc_errors_are_told_apart_by_name() {
    let refusals = [
        ("RepoNotFound", Some(RepoRefusal::NotFound)),
        ("RepoDeactivated", Some(RepoRefusal::Deactivated)),
        ("RepoTakendown", Some(RepoRefusal::Takendown)),
        ("RepoSuspended", Some(RepoRefusal::Suspended)),
        ("InvalidRequest", None),
    ];
    for (name, refusal) in refusals {
        let body = json!({"error": name, "message": format!("no\u{1b} {}", "x".repeat(500))}).to_string();
        let error = outcome((StatusCode::BAD_REQUEST, body)).await.expect_err(name);
        assert_eq!((error.status(), error.xrpc_name(), error.repo_refusal()), (Some(400), Some(name), refusal));
        let shown = error.to_string();
        assert!(shown.len() < 260 && !shown.contains('\u{1b}'), "{shown}");
    }
}

#[tokio::test]
async fn errors_without_a_readable_name_are_told_by_status() {
    let bodies = ["", "<html>", "{}", "[]", "{\"error\":7}", "{\"error\":\"\"}", "{\"message\":\"gone\"}"];
    for body in bodies {
        assert_eq!(outcome((StatusCode::NOT_FOUND, body)).await, Err(HostError::Status(404)), "{body}");
    }
    let endless = serve(Router::new().fallback(any(async || (StatusCode::BAD_GATEWAY, endless_body())))).await;
    assert_eq!(client(|_| ()).describe_server(&endless).await, Err(HostError::Status(502)));
    assert_eq!(outcome(StatusCode::NO_CONTENT).await, Err(HostError::Status(204)));
    assert_eq!(outcome(StatusCode::SERVICE_UNAVAILABLE).await, Err(HostError::Status(503)));
}

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for_are_malformed() {
    for body in ["", "<html>", "[", "null", "7", "{\"did\":", "\"x\""] {
        let error = outcome(body).await.expect_err(body);
        assert_eq!(error.reason(), "malformed", "{body}");
    }
    let deep = "[".repeat(900);
    assert_eq!(outcome(format!("{{\"did\":{deep}")).await.expect_err("deep").reason(), "malformed");
}

#[tokio::test]
async fn broken_connections_and_nonsense_are_told_apart_from_silence() {
    let cases = [
        ("", "broken"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "broken"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", "broken"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "broken"),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}", "broken"),
    ];
    for (answer, reason) in cases {
        let host = serve_bytes(answer).await;
        let error = client(|_| ()).describe_server(&host).await.expect_err(answer);
        assert_eq!(error.reason(), reason, "{answer:?}: {error}");
    }
    let (listener, nobody) = listen().await;
    drop(listener);
    let error = client(|_| ()).describe_server(&nobody).await.expect_err("nobody listens");
    assert_eq!(error.reason(), "connect", "{error}");
}

#[tokio::test]
async fn silence_ends_at_the_idle_limit_and_a_drip_at_the_total_one() {
    let soon = Duration::from_millis(60);
    let stalled = serve(Router::new().fallback(any(async || stalled_body()))).await;
    let error = client(|limits| limits.idle_timeout = soon).describe_server(&stalled).await;
    assert_eq!(error, Err(HostError::Timeout { missed: "nothing came", after: soon }));

    let (silent, host) = listen().await;
    let error = client(|limits| limits.idle_timeout = soon).describe_server(&host).await;
    assert_eq!(error, Err(HostError::Timeout { missed: "nothing came", after: soon }));
    drop(silent);

    let dripping = serve(Router::new().fallback(any(async || endless_body()))).await;
    let patient = client(|limits| (limits.json_timeout, limits.json_bytes) = (soon, usize::MAX - 1));
    let error = patient.describe_server(&dripping).await;
    assert_eq!(error, Err(HostError::Timeout { missed: "the answer was not complete", after: soon }));
}

#[tokio::test]
async fn overload_with_a_time_to_wait_is_a_rate_limit() {
    let error = outcome((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "9")])).await;
    assert_eq!(error, Err(HostError::RateLimited { retry_after: Some(Duration::from_secs(9)) }));
    assert_eq!(outcome(StatusCode::TOO_MANY_REQUESTS).await, Err(HostError::RateLimited { retry_after: None }));
}

#[tokio::test]
async fn status_and_latest_commit_are_read() {
    let status = get(async || r#"{"did":"did:web:a.com","active":false,"status":"takendown"}"#);
    let commit =
        get(async || r#"{"cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq","rev":"3jzfcijpj2z2a"}"#);
    let routes = Router::new()
        .route("/xrpc/com.atproto.sync.getRepoStatus", status)
        .route("/xrpc/com.atproto.sync.getLatestCommit", commit);
    let (host, client) = (serve(routes).await, client(|_| ()));
    let status = client.get_repo_status(&host, &did()).await.expect("a status");
    assert_eq!((status.active, status.status.as_deref(), status.rev), (false, Some("takendown"), None));
    let other = Did::parse("did:web:b.com").expect("a DID");
    assert_eq!(client.get_repo_status(&host, &other).await.expect_err("another's").reason(), "malformed");
    let commit = client.get_latest_commit(&host, &did()).await.expect("a commit");
    assert_eq!(commit.rev.as_str(), "3jzfcijpj2z2a");
}
