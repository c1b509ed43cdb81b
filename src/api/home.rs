//! `GET /`: one screen of text for whoever looks at the service in a browser; and `_health`.

use axum::Json;
use serde::Serialize;

use super::{
    Api, get_host_status, get_latest_commit, get_repo_status, list_hosts, list_repos, list_repos_by_collection,
    request_crawl,
};
use crate::syntax::NsidPattern;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// More patterns than these would not fit on the screen.
const MOST_PATTERNS: usize = 8;

#[derive(Serialize)]
pub(super) struct Health {
    version: &'static str,
}

pub(super) async fn health() -> Json<Health> {
    Json(Health { version: VERSION })
}

/// The text of `GET /`, the same for the life of the process.
pub(super) fn text(api: &Api) -> String {
    let origin = match &api.public_hostname {
        Some(host) => format!("https://{}", host.as_str()),
        None => "https://THIS-HOST".to_owned(),
    };
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
Hosts announce themselves. Their repos are fetched once, verified, and followed
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
        by_collection = list_repos_by_collection::NSID,
        list_repos = list_repos::NSID,
        repo_status = get_repo_status::NSID,
        latest_commit = get_latest_commit::NSID,
        list_hosts = list_hosts::NSID,
        host_status = get_host_status::NSID,
        request_crawl = request_crawl::NSID,
    )
}
