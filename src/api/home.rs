//! `GET /`: one screen of text for whoever looks at the service in a browser; and `_health`.
//! Invariant: however many look, the database is asked for the numbers once in ten seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use serde::Serialize;
use tokio::sync::Mutex;

use super::words::many;
use super::{
    Api, get_host_status, get_latest_commit, get_repo_status, list_hosts, list_repos, list_repos_by_collection,
    request_crawl,
};
use crate::store::{Store, StoreError, Totals};
use crate::syntax::{Host, HostPolicy, NsidPattern};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// More patterns than these would not fit on the screen.
const MOST_PATTERNS: usize = 8;
/// The numbers are as old as this at most.
const COUNT_EVERY: Duration = Duration::from_secs(10);

#[derive(Serialize)]
pub(super) struct Health {
    version: &'static str,
}

pub(super) async fn health() -> Json<Health> {
    Json(Health { version: VERSION })
}

/// How much there is, as it was counted last.
#[derive(Default)]
pub(super) struct Counted(Mutex<Option<(Instant, Totals)>>);

impl Counted {
    async fn totals(&self, store: &Store) -> Result<Totals, StoreError> {
        // Who comes while it is counted waits for that count.
        let mut counted = self.0.lock().await;
        if let Some((at, totals)) = *counted
            && at.elapsed() < COUNT_EVERY
        {
            return Ok(totals);
        }
        let totals = store.totals().await?;
        *counted = Some((Instant::now(), totals));
        Ok(totals)
    }
}

pub(super) async fn show(State(api): State<Arc<Api>>, headers: HeaderMap) -> String {
    // A busy database does not keep the rest from being said.
    let totals = api.counted.totals(&api.store).await.ok();
    text(&api, &origin(&api, &headers), totals)
}

/// Where this service is: as it was told, else as the client called it, so that the lines can be copied.
fn origin(api: &Api, headers: &HeaderMap) -> String {
    if let Some(host) = &api.public_hostname {
        return format!("https://{}", host.as_str());
    }
    let called = headers.get(HOST).and_then(|host| host.to_str().ok());
    let called = called.and_then(|host| Host::parse(host, HostPolicy::AllowPrivate).ok());
    called.map_or_else(|| "https://THIS-HOST".to_owned(), |host| host.origin())
}

fn counted(totals: Option<Totals>) -> String {
    totals.map_or_else(String::new, |Totals { hosts, repos, records }| {
        format!(
            "It follows {} with {}, and knows {} of these collections.\n\n",
            many(hosts, "host"),
            many(repos, "repo"),
            many(records, "record")
        )
    })
}

fn text(api: &Api, origin: &str, totals: Option<Totals>) -> String {
    let patterns = api.store.filter().patterns();
    let example = match patterns.first() {
        None | Some(NsidPattern::Everything) => "app.bsky.feed.post".to_owned(),
        Some(pattern) => pattern.to_string(),
    };
    let mut filter: String = patterns.iter().take(MOST_PATTERNS).map(|pattern| format!("    {pattern}\n")).collect();
    if let Some(more @ 1..) = patterns.len().checked_sub(MOST_PATTERNS) {
        filter.push_str(&format!("    and {more} more\n"));
    }
    format!(
        "\
signpost {VERSION}, a discovery relay for AT Protocol

This service knows which repos hold records of these collections:

{filter}
{counted}Hosts announce themselves. Their repos are fetched once, verified, and followed
live from then on. Records are not served here: ask the repo's own host.

Which repos hold a collection?

    curl '{origin}/xrpc/{by_collection}?collection={example}'

Announce a host:

    curl {origin}/xrpc/{request_crawl} \\
      -H 'Content-Type: application/json' -d '{{\"hostname\":\"hold01.example.com\"}}'

Under /xrpc/:

    GET   {by_collection}  collection (repeatable), limit, cursor
    GET   {list_repos}              limit, cursor
    GET   {repo_status}          did
    GET   {latest_commit}        did
    GET   {list_hosts}              limit, cursor
    GET   {host_status}          hostname
    POST  {request_crawl}           {{hostname}}
    GET   _health
",
        counted = counted(totals),
        by_collection = list_repos_by_collection::NSID,
        list_repos = list_repos::NSID,
        repo_status = get_repo_status::NSID,
        latest_commit = get_latest_commit::NSID,
        list_hosts = list_hosts::NSID,
        host_status = get_host_status::NSID,
        request_crawl = request_crawl::NSID,
    )
}
