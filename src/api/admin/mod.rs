//! The operator's calls, below `/admin` on the internal listener: the relay's own routes, so that the field's tools work unchanged, and
//! what the relay lacks (resync, forget, the log).
//!
//! Owns their paths, parameters and answers; what they change, and that it is written down, is in `store`. Invariant: every change is
//! on disk before it is answered, and nothing is answered without the token.

mod access;
mod accounts;
mod domains;
mod hosts;
mod log;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Api, request_crawl};

type Answer = Result<Json<Value>, ApiError>;

/// Everything below `/admin`.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/pds/list", get(hosts::list))
        .route("/pds/requestCrawl", post(request_crawl))
        .route("/pds/block", post(hosts::block))
        .route("/pds/unblock", post(hosts::unblock))
        .route("/pds/changeLimits", post(hosts::change_limits))
        .route("/pds/resync", post(hosts::resync))
        .route("/pds/forget", post(hosts::forget))
        .route("/subs/banDomain", post(domains::ban))
        .route("/subs/unbanDomain", post(domains::unban))
        .route("/subs/listDomainBans", get(domains::list))
        .route("/repo/takeDown", post(accounts::take_down))
        .route("/repo/reverseTakedown", post(accounts::restore))
        .route("/repo/takedowns", get(accounts::list))
        .route("/repo/resync", post(accounts::resync))
        .route("/log", get(log::list))
        .method_not_allowed_fallback(super::router::wrong_verb)
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(api.clone(), access::require_token))
        .with_state(api)
}

/// What the relay answers to a change.
fn done() -> Json<Value> {
    Json(json!({ "success": "true" }))
}

fn not_found(error: &'static str, message: String) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, error, message)
}

async fn request_crawl(State(api): State<Arc<Api>>, request: Request) -> Answer {
    request_crawl::handle_admin(&api, request).await
}

async fn unknown_path(uri: Uri) -> ApiError {
    not_found("NotFound", format!("there is no admin call {}", crate::syntax::printable(uri.path(), 80)))
}
