//! `com.atproto.sync.requestCrawl`: a host announces itself.
//!
//! Answers once the host and its job are durable, and never waits for the network: whether the host exists is
//! found out by crawl.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use super::Api;
use super::error::ApiError;
use crate::store::CrawlRequest;
use crate::syntax::Host;

pub(super) const NSID: &str = "com.atproto.sync.requestCrawl";
const LARGEST_BODY_BYTES: usize = 4 * 1024;
/// So much of a body that is too large is still read, so that its sender is there to see the 413.
const LARGEST_READ_BYTES: usize = 256 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    require_json(&headers)?;
    let body = timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the body did not arrive within 10 s")
    })??;
    let host = parse(&body, &api)?;
    match api.store.request_crawl(&host).await? {
        CrawlRequest::New => tracing::info!("new host {}", host.as_str()),
        CrawlRequest::Woken => tracing::info!("host {} asks again, and is tried at once", host.as_str()),
        CrawlRequest::Known => tracing::debug!("host {} asks again", host.as_str()),
    }
    Ok(Json(Value::Object(serde_json::Map::new())))
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

fn parse(body: &[u8], api: &Api) -> Result<Host, ApiError> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid_request(format!("the body is not JSON: {error}")))?;
    let hostname = match body.get("hostname") {
        Some(Value::String(hostname)) => hostname,
        Some(_) => return Err(ApiError::invalid_request("hostname must be a string")),
        None => return Err(ApiError::invalid_request("hostname is required")),
    };
    let host =
        Host::parse(hostname, api.policy).map_err(|error| ApiError::invalid_request(format!("hostname: {error}")))?;
    if api.public_hostname.as_ref().is_some_and(|own| own.as_str() == host.as_str()) {
        return Err(ApiError::invalid_request("hostname: that is this service itself"));
    }
    Ok(host)
}
