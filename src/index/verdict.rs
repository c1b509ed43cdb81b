//! What an event means for the repo that we know: a pure function. Its input was verified by itself already (bytes, hashes, ops
//! against the partial tree, and the signature if the repo has an identity): what is left is whether it continues what is indexed.
//! docs/verdicts.md lists every verdict with what follows from it.

use bytes::Bytes;

use super::legacy::{LegacyOp, LegacyProof};
use crate::repo::DagCid;
use crate::store::{HostId, RepoState, Status};
use crate::syntax::{Did, Rev};

/// A signing key that a bad signature had asked for within this time is not asked for again because of one, in milliseconds.
const KEY_IS_FRESH_MS: i64 = 60_000;

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

/// What an event says.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A `#commit`.
    Commit(CommitFact),
    /// A `#sync`: the repo is at this commit.
    Sync {
        /// The rev of the signed commit, else what the frame says.
        rev: Option<Rev>,
        /// The commit, when nothing is wrong with it.
        commit: Result<SyncedCommit, Flaw>,
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
}

/// What a commit claims to continue, and what of it is proven.
#[derive(Debug, Clone)]
pub struct CommitFact {
    /// Its rev; None: not a TID.
    pub rev: Option<Rev>,
    /// The rev that it continues.
    pub since: Option<Rev>,
    /// The MST root that it continues; None from hosts that do not say.
    pub prev_data: Option<DagCid>,
    /// What was verified: blocks, that the ops lead from `prev_data` to its tree, and whose it is.
    pub proof: Result<ProvenCommit, Flaw>,
}

/// Who is known to have made a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The account: its signature was verified.
    Account,
    /// Nobody: the repo has no identity to verify with. It can only be followed, nothing of it is indexed.
    NotAsked,
}

/// The commit of a `#sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncedCommit {
    /// Its CID.
    pub head: DagCid,
    /// Its MST root.
    pub data: DagCid,
    /// Whose it is.
    pub author: Author,
}

/// A commit with which nothing is wrong.
#[derive(Debug, Clone)]
pub struct ProvenCommit {
    /// Its CID.
    pub head: DagCid,
    /// Its MST root.
    pub data: DagCid,
    /// Whose it is.
    pub author: Author,
    /// Its ops inside the filter.
    pub changes: Vec<RecordChange>,
    /// From an old host, which does not say what its ops replaced: to be proven with what is indexed.
    pub legacy: Option<LegacyCommit>,
}

/// What is needed to prove the ops of an old host.
#[derive(Debug, Clone)]
pub struct LegacyCommit {
    /// The CAR of the event.
    pub blocks: Bytes,
    /// All its ops.
    pub ops: Vec<LegacyOp>,
    /// How far what is indexed proves them; None: not tried, the verdict does not depend on it.
    pub proof: Option<LegacyProof>,
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
        /// Whether the op says that there was one before: what costs less is tried first, both find out what is true.
        is_update: bool,
    },
    /// The record is gone, or what is there now cannot be indexed.
    Remove {
        /// NSID.
        collection: String,
        /// Record key.
        rkey: String,
    },
}

/// What is wrong with an event by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The host left the ops out (`tooBig`, `rebase`).
    TooBig,
    /// The frame or a field is over the protocol's limits.
    OverLimit,
    /// The blocks do not decode, or do not hash to their CIDs, or the commit is not among them.
    BadBlocks,
    /// The signed commit has another DID or rev than the event.
    CommitMismatch,
    /// The ops do not lead from `prevData` to the commit's tree, or a node that would show it is missing.
    BadOps,
    /// The signature does not verify with the key that we know: it was rotated, or the commit is forged.
    BadSignature,
    /// The rev is more than 5 minutes ahead of our clock.
    FutureRev,
    /// Not verified: the verdict does not depend on it, as far as was known when it was read.
    NotVerified,
}

/// Why a repo has to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Desync {
    /// `since` is not the rev that is indexed: a commit was missed.
    Since,
    /// `prevData` is not the data CID that is indexed.
    PrevData,
    /// `#sync` names another tree.
    SyncData,
    /// An old host's ops do not lead from what is indexed to the commit's tree.
    LegacyOps,
    /// The event by itself cannot be used.
    Flaw(Flaw),
    /// The repo was never fetched and no job is queued for it.
    NeverFetched,
}

/// Why an event changes nothing, as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// At or below the rev that is indexed.
    OldRev,
    /// About an account that is not known and has nothing to fetch.
    UnknownRepo,
    /// A commit of an account that is not active and was never fetched.
    Inactive,
    /// The DID document may have changed of a repo whose identity nobody needed so far.
    NoIdentity,
}

