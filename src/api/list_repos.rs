//! `com.atproto.sync.listRepos`: every repo whose commit is known, active or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;

use super::Api;
use super::cursor::CursorScope;
use super::error::ApiError;
use super::query::Query;
use crate::store::{RepoId, RepoRow};

pub(super) const NSID: &str = "com.atproto.sync.listRepos";

#[derive(Serialize)]
pub(super) struct Page {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    repos: Vec<Repo>,
}

/// `com.atproto.sync.listRepos#repo`
#[derive(Serialize)]
struct Repo {
    did: String,
    /// The CID of the commit.
    head: String,
    rev: String,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
}

pub(super) async fn handle(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Page>, ApiError> {
    let query = Query::of(&uri);
    let limit = query.limit(1..=1000, 500)?;
    let scope = CursorScope::new(api.store.instance_id(), [NSID]);
    let after = scope.read(query.cursor()?.as_deref())?;
    let mut rows = api.store.list_repos(RepoId(after), limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows.last().filter(|_| more).map(|last| scope.write(last.id.0));
    Ok(Json(Page { cursor, repos: rows.into_iter().filter_map(repo).collect() }))
}

/// The store lists only repos whose commit is known.
fn repo(row: RepoRow) -> Option<Repo> {
    Some(Repo { did: row.did, head: row.head?.to_string(), rev: row.rev?, active: row.active, status: row.status })
}
