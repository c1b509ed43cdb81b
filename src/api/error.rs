//! The errors of the public API: an HTTP status and `{error, message}` as JSON
//! (<https://atproto.com/specs/xrpc#error-responses>).
//!
//! Invariant: what goes wrong inside is logged here once, and never reaches the client.

use std::borrow::Cow;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::metrics::Lines;
use crate::store::StoreError;

/// What fails for one request fails for the next.
static LINES: Lines = Lines::a_minute(10);

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry_after_seconds: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ErrorBody {
    error: &'static str,
    message: Cow<'static, str>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: &'static str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError { status, body: ErrorBody { error, message: message.into() }, retry_after_seconds: None }
    }

    /// 400 `InvalidRequest`: the message says what is wrong with the request.
    pub(super) fn invalid_request(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::named("InvalidRequest", message)
    }

    /// 400 with an error name of the method's lexicon.
    pub(super) fn named(error: &'static str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, error, message)
    }

    /// 500 that says nothing of what went wrong.
    pub(super) fn internal() -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "internal error")
    }

    /// 503 that says when to come back.
    pub(super) fn unavailable(error: &'static str, message: &'static str, retry_after_seconds: u32) -> ApiError {
        let answer = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error, message);
        ApiError { retry_after_seconds: Some(retry_after_seconds), ..answer }
    }

    /// 429 that says which limit was met, and when to come back.
    pub(super) fn too_many(message: String, retry_after_seconds: u32) -> ApiError {
        let answer = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", message);
        ApiError { retry_after_seconds: Some(retry_after_seconds), ..answer }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::Full => {
                ApiError::unavailable("DiskFull", "this service has no room for more at the moment", 60)
            }
            StoreError::Slow => ApiError::unavailable("QueryTimeout", "the query took too long", 10),
            error => {
                if let Some(left_out) = LINES.take() {
                    tracing::error!(%error, left_out, "a request failed: signpost check looks at the database");
                }
                ApiError::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
