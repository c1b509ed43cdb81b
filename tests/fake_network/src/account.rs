//! An account as its host holds it.

use serde_json::{Value, json};

use crate::directory::DocumentForm;
use crate::keys::{Curve, SigningKey};
use crate::repo::Repo;

/// The method of a new account's DID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DidKind {
    /// did:plc, in the network's PLC directory.
    #[default]
    Plc,
    /// did:web of the host's own name, as an ATCR hold has it; at most one per host.
    Web,
}

/// What a new account is like.
#[derive(Clone, Debug, Default)]
pub struct AccountOptions {
    /// The method of its DID.
    pub did: DidKind,
    /// The curve of its signing key.
    pub curve: Curve,
    /// How its DID document names the key.
    pub document: DocumentForm,
    /// Its handle; `userN.test` if there is none.
    pub handle: Option<String>,
}

impl AccountOptions {
    /// The host's own did:web account.
    pub fn web() -> AccountOptions {
        AccountOptions { did: DidKind::Web, ..AccountOptions::default() }
    }
}

/// What a host says about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is there for all.
    Active,
    /// Its owner switched it off, or moved away.
    Deactivated,
    /// Its host took it down.
    Takendown,
    /// Its host suspended it.
    Suspended,
    /// Its host slows it, and it is active nevertheless.
    Throttled,
}

impl Status {
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Status::Active | Status::Throttled)
    }

    /// The `status` of an inactive account.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Status::Active => None,
            Status::Deactivated => Some("deactivated"),
            Status::Takendown => Some("takendown"),
            Status::Suspended => Some("suspended"),
            Status::Throttled => Some("throttled"),
        }
    }

    /// The XRPC error with which the repo of an inactive account is refused.
    pub(crate) fn error(self) -> Option<&'static str> {
        match self {
            Status::Active | Status::Throttled => None,
            Status::Deactivated => Some("RepoDeactivated"),
            Status::Takendown => Some("RepoTakendown"),
            Status::Suspended => Some("RepoSuspended"),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) did: String,
    /// Its place in listRepos, from 1.
    pub(crate) ordinal: u64,
    pub(crate) key: SigningKey,
    pub(crate) status: Status,
    pub(crate) repo: Repo,
    /// The rev that the host tells; after a migration it is later than the signed commit's.
    pub(crate) rev: String,
}

impl Account {
    /// The row of listRepos.
    pub(crate) fn listed(&self) -> Value {
        let mut row = json!({
            "did": self.did,
            "head": self.repo.head().block().cid.to_string(),
            "rev": self.rev,
            "active": self.status.is_active(),
        });
        if let Some(status) = self.status.name() {
            row["status"] = status.into();
        }
        row
    }
}
