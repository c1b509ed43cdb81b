//! Domains whose hosts are kept out.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde_json::json;

use super::{Answer, done, not_found};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::json_body::JsonBody;
use crate::store::Durability;
use crate::syntax::Domain;

pub(super) async fn ban(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let domain = read_domain(request).await?;
    api.store.write(Durability::Full, move |tx| tx.ban_domain(&domain)).await?;
    Ok(done())
}

pub(super) async fn unban(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let domain = read_domain(request).await?;
    let named = domain.clone();
    match api.store.write(Durability::Full, move |tx| tx.unban_domain(&domain)).await? {
        true => Ok(done()),
        false => Err(not_found("DomainNotBanned", format!("{named} is not banned here"))),
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Answer {
    let domains = api.store.read(|tx| tx.domain_bans()).await?;
    Ok(Json(json!({ "banned_domains": domains })))
}

async fn read_domain(request: Request) -> Result<Domain, ApiError> {
    let (head, body) = request.into_parts();
    let body = JsonBody::read(&head.headers, body).await?;
    Domain::parse(body.text("domain")?).map_err(|error| ApiError::invalid_request(format!("domain: {error}")))
}
