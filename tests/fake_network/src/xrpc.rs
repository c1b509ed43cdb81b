//! The HTTP side of a host, answering as the reference PDS does.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, RawQuery, State, WebSocketUpgrade};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tower_http::compression::CompressionLayer;

use crate::account::Account;
use crate::block::Block;
use crate::damage::damaged_blocks;
use crate::fault::Fault;
use crate::firehose::serve_subscriber;
use crate::host::FakeHost;
use crate::tid::tid;
use crate::wire::intercept;

/// Begins the cursors of the pages of phantoms.
const PHANTOMS: &str = "phantoms-";
const CHUNK: usize = 65_536;
const GET_REPO: &str = "com.atproto.sync.getRepo";
const GET_RECORD: &str = "com.atproto.sync.getRecord";
const GET_BLOCKS: &str = "com.atproto.sync.getBlocks";

pub(crate) fn router(host: FakeHost) -> Router {
    let wire = host.wire();
    let compresses = host.compresses();
    let routes = Router::new()
        .route("/.well-known/did.json", get(did_json))
        .route("/xrpc/com.atproto.server.describeServer", get(describe_server))
        .route("/xrpc/com.atproto.sync.listRepos", get(list_repos))
        .route("/xrpc/com.atproto.sync.getRepo", get(get_repo))
        .route("/xrpc/com.atproto.sync.getRecord", get(get_record))
        .route("/xrpc/com.atproto.sync.getBlocks", get(get_blocks))
        .route("/xrpc/com.atproto.sync.getRepoStatus", get(get_repo_status))
        .route("/xrpc/com.atproto.sync.getLatestCommit", get(get_latest_commit))
        .route("/xrpc/com.atproto.sync.subscribeRepos", get(subscribe_repos))
        .fallback(async || XrpcError(StatusCode::NOT_FOUND, "NotFound", "there is nothing here".to_owned()))
        .with_state(host);
    let routes = if compresses { routes.layer(CompressionLayer::new()) } else { routes };
    routes.layer(middleware::from_fn_with_state(wire, intercept))
}

type Answer = Result<Response, XrpcError>;

/// An XRPC error: its HTTP status, name and message.
struct XrpcError(StatusCode, &'static str, String);

impl IntoResponse for XrpcError {
    fn into_response(self) -> Response {
        let XrpcError(status, name, message) = self;
        (status, Json(json!({ "error": name, "message": message }))).into_response()
    }
}

#[derive(Deserialize)]
struct OfRepo {
    did: String,
    collection: Option<String>,
    rkey: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct From {
    cursor: Option<String>,
}

async fn did_json(State(host): State<FakeHost>) -> Response {
    host.identity_answer(&host.web_did())
}

async fn describe_server(State(host): State<FakeHost>) -> Response {
    Json(json!({
        "did": host.web_did(),
        "availableUserDomains": [".test"],
        "inviteCodeRequired": false,
        "links": {},
        "contact": {},
    }))
    .into_response()
}

async fn list_repos(State(host): State<FakeHost>, Query(page): Query<Page>) -> Answer {
    let limit = page.limit.unwrap_or(500);
    if !(1..=1000).contains(&limit) {
        return Err(invalid("limit must be between 1 and 1000"));
    }
    let asked = page.cursor.clone().unwrap_or_default();
    if let Some(after) = asked.strip_prefix(PHANTOMS) {
        let after = after.parse().map_err(|_| invalid("Malformed cursor"))?;
        return Ok(phantoms(&host, after, limit));
    }
    let after = match asked.split_once("::") {
        Some((ordinal, _)) => ordinal.parse().map_err(|_| invalid("Malformed cursor"))?,
        None if asked.is_empty() => 0,
        None => return Err(invalid("Malformed cursor")),
    };
    let (accounts, last) = host.page_of_accounts(after, limit);
    let mut repos: Vec<Value> = accounts.iter().map(|account| account.listed()).collect();
    let mut cursor = accounts.last().map(|account| format!("{}::{}", account.ordinal, account.did));
    if last && !host.lock().phantoms.is_empty() {
        cursor = Some(format!("{PHANTOMS}0"));
    }
    if host.fires(&Fault::NonsenseRow, None) {
        repos.insert(0, json!({ "did": "nonsense", "head": 7, "active": "perhaps" }));
    }
    if host.fires(&Fault::RepeatingCursor, None) {
        cursor = page.cursor.or(cursor);
    }
    if last && host.fires(&Fault::EmptyCursor, None) {
        cursor = Some(String::new());
    }
    if last && host.fires(&Fault::NoCursor, None) {
        cursor = None;
    }
    let mut body = json!({ "repos": repos });
    if let Some(cursor) = cursor {
        body["cursor"] = Value::String(cursor);
    }
    Ok(Json(body).into_response())
}

/// A page of DIDs that have no account here, after so many.
fn phantoms(host: &FakeHost, after: usize, limit: usize) -> Response {
    let state = host.lock();
    let head = Block::encode(&"a head").cid.to_string();
    let row = |did: &String| json!({ "did": did, "head": head, "rev": tid(1), "active": true });
    let repos: Vec<Value> = state.phantoms.iter().skip(after).take(limit).map(row).collect();
    let mut body = json!({ "repos": repos });
    if after + limit < state.phantoms.len() {
        body["cursor"] = format!("{PHANTOMS}{}", after + limit).into();
    }
    Json(body).into_response()
}

async fn get_repo(State(host): State<FakeHost>, Query(of): Query<OfRepo>) -> Answer {
    let account = readable(&host, &of.did)?;
    if let Some(stale) = host.stale_repo(&of.did) {
        return Ok(car(&host, GET_REPO, stale));
    }
    let damage = host.repo_damage(&of.did);
    let bytes = tokio::task::spawn_blocking(move || account.repo.parts().write(damage, &account.key).1);
    Ok(car(&host, GET_REPO, bytes.await.expect("writing a CAR does not panic")))
}

async fn get_record(State(host): State<FakeHost>, Query(of): Query<OfRepo>) -> Answer {
    let account = readable(&host, &of.did)?;
    let (Some(collection), Some(rkey)) = (of.collection, of.rkey) else {
        return Err(invalid("collection and rkey are required"));
    };
    let parts = account.repo.record_parts(&format!("{collection}/{rkey}"));
    Ok(car(&host, GET_RECORD, parts.write(host.proof_damage(&of.did), &account.key).1))
}

async fn get_blocks(State(host): State<FakeHost>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    // No value here has an escape but the colons of a DID.
    let values = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace("%3A", ":")).collect()
    };
    let did = values("did").pop().ok_or_else(|| invalid("did is required"))?.replace("%253A", "%3A");
    let account = readable(&host, &did)?;
    let cids = values("cids");
    let damage = host.blocks_damage(&did);
    let found = tokio::task::spawn_blocking(move || account.repo.blocks(&cids));
    match found.await.expect("looking for blocks does not panic") {
        Ok(blocks) => Ok(car(&host, GET_BLOCKS, damaged_blocks(blocks, damage))),
        Err(missing) => Err(invalid(&format!("Could not find cids: {}", missing.join(",")))),
    }
}

