//! What every answer has in common: HEAD, compression, a browser's headers, and panics that stay inside.

use std::io::Read;

use axum::http::header::ACCEPT_ENCODING;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;

use super::*;
use crate::api::server::Answers;
use crate::api::surface::{around_internal, without_panic};
use crate::metrics::Sizes;

async fn send(answers: &impl Answers, verb: &str, path: &str, encoding: &str) -> Answer {
    let request = Request::builder().method(verb).uri(path).header(ACCEPT_ENCODING, encoding);
    Answer::of(answers.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
}

/// A world with a list that is long enough to be compressed.
async fn world() -> World {
    let world = World::new("io.atcr.*");
    world.repos(200, &[CAPTAIN]).await;
    world
}

const LIST: &str = "/xrpc/com.atproto.sync.listReposByCollection?collection=io.atcr.hold.captain";
const ROUTES: [&str; 8] = [
    "/",
    "/xrpc/_health",
    LIST,
    "/xrpc/com.atproto.sync.listRepos",
    "/xrpc/com.atproto.sync.getRepoStatus?did=did:web:repo1.example.com",
    "/xrpc/com.atproto.sync.getLatestCommit?did=did:web:nobody.example.com",
    "/xrpc/com.atproto.sync.listHosts?limit=none",
    "/xrpc/com.atproto.sync.getHostStatus?hostname=hold01.example.com",
];

#[tokio::test]
async fn head_has_the_status_and_the_headers_of_get_and_no_body() {
    let world = world().await;
    for encoding in ["identity", "gzip"] {
        for path in ROUTES {
            let (get, head) =
                (send(&world.public, "GET", path, encoding).await, send(&world.public, "HEAD", path, encoding).await);
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(head.headers, get.headers, "{path}");
            assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
            let length = get.header("content-length").map(|length| length.parse().unwrap());
            // Only what is kept compressed has its length known beforehand.
            let is_streamed = get.header("content-encoding").is_some() && path != LIST;
            assert_eq!(length, (!is_streamed).then_some(get.body.len()), "{path}");
        }
    }
    for path in ["/ready", "/metrics", "/hosts"] {
        let (get, head) = (send(&world.internal, "GET", path, "").await, send(&world.internal, "HEAD", path, "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
    }
}

#[tokio::test]
async fn options_is_answered_on_every_route_and_only_the_public_listener_lets_web_pages_in() {
    let world = world().await;
    for path in ROUTES {
        let answer = send(&world.public, "OPTIONS", path, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (204, Some("*")), "{path}");
    }
    for path in ["/ready", "/metrics", "/hosts"] {
        let answer = send(&world.internal, "OPTIONS", path, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (204, Some("GET, HEAD, POST, OPTIONS")), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn long_lists_are_compressed_for_who_accepts_it() {
    let world = world().await;
    let list = LIST;
    let plain = send(&world.public, "GET", list, "identity").await;
    assert_eq!((plain.header("content-encoding"), plain.dids().len()), (None, 200));
    for accepted in ["gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1"] {
        let small = send(&world.public, "GET", list, accepted).await;
        assert_eq!((small.status.as_u16(), small.header("content-encoding")), (200, Some("gzip")));
        assert!(small.header("vary").unwrap().contains("accept-encoding"), "{small:?}");
        assert!(small.body.len() * 3 < plain.body.len(), "{} of {}", small.body.len(), plain.body.len());
        let mut text = String::new();
        flate2::read::GzDecoder::new(small.body.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, plain.text());
    }
    for (path, accepted) in [(list, "br"), (list, "gzip;q=0"), ("/xrpc/_health", "gzip")] {
        assert_eq!(send(&world.public, "GET", path, accepted).await.header("content-encoding"), None, "{accepted}");
    }
}

#[tokio::test]
async fn a_browser_is_told_to_run_embed_and_guess_nothing() {
    let world = world().await;
    let mut answers = Vec::new();
    for path in ROUTES.into_iter().chain(["/nothing/here", "/xrpc/com.example.nothing"]) {
        answers.push(send(&world.public, "GET", path, "").await);
    }
    answers.push(send(&world.internal, "GET", "/hosts", "").await);
    for answer in answers {
        for (header, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(header), Some(value), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_panic_is_a_500_that_says_nothing_and_is_counted() {
    let metrics = Metrics::new();
    let secret = async || -> &'static str { panic!("the secret of row 7") };
    let router =
        Router::new().route("/", get(secret)).layer(middleware::from_fn_with_state(metrics.clone(), around_internal));
    let answer = send(&router, "GET", "/", "").await;
    assert_eq!(answer.error(500, "InternalServerError"), "internal error");
    assert!(metrics.render(&Sizes::default()).contains("signpost_http_request_panics_total 1\n"));
    let world = world().await;
    let broken = world.store.read(|_| -> crate::store::TxResult<()> { panic!("in a closure on the database") });
    let answer = without_panic(&metrics, async { axum::Json(broken.await.is_ok()).into_response() }).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(send(&world.public, "GET", LIST, "").await.dids().len(), 200, "the next one is answered");
}
