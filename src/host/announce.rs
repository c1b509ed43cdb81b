//! Announcing a host to relays, as the host itself would: `com.atproto.sync.requestCrawl`.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{StatusCode, header};
use serde_json::json;
use url::Url;

use super::body::{self, Deadline};
use super::client::{broken, error_answer, root_cause};
use super::{HostError, Limits, tls};

/// A relay may probe the host before it answers.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Announces hosts to relays that the operator named: wherever they are, so the guard is not asked.
pub struct Announcer {
    http: reqwest::Client,
    limits: Limits,
}

impl Announcer {
    /// Fails when the User-Agent cannot stand in a header.
    pub fn new(user_agent: &str) -> Result<Announcer, reqwest::Error> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(tls::roots()).as_ref().clone())
            .user_agent(user_agent)
            // A POST that is redirected arrives as a GET, or at somebody else's.
            .redirect(Policy::none())
            .http1_only()
            .build()?;
        Ok(Announcer { http, limits: Limits::default() })
    }

    /// Has the relay at this origin crawl the host of this name. The relay judges the name.
    pub async fn request_crawl(&self, relay: &Url, hostname: &str) -> Result<(), HostError> {
        let url = relay.join("/xrpc/com.atproto.sync.requestCrawl");
        let url = url.map_err(|error| HostError::Forbidden(error.to_string()))?;
        let deadline = Deadline::new(TIMEOUT, Some(TIMEOUT));
        let request = self
            .http
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(json!({ "hostname": hostname }).to_string());
        let response = deadline.step(request.send()).await?.map_err(|error| match error.is_connect() {
            true => HostError::Connect(root_cause(&error)),
            false => broken(&error),
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(HostError::Redirect(status.as_u16())),
            StatusCode::TOO_MANY_REQUESTS => Err(HostError::RateLimited { retry_after: retry_after(&response) }),
            status => {
                let body = body::read(response, self.limits.error_bytes, &deadline).await;
                Err(error_answer(status.as_u16(), &body.unwrap_or_default()))
            }
        }
    }
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