async fn get_repo_status(State(host): State<FakeHost>, Query(of): Query<OfRepo>) -> Answer {
    let account = known(&host, &of.did)?;
    let body = match account.status.name() {
        None => json!({ "did": account.did, "active": true, "rev": account.rev }),
        Some(status) if account.status.is_active() => {
            json!({ "did": account.did, "active": true, "status": status, "rev": account.rev })
        }
        Some(status) => json!({ "did": account.did, "active": false, "status": status }),
    };
    Ok(Json(body).into_response())
}

async fn get_latest_commit(State(host): State<FakeHost>, Query(of): Query<OfRepo>) -> Answer {
    let account = readable(&host, &of.did)?;
    let cid = account.repo.head().block().cid.to_string();
    Ok(Json(json!({ "cid": cid, "rev": account.rev })).into_response())
}

async fn subscribe_repos(State(host): State<FakeHost>, Query(from): Query<From>, upgrade: WebSocketUpgrade) -> Answer {
    let cursor = match from.cursor.as_deref() {
        None | Some("") => None,
        Some(cursor) => Some(cursor.parse().map_err(|_| invalid("cursor must be an integer"))?),
    };
    Ok(upgrade.on_upgrade(move |socket| serve_subscriber(socket, host, cursor)))
}

fn known(host: &FakeHost, did: &str) -> Result<Arc<Account>, XrpcError> {
    host.account(did).ok_or_else(|| refused("RepoNotFound", format!("Could not find repo for DID: {did}")))
}

fn readable(host: &FakeHost, did: &str) -> Result<Arc<Account>, XrpcError> {
    let account = known(host, did)?;
    match account.status.error() {
        None => Ok(account),
        Some(name) => Err(refused(name, format!("Repo is not available: {did}"))),
    }
}

fn car(host: &FakeHost, method: &'static str, bytes: Vec<u8>) -> Response {
    host.wire().note_answer(method, bytes.len());
    let mut left = Bytes::from(bytes);
    let chunks = std::iter::from_fn(move || {
        (!left.is_empty()).then(|| Ok::<_, std::io::Error>(left.split_to(CHUNK.min(left.len()))))
    });
    let content_type = [(header::CONTENT_TYPE, "application/vnd.ipld.car")];
    (content_type, Body::from_stream(stream::iter(chunks))).into_response()
}

fn refused(name: &'static str, message: String) -> XrpcError {
    XrpcError(StatusCode::BAD_REQUEST, name, message)
}

fn invalid(message: &str) -> XrpcError {
    refused("InvalidRequest", message.to_owned())
}
