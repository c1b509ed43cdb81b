//! What outbound traffic may reach and cost.

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
}

impl Outbound {
    /// The settings with the default limits.
    pub fn new(policy: HostPolicy, user_agent: impl Into<String>) -> Outbound {
        Outbound { policy, user_agent: user_agent.into(), limits: Limits::default() }
    }
}

/// What a host may cost; sizes are counted after decompression.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Name resolution, and then TCP and TLS, each.
    pub connect_timeout: Duration,
    /// A whole JSON call.
    pub json_timeout: Duration,
    /// A whole getRepo, less the time that it waits for us.
    pub repo_timeout: Duration,
    /// The longest time without a byte of an answer.
    pub idle_timeout: Duration,
    /// Everything until a firehose is open.
    pub dial_timeout: Duration,
    /// A JSON answer.
    pub json_bytes: usize,
    /// A page of listRepos.
    pub list_repos_bytes: usize,
    /// An error answer that is still read for its name.
    pub error_bytes: usize,
    /// A repo: it is held in memory while it is verified, on a machine with 1 GB.
    pub repo_bytes: usize,
    /// A repo above this is held in memory only while no other such repo is.
    pub large_repo_bytes: usize,
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
            connect_timeout: Duration::from_secs(10),
            json_timeout: Duration::from_secs(30),
            repo_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(20),
            json_bytes: 1_000_000,
            list_repos_bytes: 5_000_000,
            error_bytes: 64 << 10,
            repo_bytes: 256 << 20,
            large_repo_bytes: 8 << 20,
            message_bytes: 16 << 20,
            requests_in_flight: 6,
            directory_in_flight: 16,
            longest_wait: Duration::from_secs(2),
        }
    }
}
