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
    let page = api.store.list_repos_by_collection(patterns, RepoId(after), limit, write_repo).await?;
    let cursor = page.next_after.map(|last| scope.write(last.0));
    Ok(([JSON], answer(&page.text, cursor.as_deref())))
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

/// A row of the answer, with the comma behind it. A DID holds nothing that JSON escapes.
fn write_repo(rows: &mut String, did: &str) {
    rows.push_str("{\"did\":\"");
    rows.push_str(did);
    rows.push_str("\"},");
}

/// `{"repos":[{"did":"..."}],"cursor":"..."}`
fn answer(rows: &str, cursor: Option<&str>) -> String {
    let rows = rows.strip_suffix(',').unwrap_or(rows);
    match cursor {
        Some(cursor) => format!("{{\"repos\":[{rows}],\"cursor\":\"{cursor}\"}}"),
        None => format!("{{\"repos\":[{rows}]}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_lexicons_json() {
        for (count, cursor) in [(0, None), (1, None), (1, Some("abc-_1")), (3, None), (3, Some("abc-_1"))] {
            let mut rows = String::new();
            (1..=count).for_each(|id| write_repo(&mut rows, &format!("did:web:host{id}.example.com")));
            let json: serde_json::Value = serde_json::from_str(&answer(&rows, cursor)).unwrap();
            let repos = json["repos"].as_array().unwrap();
            assert_eq!(repos.len(), count);
            assert!(repos.iter().all(|repo| repo["did"].as_str().unwrap().starts_with("did:web:host")));
            assert_eq!(json.get("cursor").and_then(|cursor| cursor.as_str()), cursor);
        }
    }
}
