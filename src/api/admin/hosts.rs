//! Hosts: which there are, which are kept out, what they may have.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use serde::Serialize;
use serde_json::json;

use super::{Answer, done, not_found};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::json_body::JsonBody;
use crate::api::query::Query;
use crate::store::{Durability, HostId, OperatorHost, RepoId, Tx, TxResult};
use crate::syntax::{Host, HostPolicy};

/// A host with the relay's names; those of our own stand last.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedHost {
    #[serde(rename = "ID")]
    id: i64,
    created_at: String,
    host: String,
    #[serde(rename = "SSL")]
    ssl: bool,
    cursor: i64,
    registered: bool,
    blocked: bool,
    repo_count: i64,
    repo_limit: i64,
    has_active_connection: bool,
    events_seen_since_startup: i64,
    per_second_event_rate: Rate,
    per_hour_event_rate: Rate,
    per_day_event_rate: Rate,
    user_count: i64,
    status: &'static str,
    waiting_accounts: i64,
    lag_seconds: Option<u64>,
    lag_events: Option<usize>,
    last_error: Option<String>,
}

/// At most so many events in so many seconds; 0: no limit.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rate {
    max: i64,
    window: u32,
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Vec<ListedHost>>, ApiError> {
    let hosts = api.store.read(|tx| tx.operator_hosts()).await?;
    Ok(Json(hosts.into_iter().map(|host| listed(&api, host)).collect()))
}

fn listed(api: &Api, host: OperatorHost) -> ListedHost {
    let limits = host.limits.or(api.default_limits);
    let lag = api.store.lags().of(host.id);
    let rate = |max: Option<i64>, window| Rate { max: max.unwrap_or(0), window };
    ListedHost {
        id: host.id.0,
        created_at: rfc3339(host.created_at),
        host: host.hostname,
        ssl: host.is_https,
        cursor: host.host_cursor.unwrap_or(0),
        registered: host.was_reached,
        blocked: host.is_blocked,
        repo_count: host.accounts,
        repo_limit: limits.accounts.unwrap_or(0),
        has_active_connection: host.is_connected,
        events_seen_since_startup: host.events_since_start,
        per_second_event_rate: rate(limits.events_per_second, 1),
        per_hour_event_rate: rate(limits.events_per_hour, 3_600),
        per_day_event_rate: rate(limits.events_per_day, 86_400),
        user_count: host.accounts,
        status: host.status,
        waiting_accounts: host.waiting_accounts,
        lag_seconds: lag.and_then(|lag| lag.seconds),
        lag_events: lag.map(|lag| lag.events),
        last_error: host.last_error,
    }
}

/// Unix milliseconds as a date.
pub(super) fn rfc3339(millis: i64) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_epoch).to_string()
}

pub(super) async fn block(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let host = host_of_query(&uri)?;
    change(&api, host, |tx, id, host| tx.block_host(id, host)).await?;
    Ok(done())
}

pub(super) async fn unblock(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let host = host_of_query(&uri)?;
    change(&api, host, |tx, id, host| tx.unblock_host(id, host)).await?;
    Ok(done())
}

/// What is left out stays as it is, null is the default again.
pub(super) async fn change_limits(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let body = JsonBody::read(&head.headers, body).await?;
    let host = parse_host("host", body.text("host")?)?;
    let (accounts, second) = (body.count("repo_limit")?, body.count("per_second")?);
    let (hour, day) = (body.count("per_hour")?, body.count("per_day")?);
    change(&api, host, move |tx, id, host| {
        let mut limits = tx.host_limits(id)?;
        limits.accounts = accounts.unwrap_or(limits.accounts);
        limits.events_per_second = second.unwrap_or(limits.events_per_second);
        limits.events_per_hour = hour.unwrap_or(limits.events_per_hour);
        limits.events_per_day = day.unwrap_or(limits.events_per_day);
        tx.set_host_limits(id, host, limits)
    })
    .await?;
    Ok(done())
}

/// Every repo of the host is fetched again, whatever the host's list says.
pub(super) async fn resync(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let host = host_of_query(&uri)?;
    let asked = host.clone();
    let id = api.store.read(move |tx| tx.known_host_id(&asked)).await?.ok_or_else(|| unknown(&host))?;
    let mut after = Some(RepoId(0));
    while let Some(from) = after {
        after = api.store.write(Durability::Replayable, move |tx| tx.doubt_repos_of(id, from)).await?;
    }
    change(&api, host, |tx, id, host| tx.resync_host(id, host)).await?;
    Ok(done())
}

pub(super) async fn forget(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let host = host_of_query(&uri)?;
    let accounts = change(&api, host, |tx, id, host| tx.forget_host(id, host)).await?;
    Ok(Json(json!({ "success": "true", "accounts": accounts })))
}

/// Changes a host that is known; the change is on disk when this returns.
async fn change<T: Send + 'static>(
    api: &Api,
    host: Host,
    act: impl FnOnce(&Tx, HostId, &Host) -> TxResult<T> + Send + 'static,
) -> Result<T, ApiError> {
    let named = host.clone();
    let changed = api.store.write(Durability::Full, move |tx| match tx.known_host_id(&host)? {
        Some(id) => act(tx, id, &host).map(Some),
        None => Ok(None),
    });
    changed.await?.ok_or_else(|| unknown(&named))
}

fn unknown(host: &Host) -> ApiError {
    let message = format!("{host} is not known here; to keep a host out before it comes, ban its name as a domain");
    not_found("HostNotFound", message)
}

fn host_of_query(uri: &Uri) -> Result<Host, ApiError> {
    parse_host("host", &Query::of(uri).required("host")?)
}

/// Any spelling will do: nothing is sent to it.
fn parse_host(name: &str, text: &str) -> Result<Host, ApiError> {
    Host::parse(text, HostPolicy::AllowPrivate).map_err(|error| ApiError::invalid_request(format!("{name}: {error}")))
}
