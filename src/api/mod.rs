//! What signpost answers: the public listener (XRPC, one file for each method) and the internal one (metrics,
//! readiness, hosts).
//!
//! Owns HTTP in: routing, limits, errors, list cursors, connections. It reads and writes rows through `store`
//! and never asks the network. Invariant: nothing that an operator would hide leaves by the public listener,
//! and every answer of that listener, errors included, carries CORS `*`.

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
mod list_hosts;
mod list_repos;
mod list_repos_by_collection;
mod query;
mod request_crawl;
mod router;
mod server;
mod surface;
#[cfg(test)]
mod tests;

pub use connections::ConnectionLimits;
pub use internal::{Phase, Readiness, internal_router};
pub use router::public_router;
pub use server::{PeerAddr, serve};

use crate::metrics::Metrics;
use crate::store::Store;
use crate::syntax::{Host, HostPolicy};

/// What the public methods work with.
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
}
