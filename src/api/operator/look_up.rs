//! `GET /search?q=` and `GET /repo?did=`: from a few letters down to one repo and its records.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde::Serialize;

use super::Operator;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::store::{CollectionSize, IndexedRecord, RepoDetail};

const MOST_FOUND: usize = 20;
const MOST_RECORDS: usize = 100;

#[derive(Serialize)]
pub(super) struct Found {
    hosts: Vec<String>,
    repos: Vec<String>,
    collections: Vec<CollectionSize>,
}

/// Hosts and collections whose name holds the text, and repos whose DID begins with it.
pub(super) async fn search(State(operator): State<Arc<Operator>>, uri: Uri) -> Result<Json<Found>, ApiError> {
    let text = Query::of(&uri).required("q")?.trim().to_ascii_lowercase();
    if text.is_empty() {
        return Err(ApiError::invalid_request("q is empty"));
    }
    let store = &operator.api.store;
    let hosts = store.find_hosts(&text, MOST_FOUND).await?;
    let repos = match text.starts_with("did:") {
        // A did:web is lower case, and so is a did:plc; a path in a did:web need not be.
        true => store.find_repos(Query::of(&uri).required("q")?.trim(), MOST_FOUND).await?,
        false => Vec::new(),
    };
    let collections = match text.contains('.') {
        true => store.collection_sizes().await?,
        false => Vec::new(),
    };
    let collections = collections.into_iter().filter(|it| it.collection.to_ascii_lowercase().contains(&text));
    Ok(Json(Found { hosts, repos, collections: collections.take(MOST_FOUND).collect() }))
}

#[derive(Serialize)]
pub(super) struct Repo {
    #[serde(flatten)]
    detail: RepoDetail,
    /// The first hundred.
    indexed_records: Vec<IndexedRecord>,
}

/// One account: its state, its job, its records.
pub(super) async fn repo(State(operator): State<Arc<Operator>>, uri: Uri) -> Result<Json<Repo>, ApiError> {
    let did = Query::of(&uri).required("did")?;
    let found = operator.api.store.repo_detail(&did, MOST_RECORDS).await?;
    let (detail, indexed_records) =
        found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "RepoNotFound", "that account is not known here"))?;
    Ok(Json(Repo { detail, indexed_records }))
}
