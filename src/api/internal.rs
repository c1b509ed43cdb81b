//! The internal listener: what an operator and a supervisor want to know, and nobody else.
//!
//! `/metrics`, `/hosts` and `/ready`, the admin calls, and the public methods beside them, for tools that know one address only. No
//! CORS: a web page in the operator's browser must not read them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Serialize;
use tokio::sync::watch;

use super::error::ApiError;
use super::operator::{self, History};
use super::router::xrpc_routes;
use super::{Api, admin, surface};
use crate::clock::Clock;
use crate::metrics::{self, Metrics, Sizes};
use crate::store::{HostReport, Stats, Store};

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The database may be open, the workers do not run yet.
    Starting,
    /// Everything runs.
    Running,
    /// A signal or a fault: what is under way is being finished.
    Stopping,
}

/// The phase, set by the service and read by `/ready`; a clone is the same one.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Phase>>);

impl Default for Readiness {
    fn default() -> Self {
        Readiness::new()
    }
}

impl Readiness {
    /// A process that is starting.
    pub fn new() -> Readiness {
        Readiness(Arc::new(watch::Sender::new(Phase::Starting)))
    }

    /// Enters a phase.
    pub fn set(&self, phase: Phase) {
        self.0.send_replace(phase);
    }

    /// Waits until it is in a phase.
    pub(super) async fn until(&self, phase: Phase) {
        // Fails only when the sender is gone, which is ours.
        let _ = self.0.subscribe().wait_for(|now| *now == phase).await;
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }
}

#[derive(Clone)]
struct Internal {
    store: Store,
    metrics: Metrics,
    readiness: Readiness,
    clock: Clock,
}

/// Everything that the internal listener answers.
pub fn internal_router(api: Api, readiness: Readiness, clock: Clock, history: History) -> Router {
    let (store, metrics, api) = (api.store.clone(), api.metrics.clone(), Arc::new(api));
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/hosts", get(hosts))
        .route("/ready", get(ready))
        .with_state(Internal { store, metrics: metrics.clone(), readiness: readiness.clone(), clock: clock.clone() })
        .merge(operator::router(api.clone(), readiness, clock, history))
        .layer(middleware::from_fn_with_state(metrics, surface::around_internal))
        .nest("/admin", admin::router(api.clone()))
        .merge(xrpc_routes().with_state(api))
}

async fn metrics_text(State(internal): State<Internal>) -> Result<Response, ApiError> {
    let text = internal.metrics.render(&sizes(internal.store.stats().await?, internal.clock.is_behind()));
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

fn sizes(stats: Stats, clock_is_behind: bool) -> Sizes {
    Sizes {
        queue: stats.queue,
        hosts: stats.hosts,
        repos: stats.repos,
        records: stats.records,
        desynchronized_repos: stats.desynchronized_repos,
        truncated_repos: stats.truncated_repos,
        firehoses_down: stats.firehoses_down,
        longest_wait_seconds: stats.longest_wait_ms / 1000,
        waiting_accounts: stats.waiting_accounts,
        slowed_hosts: stats.slowed_hosts,
        collections: stats.collections,
        repos_to_reindex: stats.repos_to_reindex,
        held_events: stats.held_events,
        host_lag_seconds: stats.host_lag_seconds,
        lagging_hosts: stats.lagging_hosts,
        lag_events: stats.lag_events,
        connected_firehoses: stats.connected_firehoses,
        blocked_hosts: stats.blocked_hosts,
        domain_bans: stats.domain_bans,
        takedowns: stats.takedowns,
        new_hosts_last_day: stats.new_hosts_last_day,
        database_bytes: stats.database_size_bytes,
        wal_bytes: stats.wal_size_bytes,
        disk_free_bytes: stats.disk_free_bytes,
        disk_full: stats.disk_full,
        queries_cut: stats.queries_cut,
        clock_is_behind,
    }
}

#[derive(Serialize)]
struct Hosts {
    hosts: Vec<HostReport>,
}

async fn hosts(State(internal): State<Internal>) -> Result<Json<Hosts>, ApiError> {
    Ok(Json(Hosts { hosts: internal.store.host_report().await? }))
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    /// Why not.
    reasons: Vec<&'static str>,
    /// Whether every list that the filter covers is whole.
    index_complete: bool,
    /// Whether most hosts write revs ahead of our clock: then nobody is refused for it, and the clock should be set right.
    clock_is_behind: bool,
    /// Repos that wait to be fetched again since the filter was widened.
    repos_to_reindex: i64,
}

async fn ready(State(internal): State<Internal>) -> (StatusCode, Json<Ready>) {
    let mut reasons = Vec::new();
    match internal.readiness.phase() {
        Phase::Starting => reasons.push("starting"),
        Phase::Running => {}
        Phase::Stopping => reasons.push("stopping"),
    }
    if *internal.store.disk_full().borrow() {
        reasons.push("the disk is full: nothing is taken in until there is space");
    }
    let repos_to_reindex = internal.store.read(|tx| tx.repos_to_reindex()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "not ready: the database does not answer");
        reasons.push("the database does not answer");
        0
    });
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let index_complete = internal.store.is_complete();
    (
        status,
        Json(Ready { ready, reasons, index_complete, clock_is_behind: internal.clock.is_behind(), repos_to_reindex }),
    )
}