/// Why an event is refused: its host should not have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// The account does not live on this host; its DID document was asked.
    OtherHost,
    /// The rev is not a TID.
    BadRev,
    /// The rev is more than 5 minutes ahead of our clock.
    FutureRev,
    /// The signature is bad, and so was one within the last minute: the key was asked for then.
    BadSignature,
    /// The host has as many accounts as it may have; the account waits until the limit is raised.
    AccountLimit,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Write what it says.
    Apply,
    /// Write what it says, and fetch the repo at the next comparison: nothing shows that its list of ops was complete.
    ApplyUnproven,
    /// It changes nothing, now or later.
    Ignore(Ignored),
    /// Fetch the repo; what is indexed stays listed meanwhile.
    Desync(Desync),
    /// Refuse it.
    Reject(Rejected),
    /// The repo has a job, or older events wait: it waits too. So does one that came too early to be verified.
    Hold,
    /// Not known so far: take it in and fetch it.
    NewRepo,
    /// Known at another host: the DID document decides whether it moved here.
    Claim,
    /// The first op inside the filter of a repo without an identity: the DID document is asked, and the event waits for the answer.
    Identify,
}

/// Judges an event that came from `from`, given what is known of its repo; `now` in Unix milliseconds.
pub fn verdict(fact: &Fact, repo: Option<&RepoState>, from: HostId, now: i64) -> Verdict {
    let Some(repo) = repo else { return of_unknown(fact) };
    if repo.host_id != from {
        return of_another_host(fact, repo);
    }
    let rev = match fact {
        Fact::Identity if repo.is_without_identity() && !repo.busy => return Verdict::Ignore(Ignored::NoIdentity),
        Fact::Account { .. } | Fact::Identity => return Verdict::Apply,
        Fact::Commit(commit) => &commit.rev,
        Fact::Sync { rev, .. } => rev,
    };
    let Some(rev) = rev else { return Verdict::Reject(Rejected::BadRev) };
    if repo.verified.as_ref().is_some_and(|(indexed, _)| rev <= indexed) {
        return Verdict::Ignore(Ignored::OldRev);
    }
    if fact.flaw() == Some(Flaw::FutureRev) {
        return Verdict::Reject(Rejected::FutureRev);
    }
    if repo.busy {
        return Verdict::Hold;
    }
    let Some((indexed_rev, indexed_data)) = &repo.verified else {
        return if repo.active { Verdict::Desync(Desync::NeverFetched) } else { Verdict::Ignore(Ignored::Inactive) };
    };
    match fact {
        Fact::Commit(commit) if commit.since.as_ref() != Some(indexed_rev) => Verdict::Desync(Desync::Since),
        Fact::Commit(CommitFact { prev_data: Some(prev), .. }) if prev != indexed_data => {
            Verdict::Desync(Desync::PrevData)
        }
        Fact::Commit(CommitFact { proof: Ok(proven), .. }) => of_proven(proven, repo),
        Fact::Sync { commit: Ok(synced), .. } => of_synced(synced, repo, indexed_data),
        Fact::Commit(CommitFact { proof: Err(flaw), .. }) | Fact::Sync { commit: Err(flaw), .. } => {
            of_flawed(*flaw, repo, now)
        }
        Fact::Account { .. } | Fact::Identity => Verdict::Apply,
    }
}

fn of_unknown(fact: &Fact) -> Verdict {
    match fact {
        Fact::Identity | Fact::Account { active: false, .. } => Verdict::Ignore(Ignored::UnknownRepo),
        _ => match fact.flaw() {
            Some(Flaw::FutureRev) => Verdict::Reject(Rejected::FutureRev),
            _ => Verdict::NewRepo,
        },
    }
}

/// A status comes only from the account's own host; anything else may mean that it moved, which is asked once.
fn of_another_host(fact: &Fact, repo: &RepoState) -> Verdict {
    match fact {
        Fact::Account { active: false, .. } => Verdict::Reject(Rejected::OtherHost),
        _ if repo.refused => Verdict::Reject(Rejected::OtherHost),
        _ => Verdict::Claim,
    }
}

fn of_proven(proven: &ProvenCommit, repo: &RepoState) -> Verdict {
    match proven.author {
        // It was read before the identity was known: it is verified now.
        Author::NotAsked if repo.has_key => return Verdict::Hold,
        Author::NotAsked if !proven.changes.is_empty() => return Verdict::Identify,
        Author::NotAsked | Author::Account => {}
    }
    match proven.legacy.as_ref().map(|legacy| legacy.proof) {
        None | Some(Some(LegacyProof::Whole)) => Verdict::Apply,
        Some(Some(LegacyProof::OpsOnly)) => Verdict::ApplyUnproven,
        Some(Some(LegacyProof::None) | None) => Verdict::Desync(Desync::LegacyOps),
    }
}

