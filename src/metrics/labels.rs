//! The labels that a counter may have, and the words in them: all of them fixed.

use prometheus_client::encoding::EncodeLabelSet;

/// The kind of a firehose message (com.atproto.sync.subscribeRepos).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `#commit`
    Commit,
    /// `#sync`
    Sync,
    /// `#account`
    Account,
    /// `#identity`
    Identity,
    /// `#info`
    Info,
    /// An error frame.
    Error,
    /// Any other type, old or not known yet.
    Other,
}

/// The kind of a job of the crawl queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// A host is probed, and its repos are listed.
    Host,
    /// A repo is fetched.
    Repo,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EventLabels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct JobLabels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WayLabels {
    pub way: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PlaceLabels {
    pub place: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub method: &'static str,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct MethodLabels {
    pub method: &'static str,
}

impl EventKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            EventKind::Commit => "commit",
            EventKind::Sync => "sync",
            EventKind::Account => "account",
            EventKind::Identity => "identity",
            EventKind::Info => "info",
            EventKind::Error => "error",
            EventKind::Other => "other",
        }
    }
}

impl JobKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            JobKind::Host => "host",
            JobKind::Repo => "repo",
        }
    }
}
