//! A host's `com.atproto.sync.listRepos`, compared with what is known: new accounts are queued, changed ones are fetched again, ones that
//! are gone are asked after, unchanged ones cost nothing. The page cursor moves in the same transaction as its repos.

use super::account::{account_gone, account_status};
use crate::host::ListedRepo;
use crate::repo::DagCid;
use crate::store::{HostId, JobId, JobKind, RepoId, RepoState, Status, Tx, TxResult, Urgency};
use crate::syntax::{Did, Rev};

const GONE_PAGE: usize = 500;

/// What a page came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Accounts that were not known.
    pub new: usize,
    /// Accounts that were not known, and for which the host has no room.
    pub waiting: usize,
    /// Accounts that are fetched again at once.
    pub queued: usize,
    /// Accounts whose head differs: to be looked at again after a moment, for the event may be on its way.
    pub suspects: Vec<Suspect>,
    /// Accounts of the host, as far as is known now.
    pub own: Vec<RepoId>,
}

impl Listed {
    /// Adds what a further part of the page came to.
    pub fn add(&mut self, part: Listed) {
        self.new += part.new;
        self.waiting += part.waiting;
        self.queued += part.queued;
        self.suspects.extend(part.suspects);
        self.own.extend(part.own);
    }
}

/// A listed repo that differed from what was indexed at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    did: Did,
    indexed_rev: Rev,
    listed_head: Option<DagCid>,
    listed_rev: Option<Rev>,
}

/// Takes in a page that `from` listed, and saves where the listing goes on. A host that was closed meanwhile changes nothing.
pub fn list_page(tx: &Tx, from: HostId, job: JobId, repos: &[ListedRepo], next: Option<&str>) -> TxResult<Listed> {
    let mut listed = Listed::default();
    if !tx.is_open(from)? {
        return Ok(listed);
    }
    let mut claims_left = None;
    for repo in repos {
        match tx.repo(&repo.did)? {
            None if !tx.has_room_for_account(from)? => {
                // One that is not active is nothing to wait for.
                if repo.active {
                    tx.wait_for_room(from, &repo.did)?;
                }
                listed.waiting += 1;
            }
            None => {
                listed.own.push(list_new(tx, from, repo)?);
                listed.new += 1;
            }
            // The DID document decides whether the account moved here; what an inactive one says here counts for nothing.
            Some(known) if known.host_id != from => {
                if repo.active && !tx.is_refused(known.id, from)? {
                    claim(tx, from, known.id, &mut claims_left)?;
                }
            }
            Some(known) => {
                listed.own.push(known.id);
                list_known(tx, &known, repo, &mut listed)?;
            }
        }
    }
    tx.set_page_cursor(job, next)?;
    Ok(listed)
}

/// Looks again at repos that differed: those on which no event arrived meanwhile are fetched. Answers how many.
pub fn settle_suspects(tx: &Tx, from: HostId, suspects: &[Suspect]) -> TxResult<usize> {
    let mut missed = 0;
    for suspect in suspects {
        let Some(repo) = tx.repo(&suspect.did)?.filter(|repo| repo.host_id == from && repo.active && !repo.busy) else {
            continue;
        };
        let has_moved_on = repo.verified.as_ref().is_none_or(|(rev, _)| *rev != suspect.indexed_rev);
        if has_moved_on || is_same(&repo, suspect.listed_head, suspect.listed_rev.as_ref()) {
            continue;
        }
        tx.mark_desynchronized(repo.id)?;
        tx.queue_repo(from, repo.id, JobKind::Repo, Urgency::First)?;
        missed += 1;
    }
    if missed > 0 {
        // Its repos change, and its firehose says nothing: perhaps it waits for a seq that the host will not reach for long.
        tx.restart_if_silent(from)?;
    }
    Ok(missed)
}

