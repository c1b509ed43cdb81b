//! The JSON body of a POST: declared as such, small, and there in time.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use super::error::ApiError;

const LARGEST_BODY_BYTES: usize = 4 * 1024;
/// So much of a body that is too large is still read, so that its sender is there to see the 413.
const LARGEST_READ_BYTES: usize = 256 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body.
#[derive(Debug)]
pub(super) struct JsonBody(Value);

impl JsonBody {
    /// Reads the body of a request.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<JsonBody, ApiError> {
        require_json(headers)?;
        let body = timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the body did not arrive within 10 s")
        })??;
        let json = serde_json::from_slice(&body)
            .map_err(|error| ApiError::invalid_request(format!("the body is not JSON: {error}")))?;
        Ok(JsonBody(json))
    }

    /// A field that must be a string.
    pub(super) fn text(&self, name: &str) -> Result<&str, ApiError> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(ApiError::invalid_request(format!("{name} must be a string"))),
            None => Err(ApiError::invalid_request(format!("{name} is required"))),
        }
    }

    /// A field that may be there: a whole number from 0 on, or null.
    pub(super) fn count(&self, name: &str) -> Result<Option<Option<i64>>, ApiError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => match value.as_i64() {
                Some(count) if count >= 0 => Ok(Some(Some(count))),
                _ => Err(ApiError::invalid_request(format!("{name} must be a whole number from 0 on, or null"))),
            },
        }
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must be JSON, under Content-Type: application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message))
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut read_bytes = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::invalid_request("the body broke off"))?;
        read_bytes += chunk.len();
        if read_bytes > LARGEST_READ_BYTES {
            break;
        }
        if read_bytes <= LARGEST_BODY_BYTES {
            bytes.extend_from_slice(&chunk);
        }
    }
    if read_bytes > LARGEST_BODY_BYTES {
        let message = format!("the body may have at most {LARGEST_BODY_BYTES} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message));
    }
    Ok(bytes)
}
