//! Everything that is sent to a remote host: XRPC calls over HTTP, and the dialling of firehoses.
//!
//! Owns limits of size and time, the judgement of addresses (`guard`) and the budget of each host (`budget`); knows
//! nothing of queues, retries or storage. What comes back is parsed, never verified: that is `repo`'s.
//! Invariant: no call outlives its timeout, holds more than its size limit, follows a redirect, or reaches an address
//! that the policy forbids.

mod announce;
mod backoff;
mod body;
mod bucket;
mod budget;
mod client;
mod describe_server;
mod dial;
mod error;
mod get_record;
mod get_repo;
mod guard;
mod limits;
mod list_repos;
mod mapped;
mod read_ahead;
mod repo_memory;
mod repo_status;
mod spool;
mod tls;

#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

pub use announce::Announcer;
pub use backoff::full_jitter;
pub use bucket::Bucket;
pub use client::Client;
pub use describe_server::ServerDescription;
pub use dial::FirehoseSocket;
pub use error::{HostError, RepoRefusal};
pub use get_repo::RepoCar;
pub use limits::{Limits, Outbound};
pub use list_repos::{ListReposPage, ListedRepo};
pub use repo_status::{LatestCommit, RepoStatus};
