//! What operators did, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

use super::Answer;
use super::hosts::rfc3339;
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::store::AdminEntry;

pub(super) async fn list(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let query = Query::of(&uri);
    let limit = query.limit(1..=1000, 100)?;
    let before = match query.cursor()? {
        Some(cursor) => Some(cursor.parse().map_err(|_| ApiError::invalid_request("cursor is not one of this list"))?),
        None => None,
    };
    let mut entries = api.store.read(move |tx| tx.admin_log(before, limit + 1)).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let cursor = entries.last().filter(|_| more).map(|last| last.id.to_string());
    let entries: Vec<Value> = entries.into_iter().map(entry).collect();
    Ok(Json(match cursor {
        Some(cursor) => json!({ "cursor": cursor, "entries": entries }),
        None => json!({ "entries": entries }),
    }))
}

fn entry(entry: AdminEntry) -> Value {
    json!({
        "id": entry.id, "at": rfc3339(entry.at), "action": entry.action, "subject": entry.subject, "detail": entry.detail,
    })
}
