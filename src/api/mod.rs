//! What signpost answers: the public listener (XRPC, one file for each method) and the internal one (metrics,
//! readiness, hosts).
//!
//! Owns HTTP in: routing, limits, errors, list cursors, connections. It reads and writes rows through `store`
//! and never asks the network. Invariant: nothing that an operator would hide leaves by the public listener,
//! and every answer of that listener, errors included, carries CORS `*`.

mod admin;
mod buckets;
mod client_address;
mod client_io;
mod connections;
mod cursor;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod get_host_status;
mod get_latest_commit;
mod get_repo_status;
mod home;
mod internal;
mod json_body;
mod list_hosts;
mod list_repos;
mod list_repos_by_collection;
mod operator;
mod pages;
mod query;
mod request_crawl;
mod router;
mod server;
mod slow;
mod surface;
#[cfg(test)]
mod tests;
mod words;

pub use connections::ConnectionLimits;
pub use internal::{Phase, Readiness, internal_router};
pub use operator::History;
pub use router::PublicService;
pub use server::serve;

use std::sync::Arc;
use std::time::Duration;

use buckets::Buckets;
use pages::Pages;

use crate::config::{AdminToken, Config, QuotaConfig};
use crate::metrics::Metrics;
use crate::store::{HostLimits, Store};
use crate::syntax::{Host, HostPolicy};

/// So often a client may show a wrong admin token before it waits a second for each answer, and then longer.
const WRONG_TOKENS: u32 = 5;

/// What the methods work with.
#[derive(Clone)]
pub struct Api {
    /// The rows.
    pub store: Store,
    /// Counts the requests.
    pub metrics: Metrics,
    /// Which hosts requestCrawl accepts.
    pub policy: HostPolicy,
    /// Our own name, which requestCrawl refuses.
    pub public_hostname: Option<Host>,
    /// Who may call requestCrawl, and how often.
    pub quotas: QuotaConfig,
    /// What opens the admin calls; None: nothing does.
    pub admin_token: Option<AdminToken>,
    /// The limits of a host for which the operator set none.
    pub default_limits: HostLimits,
    /// Those of listReposByCollection.
    pages: Arc<Pages>,
    counted: Arc<home::Counted>,
    request_crawl_buckets: Buckets,
    wrong_token_buckets: Buckets,
}

impl Api {
    /// With full buckets.
    pub fn new(store: Store, metrics: Metrics, config: &Config) -> Api {
        let per_minute = config.quotas.request_crawl_per_minute;
        Api {
            store,
            metrics,
            policy: config.outbound.policy,
            public_hostname: config.outbound.public_hostname.clone(),
            quotas: config.quotas.clone(),
            admin_token: config.admin_token.clone(),
            default_limits: HostLimits::of(&config.store.limits),
            pages: Arc::default(),
            counted: Arc::default(),
            request_crawl_buckets: Buckets::new(per_minute, Duration::from_secs(60) / per_minute),
            wrong_token_buckets: Buckets::new(WRONG_TOKENS, Duration::from_secs(1)),
        }
    }
}
