//! `com.atproto.sync.listReposByCollection`: the repos that hold a record of the asked collections.
//!
//! The answer is whole or it is an error: clients fall back to their next relay on an error, and would
//! believe a partial list.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;

use super::Api;
use super::cursor::CursorScope;
use super::error::ApiError;
use super::query::Query;
use crate::store::{Coverage, RepoId};
use crate::syntax::NsidPattern;

pub(super) const NSID: &str = "com.atproto.sync.listReposByCollection";
const MOST_COLLECTIONS: usize = 50;
/// What a did:plc takes in the answer, and what stands around the rows.
const ROW_BYTES: usize = 43;
const FRAME_BYTES: usize = 64;

pub(super) async fn handle(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    let text = request.uri().query().unwrap_or_default();
    // Read before the lists are: what is written meanwhile makes the page an old one.
    let version = api.store.lists_version();
    if let Some(page) = api.pages.get(text, version) {
        return Ok(page.answer(request.headers()));
    }
    let asked = Asked::of(&api, request.uri())?;
    let page = api.pages.get_or_make(text, version, || asked.answer(&api)).await?;
    Ok(page.answer(request.headers()))
}

/// A request that can be answered.
struct Asked {
    patterns: Vec<NsidPattern>,
    limit: usize,
    after: RepoId,
    scope: CursorScope,
}

impl Asked {
    fn of(api: &Api, uri: &Uri) -> Result<Asked, ApiError> {
        let query = Query::of(uri);
        let patterns = patterns(&query)?;
        let limit = query.limit(1..=2000, 500)?;
        let scope = scope(api, &patterns);
        let after = RepoId(scope.read(query.cursor()?.as_deref())?);
        require_coverage(api, &patterns)?;
        Ok(Asked { patterns, limit, after, scope })
    }

    async fn answer(self, api: &Api) -> Result<Vec<u8>, ApiError> {
        let Asked { patterns, limit, after, scope } = self;
        let text = begin(limit);
        let page = api.store.list_repos_by_collection(patterns, after, limit, text, write_repo).await?;
        Ok(end(page.text, page.next_after.map(|last| scope.write(last.0)).as_deref()))
    }
}

fn patterns(query: &Query<'_>) -> Result<Vec<NsidPattern>, ApiError> {
    let collections = query.all("collection")?;
    if collections.is_empty() {
        return Err(ApiError::invalid_request("collection is required"));
    }
    if collections.len() > MOST_COLLECTIONS {
        let message = format!("collection may be given at most {MOST_COLLECTIONS} times");
        return Err(ApiError::invalid_request(message));
    }
    collections
        .iter()
        .map(|text| NsidPattern::parse(text).map_err(|error| ApiError::invalid_request(format!("collection: {error}"))))
        .collect()
}

/// A cursor is bound to the set of collections: their order and repetition do not matter.
fn scope(api: &Api, patterns: &[NsidPattern]) -> CursorScope {
    let mut texts: Vec<String> = patterns.iter().map(NsidPattern::to_string).collect();
    texts.sort_unstable();
    texts.dedup();
    let list = std::iter::once(NSID).chain(texts.iter().map(String::as_str));
    CursorScope::new(api.store.instance_id(), list)
}

fn require_coverage(api: &Api, patterns: &[NsidPattern]) -> Result<(), ApiError> {
    let mut reindexing = false;
    for pattern in patterns {
        match api.store.coverage(pattern) {
            Coverage::Complete => {}
            Coverage::Reindexing => reindexing = true,
            Coverage::NotCovered => {
                let filter = api.store.filter();
                return Err(ApiError::invalid_request(format!(
                    "collection {pattern} is not indexed here: this service indexes {filter}"
                )));
            }
        }
    }
    if reindexing {
        return Err(ApiError::unavailable(
            "IndexIncomplete",
            "this service was set to index more collections, and is still fetching the known repos again: \
             the list would not be whole",
            60,
        ));
    }
    Ok(())
}

fn begin(limit: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(FRAME_BYTES + limit * ROW_BYTES);
    text.extend_from_slice(b"{\"repos\":[");
    text
}

/// A row of the answer, with the comma behind it. A DID holds nothing that JSON escapes.
#[inline]
fn write_repo(text: &mut Vec<u8>, did: &[u8]) {
    text.extend_from_slice(b"{\"did\":\"");
    text.extend_from_slice(did);
    text.extend_from_slice(b"\"},");
}

/// `{"repos":[{"did":"..."}],"cursor":"..."}`
fn end(mut text: Vec<u8>, cursor: Option<&str>) -> Vec<u8> {
    text.pop_if(|last| *last == b',');
    match cursor {
        Some(cursor) => {
            [b"],\"cursor\":\"", cursor.as_bytes(), b"\"}"].iter().for_each(|part| text.extend_from_slice(part))
        }
        None => text.extend_from_slice(b"]}"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_lexicons_json() {
        for (count, cursor) in [(0, None), (1, None), (1, Some("abc-_1")), (3, None), (3, Some("abc-_1"))] {
            let mut text = begin(count);
            (1..=count).for_each(|id| write_repo(&mut text, format!("did:web:host{id}.example.com").as_bytes()));
            let json: serde_json::Value = serde_json::from_slice(&end(text, cursor)).unwrap();
            let repos = json["repos"].as_array().unwrap();
            assert_eq!(repos.len(), count);
            assert!(repos.iter().all(|repo| repo["did"].as_str().unwrap().starts_with("did:web:host")));
            assert_eq!(json.get("cursor").and_then(|cursor| cursor.as_str()), cursor);
        }
    }
}
