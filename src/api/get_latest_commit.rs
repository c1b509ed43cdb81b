//! `com.atproto.sync.getLatestCommit`: the commit of an active repo that is indexed here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use super::get_repo_status::{known_repo, not_found};
use super::query::Query;
use crate::store::RepoRow;

pub(super) const NSID: &str = "com.atproto.sync.getLatestCommit";

#[derive(Serialize)]
pub(super) struct Commit {
    cid: String,
    rev: String,
}

pub(super) async fn handle(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Commit>, ApiError> {
    let row = known_repo(&api, &Query::of(&uri)).await?;
    if !row.active {
        return Err(inactive(&row));
    }
    match (row.head, row.rev) {
        (Some(head), Some(rev)) => Ok(Json(Commit { cid: head.to_string(), rev })),
        // Listed by its host, and not fetched yet.
        _ => Err(not_found(&row.did)),
    }
}

fn inactive(row: &RepoRow) -> ApiError {
    let did = &row.did;
    match row.status.as_deref() {
        Some("deleted") => not_found(did),
        Some("takendown") => ApiError::named("RepoTakendown", format!("the repo of {did} is taken down")),
        Some("suspended") => ApiError::named("RepoSuspended", format!("the repo of {did} is suspended")),
        // The lexicon has no word for an account that is inactive for any other reason.
        _ => ApiError::named("RepoDeactivated", format!("the repo of {did} is deactivated")),
    }
}
