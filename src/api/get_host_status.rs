//! `com.atproto.sync.getHostStatus`: one host that was reached at least once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use super::Api;
use super::error::ApiError;
use super::list_hosts::ListedHost;
use super::query::Query;
use crate::syntax::{Host, HostPolicy};

pub(super) const NSID: &str = "com.atproto.sync.getHostStatus";

pub(super) async fn handle(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<ListedHost>, ApiError> {
    let hostname = Query::of(&uri).required("hostname")?;
    // Any spelling will do: asking about a host sends nothing to it.
    let host = Host::parse(&hostname, HostPolicy::AllowPrivate)
        .map_err(|error| ApiError::invalid_request(format!("hostname: {error}")))?;
    match api.store.host(host.as_str()).await? {
        Some(row) => Ok(Json(row.into())),
        None => Err(ApiError::named("HostNotFound", format!("{} is not known here", host.as_str()))),
    }
}
