//! Why a request to a host came to nothing, in words for an operator and in labels for metrics.

use std::time::Duration;

use super::budget::DEFAULT_PAUSE;
use crate::syntax::{HostSyntaxError, printable};

/// A failed request; texts that came from the host are cut and printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// An XRPC error answer, `{error, message}`.
    #[error("answered {error} (HTTP {status}): {message}")]
    Xrpc {
        /// The HTTP status, 400 to 599.
        status: u16,
        /// The error's name, such as `RepoNotFound`.
        error: String,
        /// The error in the host's words, perhaps empty.
        message: String,
    },
    /// 429 or 503 with a time to wait, or a call that was not made because an earlier one met that.
    #[error("limits our rate{}", until(.retry_after))]
    RateLimited {
        /// How long to wait, at most an hour; none when the host did not say.
        retry_after: Option<Duration>,
    },
    /// Any other answer than 200, without a readable XRPC error.
    #[error("answered HTTP {0}")]
    Status(u16),
    /// A redirect, which is never followed.
    #[error("answered HTTP {0}, a redirect, which is not followed: the host must answer under its own name")]
    Redirect(u16),
    /// No answer, or no end or no progress of one, in time.
    #[error("{missed} within {}", humantime::format_duration(*.after))]
    Timeout {
        /// What did not happen.
        missed: &'static str,
        /// The time that there was for it.
        after: Duration,
    },
    /// A body that keeps coming, and too slowly.
    #[error("only {bytes} bytes came within {}", humantime::format_duration(*.within))]
    TooSlow {
        /// What came.
        bytes: u64,
        /// While so long was spent waiting for it.
        within: Duration,
    },
    /// The name did not resolve.
    #[error("the name does not resolve: {0}")]
    Resolve(String),
    /// No TCP or TLS connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke before the answer was complete, or the answer was not HTTP.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The policy does not allow to speak to the host.
    #[error("not crawled: {0}")]
    Forbidden(String),
    /// The answer is larger than we take.
    #[error("the answer is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit, after decompression.
        limit_bytes: usize,
    },
    /// The answer could not be kept on our own disk: it is full, or too much of it is taken.
    #[error("no place on disk for the answer: {0}")]
    NoPlace(String),
    /// The answer is not what the lexicon says.
    #[error("the answer makes no sense: {0}")]
    Malformed(String),
    /// The firehose was asked for and the host did not switch to WebSocket.
    #[error("{}", in_words(*.status, .error))]
    NoWebSocket {
        /// The HTTP status of the answer, not 101.
        status: u16,
        /// The name of the XRPC error in it, if there is one.
        error: Option<String>,
    },
}

/// The answers of a host that say what became of a repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoRefusal {
    /// `RepoNotFound`
    NotFound,
    /// `RepoDeactivated`
    Deactivated,
    /// `RepoTakendown`
    Takendown,
    /// `RepoSuspended`
    Suspended,
}

/// What the system or a library says, cut and printable; without the system's number, which says nothing that its words do not.
pub(super) fn cause_in_words(error: &dyn std::error::Error) -> String {
    let words = error.to_string();
    printable(words.split(" (os error ").next().unwrap_or(&words), 200)
}

impl HostError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            HostError::Xrpc { .. } => "xrpc_error",
            HostError::RateLimited { .. } => "rate_limited",
            HostError::Status(_) => "http_status",
            HostError::Redirect(_) => "redirect",
            HostError::Timeout { .. } => "timeout",
            HostError::TooSlow { .. } => "too_slow",
            HostError::Resolve(_) => "resolve",
            HostError::Connect(_) => "connect",
            HostError::Broken(_) => "broken",
            HostError::Forbidden(_) => "forbidden",
            HostError::TooLarge { .. } => "too_large",
            HostError::NoPlace(_) => "no_place_on_disk",
            HostError::Malformed(_) => "malformed",
            HostError::NoWebSocket { .. } => "no_websocket",
        }
    }

    /// How long the host wants us to wait; a host that limits our rate without a word on it is given the pause of its budget.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            HostError::RateLimited { retry_after } => Some(retry_after.unwrap_or(DEFAULT_PAUSE)),
            _ => None,
        }
    }

    /// Whether the host itself answered, whatever it said: then its other repos may still be fetched. A gateway's 502 to 504 is
    /// no answer of the host.
    pub fn is_answer(&self) -> bool {
        match self {
            HostError::Xrpc { status, .. } | HostError::Status(status) => !(502..=504).contains(status),
            HostError::Redirect(_) | HostError::TooLarge { .. } | HostError::NoPlace(_) | HostError::Malformed(_) => {
                true
            }
            _ => false,
        }
    }

    /// The HTTP status, when there was an answer that is an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            HostError::Xrpc { status, .. } | HostError::NoWebSocket { status, .. } => Some(*status),
            HostError::Status(status) | HostError::Redirect(status) => Some(*status),
            _ => None,
        }
    }

    /// The name of the XRPC error.
    pub fn xrpc_name(&self) -> Option<&str> {
        match self {
            HostError::Xrpc { error, .. } => Some(error),
            HostError::NoWebSocket { error, .. } => error.as_deref(),
            _ => None,
        }
    }

    /// What the host says about a repo by refusing it.
    pub fn repo_refusal(&self) -> Option<RepoRefusal> {
        match self.xrpc_name()? {
            "RepoNotFound" => Some(RepoRefusal::NotFound),
            "RepoDeactivated" => Some(RepoRefusal::Deactivated),
            "RepoTakendown" => Some(RepoRefusal::Takendown),
            "RepoSuspended" => Some(RepoRefusal::Suspended),
            _ => None,
        }
    }
}

impl From<HostSyntaxError> for HostError {
    fn from(error: HostSyntaxError) -> HostError {
        HostError::Forbidden(error.to_string())
    }
}

fn until(retry_after: &Option<Duration>) -> String {
    match retry_after {
        Some(wait) => format!(", for another {} s", wait.as_secs().max(1)),
        None => String::new(),
    }
}

fn in_words(status: u16, error: &Option<String>) -> String {
    let answer = match error {
        Some(error) => format!("answered {error} (HTTP {status}) to subscribeRepos"),
        None => format!("answered HTTP {status} to subscribeRepos"),
    };
    let hint = match status {
        200..=299 | 400 | 426 => ": does a proxy in front of it pass WebSocket through?",
        404 | 405 | 501 => ": it has no firehose, or a proxy in front of it does not pass WebSocket through",
        401 | 403 => ": something in front of it refuses us",
        502..=504 => ": the proxy in front of it does not reach it",
        _ => "",
    };
    format!("{answer} instead of upgrading to WebSocket{hint}")
}
