//! Verified facts -> row changes: the core. What a listed repo, a fetched repo or a live event changes is decided and written here,
//! in one transaction that the caller opens; nothing here touches the network or verifies bytes.
//! Invariants: a repo's rows, counts, rev, head and data CID change together; only its own host changes a repo; a repo with a job or
//! with held events takes live commits in order after it.

mod account;
mod event;
mod legacy;
mod listing;
mod records;
mod snapshot;
#[cfg(test)]
mod tests;
mod verdict;

pub use account::{fetched_gone, fetched_inactive, fetched_status, identity_resolved, not_at_this_host};
pub use event::{Ingested, ingest, ingest_held};
pub use legacy::{LegacyOp, LegacyProof};
pub use listing::{Listed, Suspect, ask_after_missing, list_page, settle_suspects};
pub use snapshot::{Replaced, Replacement, replace_repo, take_unmatched};
pub use verdict::{
    Author, CommitFact, Desync, Event, Fact, Flaw, Ignored, LegacyCommit, ProvenCommit, RecordChange, Rejected,
    SyncedCommit, Verdict, verdict,
};
