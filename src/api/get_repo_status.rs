//! `com.atproto.sync.getRepoStatus`: whether an account is active, why not, and its current rev.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use super::query::Query;
use crate::store::RepoRow;
use crate::syntax::Did;

pub(super) const NSID: &str = "com.atproto.sync.getRepoStatus";

#[derive(Serialize)]
pub(super) struct Status {
    did: String,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
}

pub(super) async fn handle(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Status>, ApiError> {
    let row = known_repo(&api, &Query::of(&uri)).await?;
    let rev = row.rev.filter(|_| row.active);
    Ok(Json(Status { did: row.did, active: row.active, status: row.status, rev }))
}

/// The repo that the parameter `did` names.
pub(super) async fn known_repo(api: &Api, query: &Query<'_>) -> Result<RepoRow, ApiError> {
    let did = query.required("did")?;
    let did = Did::parse(&did).map_err(|error| ApiError::invalid_request(format!("did: {error}")))?;
    api.store.repo(&did).await?.ok_or_else(|| not_found(did.as_str()))
}

pub(super) fn not_found(did: &str) -> ApiError {
    ApiError::named("RepoNotFound", format!("no repo of {did} is known here"))
}
