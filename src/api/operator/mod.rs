//! The operator's page, and what it asks: one HTML document without anything from elsewhere, on the internal listener.
//!
//! Owns the page, the sentence that says whether all is well, and the stream that keeps the page up to date. It changes nothing: the
//! page's buttons make the calls of `admin`, with the operator's token. Invariant: nobody who does not look costs anything but a
//! sample of the counters every ten seconds.

mod health;
mod history;
mod look_up;
mod page;
mod status;
mod stream;

pub use history::History;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::error::ApiError;
use super::{Api, Readiness};
use crate::clock::{Clock, now_millis};
use crate::store::CollectionSize;

/// What the page is made of.
pub(super) struct Operator {
    pub api: Arc<Api>,
    pub readiness: Readiness,
    pub clock: Clock,
    pub history: History,
    /// Unix milliseconds.
    pub started_at: i64,
}

/// The page and its data.
pub(super) fn router(api: Arc<Api>, readiness: Readiness, clock: Clock, history: History) -> Router {
    let operator = Operator { api, readiness, clock, history, started_at: now_millis() };
    Router::new()
        .route("/", get(page::show))
        .route("/status", get(status))
        .route("/status/stream", get(stream::follow))
        .route("/collections", get(collections))
        .route("/search", get(look_up::search))
        .route("/repo", get(look_up::repo))
        .with_state(Arc::new(operator))
}

async fn status(State(operator): State<Arc<Operator>>) -> Result<Json<status::Status>, ApiError> {
    Ok(Json(status::of(&operator).await?))
}

#[derive(Serialize)]
struct Collections {
    collections: Vec<CollectionSize>,
}

async fn collections(State(operator): State<Arc<Operator>>) -> Result<Json<Collections>, ApiError> {
    Ok(Json(Collections { collections: operator.api.store.collection_sizes().await? }))
}
