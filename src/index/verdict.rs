//! What an event means for the repo that we know: a pure function. Its input was verified by itself already (bytes, hashes,
//! signature, ops against the partial tree): what is left is whether it continues what is indexed.

use bytes::Bytes;

use crate::repo::DagCid;
use crate::store::{HostId, RepoState, Status};
use crate::syntax::{Did, Rev};

/// An event of a host's firehose, verified by itself.
#[derive(Debug, Clone)]
pub struct Event {
    /// Whom it is about.
    pub did: Did,
    /// The host's sequence number.
    pub seq: i64,
    /// What it says.
    pub fact: Fact,
    /// The frame as it was received, for holding it back.
    pub frame: Bytes,
}

/// What a verified event says.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A `#commit` with a good signature.
    Commit(CommitFact),
    /// A `#sync` with a good signature: the repo is at this commit.
    Sync {
        /// Of the commit.
        rev: Rev,
        /// CID of the commit.
        head: DagCid,
        /// CID of its MST root.
        data: DagCid,
    },
    /// An `#account`: what the host says of the account.
    Account {
        /// Whether it is to be shown.
        active: bool,
        /// Why not.
        status: Option<Status>,
    },
    /// An `#identity`: the DID document may have changed.
    Identity,
    /// A `#commit` or `#sync` that cannot be applied: the repo has to be fetched. With its rev, when it could be read.
    Unusable(Desync, Option<Rev>),
}

/// A verified commit.
#[derive(Debug, Clone)]
pub struct CommitFact {
    /// Its rev.
    pub rev: Rev,
    /// The rev that it continues.
    pub since: Option<Rev>,
    /// Its CID.
    pub head: DagCid,
    /// The MST root that it continues; the ops lead from there to `data`.
    pub prev_data: Option<DagCid>,
    /// Its MST root.
    pub data: DagCid,
    /// Its ops inside the filter.
    pub changes: Vec<RecordChange>,
}

/// One op inside the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// The record is there now.
    Put {
        /// NSID.
        collection: String,
        /// Record key.
        rkey: String,
        /// The record's CID.
        cid: DagCid,
        /// The record as protocol JSON.
        json: String,
    },
    /// The record is gone, or what is there now cannot be indexed.
    Remove {
        /// NSID.
        collection: String,
        /// Record key.
        rkey: String,
    },
}

/// Why a repo has to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Desync {
    /// `since` is not the rev that is indexed: a commit was missed.
    SinceMismatch,
    /// `prevData` is not the data CID that is indexed.
    PrevDataMismatch,
    /// A commit without `prevData`: its host is too old to say what it continues.
    NoPrevData,
    /// `#sync` names another tree.
    SyncData,
    /// The host left the ops out (`tooBig`, `rebase`).
    TooBig,
    /// A field or the frame is over the protocol's limits.
    OverLimit,
    /// The blocks do not decode, hash or prove what the event says.
    BadBlocks,
    /// The ops do not lead from `prevData` to the commit's tree.
    BadOps,
    /// The signature does not verify with the key that we know: it was rotated, or the commit is forged.
    BadSignature,
    /// No signing key is known yet.
    NoKey,
    /// The repo was never fetched and no job is queued for it.
    NeverFetched,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// At or below the rev that is indexed.
    OldRev,
    /// About an account that is not known and has nothing to fetch.
    UnknownRepo,
    /// A status from a host that the account does not live on.
    OtherHost,
    /// A commit of an account that is not active and was never fetched.
    Inactive,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Write what it says.
    Apply,
    /// It changes nothing, now or later.
    Ignore(Ignored),
    /// Fetch the repo.
    Desync(Desync),
    /// The repo has a job, or older events wait: it waits too.
    Hold,
    /// Not known so far: take it in and fetch it.
    NewRepo,
    /// Known at another host: the DID document decides whether it moved here.
    Claim,
}

/// Judges an event that came from `from`, given what is known of its repo.
pub fn verdict(fact: &Fact, repo: Option<&RepoState>, from: HostId) -> Verdict {
    let Some(repo) = repo else {
        return match fact {
            Fact::Identity | Fact::Account { active: false, .. } => Verdict::Ignore(Ignored::UnknownRepo),
            _ => Verdict::NewRepo,
        };
    };
    if repo.host_id != from {
        return match fact {
            Fact::Account { active: false, .. } => Verdict::Ignore(Ignored::OtherHost),
            _ => Verdict::Claim,
        };
    }
    let rev = match fact {
        Fact::Account { .. } | Fact::Identity => return Verdict::Apply,
        Fact::Commit(commit) => Some(&commit.rev),
        Fact::Sync { rev, .. } => Some(rev),
        Fact::Unusable(_, rev) => rev.as_ref(),
    };
    if let (Some((known, _)), Some(rev)) = (&repo.verified, rev)
        && rev <= known
    {
        return Verdict::Ignore(Ignored::OldRev);
    }
    if repo.busy {
        return Verdict::Hold;
    }
    let Some((known_rev, known_data)) = &repo.verified else {
        return if repo.active { Verdict::Desync(Desync::NeverFetched) } else { Verdict::Ignore(Ignored::Inactive) };
    };
    match fact {
        Fact::Commit(commit) if commit.prev_data.is_none() => Verdict::Desync(Desync::NoPrevData),
        Fact::Commit(commit) if commit.since.as_ref() != Some(known_rev) => Verdict::Desync(Desync::SinceMismatch),
        Fact::Commit(commit) if commit.prev_data.as_ref() != Some(known_data) => {
            Verdict::Desync(Desync::PrevDataMismatch)
        }
        Fact::Sync { data, .. } if data != known_data => Verdict::Desync(Desync::SyncData),
        Fact::Unusable(reason, _) => Verdict::Desync(*reason),
        _ => Verdict::Apply,
    }
}

impl Verdict {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Apply => "applied",
            Verdict::Hold => "held",
            Verdict::NewRepo => "new_repo",
            Verdict::Claim => "other_host",
            Verdict::Ignore(reason) => match reason {
                Ignored::OldRev => "ignored_old_rev",
                Ignored::UnknownRepo => "ignored_unknown_repo",
                Ignored::OtherHost => "ignored_other_host",
                Ignored::Inactive => "ignored_inactive",
            },
            Verdict::Desync(reason) => match reason {
                Desync::SinceMismatch => "desync_since",
                Desync::PrevDataMismatch => "desync_prev_data",
                Desync::NoPrevData => "desync_no_prev_data",
                Desync::SyncData => "desync_sync_data",
                Desync::TooBig => "desync_too_big",
                Desync::OverLimit => "desync_over_limit",
                Desync::BadBlocks => "desync_bad_blocks",
                Desync::BadOps => "desync_bad_ops",
                Desync::BadSignature => "desync_bad_signature",
                Desync::NoKey => "desync_no_key",
                Desync::NeverFetched => "desync_never_fetched",
            },
        }
    }
}
