//! What outbound traffic may reach and cost.

use std::path::PathBuf;
use std::time::Duration;

use crate::syntax::HostPolicy;

/// The settings of all outbound traffic.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Which hosts may be spoken to.
    pub policy: HostPolicy,
    /// The User-Agent of every request.
    pub user_agent: String,
    /// Sizes, times and counts.
    pub limits: Limits,
    /// Where repos lie that are too large for memory: a directory on a disk, beside the database.
    pub spool_directory: PathBuf,
}

impl Outbound {
    /// The settings with the default limits.
    pub fn new(policy: HostPolicy, user_agent: impl Into<String>, spool_directory: impl Into<PathBuf>) -> Outbound {
        let (user_agent, spool_directory) = (user_agent.into(), spool_directory.into());
        Outbound { policy, user_agent, limits: Limits::default(), spool_directory }
    }
}

/// What a host may cost; sizes are counted after decompression.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Name resolution.
    pub resolve_timeout: Duration,
    /// TCP, and then TLS, each.
    pub connect_timeout: Duration,
    /// A whole JSON call.
    pub json_timeout: Duration,
    /// The whole fetch of a DID document.
    pub did_document_timeout: Duration,
    /// The longest time without a byte of an answer.
    pub idle_timeout: Duration,
    /// How much of a repo has to come each second, on average over `pace_window`; there is no other limit on its time.
    pub pace_bytes_per_second: u64,
    /// See `pace_bytes_per_second`.
    pub pace_window: Duration,
    /// Everything until a firehose is open.
    pub dial_timeout: Duration,
    /// A JSON answer.
    pub json_bytes: usize,
    /// A DID document.
    pub did_document_bytes: usize,
    /// A page of listRepos.
    pub list_repos_bytes: usize,
    /// An error answer that is still read for its name.
    pub error_bytes: usize,
    /// A repo.
    pub repo_bytes: usize,
    /// A repo above this lies on disk while it is verified.
    pub spool_above_bytes: usize,
    /// What the repos that lie on disk may take together.
    pub spool_bytes: usize,
    /// What the repos in flight may take of memory together, their bytes and what is known of them. Each may take
    /// `SMALL_REPO_BYTES` besides.
    pub repo_memory_bytes: usize,
    /// A WebSocket message; above the protocol's 5,000,000 so that the reader can count and skip what is too large.
    pub message_bytes: usize,
    /// Requests to one host at a time.
    pub requests_in_flight: usize,
    /// Requests to the PLC directory at a time.
    pub directory_in_flight: usize,
    /// The longest pause of a host that a call waits for instead of failing.
    pub longest_wait: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            resolve_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(10),
            json_timeout: Duration::from_secs(30),
            did_document_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            pace_bytes_per_second: 8 << 10,
            pace_window: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(20),
            json_bytes: 1 << 20,
            did_document_bytes: 64 << 10,
            list_repos_bytes: 1 << 20,
            error_bytes: 64 << 10,
            repo_bytes: 512 << 20,
            spool_above_bytes: 16 << 20,
            spool_bytes: 4 << 30,
            repo_memory_bytes: 96 << 20,
            message_bytes: 16 << 20,
            requests_in_flight: 6,
            directory_in_flight: 16,
            longest_wait: Duration::from_secs(2),
        }
    }
}
