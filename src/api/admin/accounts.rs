//! Accounts: which are hidden, and those to be fetched again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use serde_json::json;

use super::{Answer, done, not_found};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::json_body::JsonBody;
use crate::api::query::Query;
use crate::store::Durability;
use crate::syntax::Did;

pub(super) async fn take_down(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let did = read_did(request).await?;
    api.store.write(Durability::Full, move |tx| tx.take_down(&did)).await?;
    Ok(done())
}

pub(super) async fn restore(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let did = read_did(request).await?;
    let named = did.clone();
    match api.store.write(Durability::Full, move |tx| tx.restore(&did)).await? {
        true => Ok(done()),
        false => Err(not_found("RepoNotTakenDown", format!("{named} is not taken down here"))),
    }
}

pub(super) async fn resync(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let did = read_did(request).await?;
    let named = did.clone();
    match api.store.write(Durability::Full, move |tx| tx.resync_repo(&did)).await? {
        true => Ok(done()),
        false => Err(not_found("RepoNotFound", format!("no repo of {named} is known here"))),
    }
}

/// The cursor is the last DID of the page before, and there is none behind the last page.
pub(super) async fn list(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let query = Query::of(&uri);
    let size = query.number("size", 1..=1000, 500)?;
    let after = query.cursor()?.unwrap_or_default().into_owned();
    let mut dids = api.store.read(move |tx| tx.takedowns(&after, size + 1)).await?;
    let more = dids.len() > size;
    dids.truncate(size);
    Ok(Json(match dids.last().filter(|_| more) {
        Some(cursor) => json!({ "cursor": cursor, "dids": dids }),
        None => json!({ "dids": dids }),
    }))
}

async fn read_did(request: Request) -> Result<Did, ApiError> {
    let (head, body) = request.into_parts();
    let body = JsonBody::read(&head.headers, body).await?;
    Did::parse(body.text("did")?).map_err(|error| ApiError::invalid_request(format!("did: {error}")))
}