fn of_synced(synced: &SyncedCommit, repo: &RepoState, indexed: &DagCid) -> Verdict {
    match synced.author {
        Author::NotAsked if repo.has_key => Verdict::Hold,
        _ if synced.data == *indexed => Verdict::Apply,
        _ => Verdict::Desync(Desync::SyncData),
    }
}

fn of_flawed(flaw: Flaw, repo: &RepoState, now: i64) -> Verdict {
    let key_is_fresh = repo.key_checked_at.is_some_and(|at| now - at < KEY_IS_FRESH_MS);
    match flaw {
        Flaw::BadSignature if key_is_fresh => Verdict::Reject(Rejected::BadSignature),
        // It was read while the repo's job ended: it is verified now.
        Flaw::NotVerified if repo.has_key => Verdict::Hold,
        flaw => Verdict::Desync(Desync::Flaw(flaw)),
    }
}

impl Fact {
    fn flaw(&self) -> Option<Flaw> {
        match self {
            Fact::Commit(commit) => commit.proof.as_ref().err().copied(),
            Fact::Sync { commit, .. } => commit.as_ref().err().copied(),
            Fact::Account { .. } | Fact::Identity => None,
        }
    }
}

impl Verdict {
    /// Every verdict, for the documentation and its test.
    pub const ALL: [Verdict; 27] = [
        Verdict::Apply,
        Verdict::ApplyUnproven,
        Verdict::Hold,
        Verdict::NewRepo,
        Verdict::Claim,
        Verdict::Identify,
        Verdict::Ignore(Ignored::OldRev),
        Verdict::Ignore(Ignored::UnknownRepo),
        Verdict::Ignore(Ignored::Inactive),
        Verdict::Ignore(Ignored::NoIdentity),
        Verdict::Desync(Desync::Since),
        Verdict::Desync(Desync::PrevData),
        Verdict::Desync(Desync::SyncData),
        Verdict::Desync(Desync::LegacyOps),
        Verdict::Desync(Desync::NeverFetched),
        Verdict::Desync(Desync::Flaw(Flaw::TooBig)),
        Verdict::Desync(Desync::Flaw(Flaw::OverLimit)),
        Verdict::Desync(Desync::Flaw(Flaw::BadBlocks)),
        Verdict::Desync(Desync::Flaw(Flaw::CommitMismatch)),
        Verdict::Desync(Desync::Flaw(Flaw::BadOps)),
        Verdict::Desync(Desync::Flaw(Flaw::BadSignature)),
        Verdict::Desync(Desync::Flaw(Flaw::NotVerified)),
        Verdict::Reject(Rejected::OtherHost),
        Verdict::Reject(Rejected::BadRev),
        Verdict::Reject(Rejected::FutureRev),
        Verdict::Reject(Rejected::BadSignature),
        Verdict::Reject(Rejected::AccountLimit),
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Apply => "applied",
            Verdict::ApplyUnproven => "applied_unproven",
            Verdict::Hold => "held",
            Verdict::NewRepo => "new_repo",
            Verdict::Claim => "claim",
            Verdict::Identify => "identify",
            Verdict::Ignore(Ignored::OldRev) => "ignored_old_rev",
            Verdict::Ignore(Ignored::UnknownRepo) => "ignored_unknown_repo",
            Verdict::Ignore(Ignored::Inactive) => "ignored_inactive",
            Verdict::Ignore(Ignored::NoIdentity) => "ignored_no_identity",
            Verdict::Desync(Desync::Since) => "desync_since",
            Verdict::Desync(Desync::PrevData) => "desync_prev_data",
            Verdict::Desync(Desync::SyncData) => "desync_sync_data",
            Verdict::Desync(Desync::LegacyOps) => "desync_legacy_ops",
            Verdict::Desync(Desync::NeverFetched) => "desync_never_fetched",
            Verdict::Desync(Desync::Flaw(flaw)) => match flaw {
                Flaw::TooBig => "desync_too_big",
                Flaw::OverLimit => "desync_over_limit",
                Flaw::BadBlocks => "desync_bad_blocks",
                Flaw::CommitMismatch => "desync_commit_mismatch",
                Flaw::BadOps => "desync_bad_ops",
                Flaw::BadSignature => "desync_bad_signature",
                Flaw::NotVerified => "desync_not_verified",
                // `verdict` rejects these before it looks further.
                Flaw::FutureRev => "desync_future_rev",
            },
            Verdict::Reject(Rejected::OtherHost) => "rejected_other_host",
            Verdict::Reject(Rejected::BadRev) => "rejected_bad_rev",
            Verdict::Reject(Rejected::FutureRev) => "rejected_future_rev",
            Verdict::Reject(Rejected::BadSignature) => "rejected_bad_signature",
            Verdict::Reject(Rejected::AccountLimit) => "rejected_account_limit",
        }
    }
}