/// Asks after active repos of a host that a whole walk of its list did not name, a part of them at a time. Answers after which repo
/// to go on, None at the end.
pub fn ask_after_missing(
    tx: &Tx,
    from: HostId,
    after: RepoId,
    is_listed: impl Fn(RepoId) -> bool,
) -> TxResult<Option<RepoId>> {
    let repos = tx.active_repos_of(from, after, GONE_PAGE)?;
    for repo in &repos {
        if !is_listed(*repo) {
            tx.queue_repo(from, *repo, JobKind::Status, Urgency::InTurn)?;
        }
    }
    Ok(repos.last().filter(|_| repos.len() == GONE_PAGE).copied())
}

/// Asks whether an account of another host lives here now, unless the host claims too many.
fn claim(tx: &Tx, from: HostId, repo: RepoId, claims_left: &mut Option<i64>) -> TxResult<()> {
    let left = match claims_left {
        Some(left) => left,
        none => none.insert(tx.claims_left(from)?),
    };
    if *left > 0 {
        *left -= 1;
        tx.queue_repo(from, repo, JobKind::Repo, Urgency::InTurn)?;
    }
    Ok(())
}

fn list_new(tx: &Tx, from: HostId, repo: &ListedRepo) -> TxResult<RepoId> {
    let id = tx.insert_repo(&repo.did, from, repo.active, status_of(repo))?;
    tx.set_repo_listed(id, repo.rev.as_ref(), repo.head)?;
    if repo.active {
        tx.queue_repo(from, id, JobKind::Repo, Urgency::InTurn)?;
    }
    Ok(id)
}

fn list_known(tx: &Tx, known: &RepoState, repo: &ListedRepo, listed: &mut Listed) -> TxResult<()> {
    let status = status_of(repo);
    if !repo.active && status == Some(Status::Deleted) {
        account_gone(tx, known)?;
        return Ok(());
    }
    if known.active != repo.active || known.status != status {
        account_status(tx, known, repo.active, status)?;
    }
    if !repo.active {
        return Ok(());
    }
    if known.stale_head.is_some() && known.stale_head == repo.head {
        // It served this older head before, and now lists it: it was restored from a backup, and what we know of its chain is void. The
        // job that was given the older head waits for its next attempt.
        tx.forget_chain(known.id)?;
        listed.queued += 1;
        tx.queue_repo(known.host_id, known.id, JobKind::Repo, Urgency::First)?;
        return tx.retry_now(known.id, known.host_id);
    }
    if !known.active {
        return Ok(());
    }
    if known.busy {
        // What is on its way may be older than this.
        if !is_same(known, repo.head, repo.rev.as_ref()) && tx.is_being_fetched(known.id, known.host_id)? {
            tx.queue_repo(known.host_id, known.id, JobKind::Repo, Urgency::InTurn)?;
        }
        return Ok(());
    }
    if known.verified.is_some() && !known.unproven {
        if !is_same(known, repo.head, repo.rev.as_ref())
            && let Some((indexed_rev, _)) = known.verified
        {
            listed.suspects.push(Suspect {
                did: repo.did.clone(),
                indexed_rev,
                listed_head: repo.head,
                listed_rev: repo.rev,
            });
        }
        return Ok(());
    }
    listed.queued += 1;
    tx.queue_repo(known.host_id, known.id, JobKind::Repo, Urgency::InTurn)
}

/// Whether a listed repo is what is indexed. Its rev counts only where there is no head: after an account import the rev differs
/// while nothing changed.
fn is_same(known: &RepoState, head: Option<DagCid>, rev: Option<&Rev>) -> bool {
    match (head, rev) {
        (Some(head), _) => known.head == Some(head),
        (None, Some(rev)) => known.verified.as_ref().is_some_and(|(indexed, _)| indexed == rev),
        (None, None) => false,
    }
}

fn status_of(repo: &ListedRepo) -> Option<Status> {
    let named = repo.status.as_deref().map(Status::parse);
    if repo.active { named } else { named.or(Some(Status::Unknown)) }
}
