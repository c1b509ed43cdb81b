//! `com.atproto.sync.listHosts`: the hosts that were reached at least once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;

use super::Api;
use super::cursor::CursorScope;
use super::error::ApiError;
use super::query::Query;
use crate::store::{HostId, HostRow};

pub(super) const NSID: &str = "com.atproto.sync.listHosts";

#[derive(Serialize)]
pub(super) struct Page {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    hosts: Vec<ListedHost>,
}

/// `com.atproto.sync.listHosts#host`, which is also the answer of getHostStatus.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedHost {
    hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    account_count: i64,
    status: &'static str,
}

impl From<HostRow> for ListedHost {
    fn from(row: HostRow) -> ListedHost {
        ListedHost { hostname: row.hostname, seq: row.seq, account_count: row.account_count, status: row.status }
    }
}

pub(super) async fn handle(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<Page>, ApiError> {
    let query = Query::of(&uri);
    let limit = query.limit(1..=1000, 200)?;
    let scope = CursorScope::new(api.store.instance_id(), [NSID]);
    let after = scope.read(query.cursor()?.as_deref())?;
    let mut rows = api.store.list_hosts(HostId(after), limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows.last().filter(|_| more).map(|last| scope.write(last.id.0));
    Ok(Json(Page { cursor, hosts: rows.into_iter().map(ListedHost::from).collect() }))
}
