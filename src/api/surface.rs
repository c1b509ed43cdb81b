//! What every answer of both listeners has in common: no panic gets out, and a browser is told to do nothing with it but show it.

use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use super::error::ApiError;
use crate::metrics::Metrics;

/// A smaller answer would hardly get smaller.
pub(super) const LEAST_COMPRESSED_BYTES: usize = 1024;
const VERBS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// gzip at its cheapest level, for clients that accept it: DIDs shrink to half at any level.
pub(super) fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(LEAST_COMPRESSED_BYTES as u16))
}

/// Surrounds every request of the internal listener. It has no CORS: the answer to a browser's preflight allows nothing.
pub(super) async fn around_internal(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        (StatusCode::NO_CONTENT, [(ALLOW, VERBS)]).into_response()
    } else {
        without_panic(&metrics, next.run(request)).await
    };
    secure(&mut response);
    response
}

/// The handler's answer; 500 if it panics. The panic's own words went to stderr where it happened.
pub(super) async fn without_panic(metrics: &Metrics, answer: impl Future<Output = Response>) -> Response {
    // What a handler leaves half done is its own: rows are changed in transactions, and locks are taken whatever their state.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        metrics.request_panicked();
        ApiError::internal().into_response()
    })
}

/// Adds the headers that tell a browser to run, embed and guess nothing; the operator's page says by itself what of it may run.
pub(super) fn secure(response: &mut Response) {
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(value);
    }
}
