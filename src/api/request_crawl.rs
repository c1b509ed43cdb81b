//! `com.atproto.sync.requestCrawl`: a host announces itself.
//!
//! Answers once the host and its job are durable, and never waits for the network: whether the host exists is
//! found out by crawl. A stranger makes us connect to a name of his choice, so what he may ask is bounded: calls
//! by client, new hosts by day.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::Api;
use super::client_address::Client;
use super::error::ApiError;
use super::json_body::JsonBody;
use crate::store::{Admission, CrawlRequest, NewHosts};
use crate::syntax::Host;

pub(super) const NSID: &str = "com.atproto.sync.requestCrawl";
/// For a host that is being forgotten.
const FORGOTTEN_SOON_SECONDS: u32 = 60;

pub(super) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Result<Json<Value>, ApiError> {
    if !api.quotas.public_request_crawl {
        api.metrics.request_crawl("off");
        let message = "this service takes hosts from its operator only: ask them to add yours";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "Forbidden", message));
    }
    let (head, body) = request.into_parts();
    let client = Client::of(&head.extensions, &head.headers, &api.quotas.trusted_proxies);
    if let Err(wait) = api.request_crawl_buckets.take(client) {
        api.metrics.request_crawl("client_limit");
        return Err(too_many_calls(api.quotas.request_crawl_per_minute, wait));
    }
    let host = read_host(&api, &JsonBody::read(&head.headers, body).await?)?;
    let admission = match host.is_local() || api.quotas.trusted_domains.iter().any(|domain| domain.covers(&host)) {
        true => Admission::Free,
        false => Admission::Budgeted {
            in_all: api.quotas.new_hosts_per_day,
            per_domain: api.quotas.new_hosts_per_domain_per_day,
        },
    };
    admit(&api, &host, admission).await
}

/// The same without quotas, for the operator.
pub(super) async fn handle_admin(api: &Api, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (head, body) = request.into_parts();
    let host = read_host(api, &JsonBody::read(&head.headers, body).await?)?;
    admit(api, &host, Admission::Free).await
}

async fn admit(api: &Api, host: &Host, admission: Admission) -> Result<Json<Value>, ApiError> {
    let answer = api.store.request_crawl(host, admission).await?;
    api.metrics.request_crawl(answer.label());
    match answer {
        CrawlRequest::New => tracing::info!(%host, "new host"),
        CrawlRequest::Woken => tracing::debug!(%host, "the host asks again, and is tried at once"),
        CrawlRequest::Known => tracing::debug!(%host, "the host asks again"),
        CrawlRequest::Banned => {
            return Err(ApiError::named(
                "HostBanned",
                format!("{host} is banned here: ask the operator of this service"),
            ));
        }
        CrawlRequest::BeingForgotten => {
            let message = "this host is being forgotten here: ask again in a minute";
            return Err(ApiError::unavailable("HostBeingForgotten", message, FORGOTTEN_SOON_SECONDS));
        }
        CrawlRequest::OverBudget(budget, retry_after) => {
            let (limit, of) = match budget {
                NewHosts::InAll => (api.quotas.new_hosts_per_day, String::new()),
                NewHosts::OfDomain => {
                    (api.quotas.new_hosts_per_domain_per_day, format!(" of {}", host.registrable_domain()))
                }
            };
            let message =
                format!("this service takes {limit} new hosts{of} in 24 hours: ask again later, or its operator");
            return Err(ApiError::too_many(message, retry_after.0));
        }
    }
    Ok(Json(Value::Object(serde_json::Map::new())))
}

fn too_many_calls(per_minute: u32, wait: Duration) -> ApiError {
    let message = format!("{NSID} may be called {per_minute} times a minute by one client");
    ApiError::too_many(message, u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX))
}

fn read_host(api: &Api, body: &JsonBody) -> Result<Host, ApiError> {
    let host = Host::parse(body.text("hostname")?, api.policy)
        .map_err(|error| ApiError::invalid_request(format!("hostname: {error}")))?;
    if api.public_hostname.as_ref().is_some_and(|own| own.as_str() == host.as_str()) {
        return Err(ApiError::invalid_request("hostname: that is this service itself"));
    }
    Ok(host)
}

impl CrawlRequest {
    /// The metric label.
    fn label(self) -> &'static str {
        match self {
            CrawlRequest::New => "new",
            CrawlRequest::Known => "known",
            CrawlRequest::Woken => "woken",
            CrawlRequest::Banned => "banned",
            CrawlRequest::BeingForgotten => "being_forgotten",
            CrawlRequest::OverBudget(NewHosts::InAll, _) => "new_hosts_limit",
            CrawlRequest::OverBudget(NewHosts::OfDomain, _) => "domain_limit",
        }
    }
}
