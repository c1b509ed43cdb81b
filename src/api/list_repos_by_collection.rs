//! `com.atproto.sync.listReposByCollection`: the repos that hold a record of the asked collections.
//!
//! The answer is whole or it is an error: clients fall back to their next relay on an error, and would
//! believe a partial list.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Uri};

use super::Api;
use super::cursor::CursorScope;
use super::error::ApiError;
use super::query::Query;
use crate::store::{Coverage, RepoId};
use crate::syntax::NsidPattern;

pub(super) const NSID: &str = "com.atproto.sync.listReposByCollection";
const MOST_COLLECTIONS: usize = 50;
const JSON: (HeaderName, HeaderValue) = (CONTENT_TYPE, HeaderValue::from_static("application/json"));

pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<([(HeaderName, HeaderValue); 1], String), ApiError> {
    let query = Query::of(&uri);
    let patterns = patterns(&query)?;
    let limit = query.limit(1..=2000, 500)?;
    let scope = scope(&api, &patterns);
    let after = scope.read(query.cursor()?.as_deref())?;
    require_coverage(&api, &patterns)?;
    // One row more than asked for tells whether there is a next page.
    let mut rows = api.store.list_repos_by_collection(patterns, RepoId(after), limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows.last().filter(|_| more).map(|(last, _)| scope.write(last.0));
    Ok(([JSON], page(&rows, cursor.as_deref())))
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

/// `{"repos":[{"did":"..."}],"cursor":"..."}`, written into one buffer. DIDs and cursors hold nothing that
/// JSON escapes.
fn page(rows: &[(RepoId, String)], cursor: Option<&str>) -> String {
    const OPEN: &str = "{\"repos\":[";
    const REPO_OPEN: &str = "{\"did\":\"";
    const REPO_CLOSE: &str = "\"}";
    const CURSOR_OPEN: &str = ",\"cursor\":\"";
    let each = REPO_OPEN.len() + REPO_CLOSE.len() + ",".len();
    let dids: usize = rows.iter().map(|(_, did)| did.len() + each).sum();
    let rest = OPEN.len() + "]}".len() + cursor.map_or(0, |cursor| CURSOR_OPEN.len() + cursor.len() + 1);
    let mut json = String::with_capacity(dids + rest);
    json.push_str(OPEN);
    for (index, (_, did)) in rows.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(REPO_OPEN);
        json.push_str(did);
        json.push_str(REPO_CLOSE);
    }
    json.push(']');
    if let Some(cursor) = cursor {
        json.push_str(CURSOR_OPEN);
        json.push_str(cursor);
        json.push('"');
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: i64) -> Vec<(RepoId, String)> {
        (1..=count).map(|id| (RepoId(id), format!("did:web:host{id}.example.com"))).collect()
    }

    #[test]
    fn a_page_is_the_lexicons_json() {
        assert_eq!(page(&[], None), "{\"repos\":[]}");
        for (count, cursor) in [(1, None), (1, Some("abc-_1")), (3, None), (3, Some("abc-_1"))] {
            let json: serde_json::Value = serde_json::from_str(&page(&rows(count), cursor)).unwrap();
            assert_eq!(json["repos"].as_array().unwrap().len(), count as usize);
            assert_eq!(json["repos"][0], serde_json::json!({"did": "did:web:host1.example.com"}));
            assert_eq!(json.get("cursor").and_then(|cursor| cursor.as_str()), cursor);
        }
    }

    #[test]
    fn a_page_is_written_without_growing_its_buffer() {
        for count in [0, 1, 2, 500] {
            let json = page(&rows(count), Some("abc"));
            assert!(json.capacity() - json.len() <= 1, "{count}");
        }
    }
}
