//! A page of a host's `com.atproto.sync.listRepos`, compared with what is known: new accounts are queued, changed ones are fetched
//! again, unchanged ones cost nothing. The page cursor moves in the same transaction.

use super::account::{account_gone, account_status};
use crate::host::ListedRepo;
use crate::store::{HostId, JobId, JobKind, RepoState, Status, Tx, TxResult, Urgency};

/// What a page came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listed {
    /// Accounts that were not known.
    pub new: usize,
    /// Accounts that are fetched again.
    pub changed: usize,
}

/// Takes in a page that `from` listed, and saves where the listing goes on.
pub fn list_page(tx: &Tx, from: HostId, job: JobId, repos: &[ListedRepo], next: Option<&str>) -> TxResult<Listed> {
    let mut listed = Listed::default();
    for repo in repos {
        match tx.repo(&repo.did)? {
            None => {
                list_new(tx, from, repo)?;
                listed.new += 1;
            }
            // The DID document decides whether the account moved here; what an inactive one says here counts for nothing.
            Some(known) if known.host_id != from => {
                if repo.active {
                    tx.queue_repo(from, known.id, JobKind::Repo, Urgency::InTurn)?;
                }
            }
            Some(known) => listed.changed += usize::from(list_known(tx, &known, repo)?),
        }
    }
    tx.set_page_cursor(job, next)?;
    Ok(listed)
}

fn list_new(tx: &Tx, from: HostId, repo: &ListedRepo) -> TxResult<()> {
    let id = tx.insert_repo(&repo.did, from, repo.active, status_of(repo))?;
    tx.set_repo_listed(id, repo.rev.as_ref(), repo.head)?;
    if repo.active {
        tx.queue_repo(from, id, JobKind::Repo, Urgency::InTurn)?;
    }
    Ok(())
}

/// Answers whether the repo is fetched again.
fn list_known(tx: &Tx, known: &RepoState, repo: &ListedRepo) -> TxResult<bool> {
    let status = status_of(repo);
    if !repo.active && status == Some(Status::Deleted) {
        account_gone(tx, known)?;
        return Ok(false);
    }
    if known.active != repo.active || known.status != status {
        account_status(tx, known, repo.active, status)?;
    }
    if !repo.active || known.busy {
        return Ok(false);
    }
    let is_same = match (&known.verified, repo.head, &repo.rev) {
        (None, _, _) => false,
        (Some(_), Some(head), _) => known.head == Some(head),
        (Some((known_rev, _)), None, Some(rev)) => known_rev == rev,
        (Some(_), None, None) => false,
    };
    if !is_same {
        tx.queue_repo(known.host_id, known.id, JobKind::Repo, Urgency::InTurn)?;
    }
    Ok(!is_same)
}

fn status_of(repo: &ListedRepo) -> Option<Status> {
    let named = repo.status.as_deref().map(Status::parse);
    if repo.active { named } else { named.or(Some(Status::Unknown)) }
}
