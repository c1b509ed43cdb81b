//! A host's job: probe it, have its firehose connected, then list its repos to the end (`com.atproto.sync.listRepos`). The order
//! matters: what is written while the list is read is heard on the firehose.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Crawler, Ended};
use crate::host::{HostError, ListReposPage, ListedRepo, full_jitter};
use crate::index::{self, Listed};
use crate::metrics;
use crate::store::{Durability, HostId, HostJob, RepoId, StoreError};

const PAGE_REPOS: u16 = 1000;
/// Rows of a page in one transaction.
const PART_REPOS: usize = 100;
/// Against hosts that make up new page cursors for ever: 100 million accounts.
const MAX_PAGES: usize = 100_000;
/// After so many attempts, some minutes, a host is not just being restarted.
const LASTING_ATTEMPTS: u32 = 8;
const RETRY_CAP: Duration = Duration::from_secs(3600);

pub(super) async fn work(crawler: &Crawler, job: HostJob) -> Result<Ended, StoreError> {
    match crawl(crawler, &job).await? {
        Ok(()) => {
            crawler.metrics.crawl_job(metrics::JobKind::Host, "done");
            Ok(Ended::Answered)
        }
        Err(error) => {
            crawler.metrics.crawl_job(metrics::JobKind::Host, error.reason());
            fail(crawler, job, error).await
        }
    }
}

async fn fail(crawler: &Crawler, job: HostJob, error: HostError) -> Result<Ended, StoreError> {
    let words = error.to_string();
    let (host, attempts) = (job.host.clone(), job.attempts);
    let (asked_to_wait, retry_in) = match error.retry_after() {
        Some(wait) => (true, wait),
        None => (false, full_jitter(job.attempts, crawler.timing.retry_base, RETRY_CAP)),
    };
    let was_reached = crawler
        .store
        .write(Durability::Replayable, move |tx| {
            let was_reached = tx.was_reached(job.host_id)?;
            if asked_to_wait {
                tx.postpone_job(job.job_id, &words, retry_in)?;
                return Ok(was_reached);
            }
            tx.host_unreachable(job.host_id)?;
            tx.give_up_reindex(job.host_id)?;
            tx.fail_job(job.job_id, &words, retry_in)?;
            Ok(was_reached)
        })
        .await?;
    // Tried again and again, and told of once: at once of a host that somebody has just announced, later of one that may be restarting.
    let tells_at = if was_reached { LASTING_ATTEMPTS } else { 1 };
    if attempts == tells_at && !asked_to_wait {
        tracing::info!(%host, %error, attempts, "the host cannot be crawled now: it is tried again by itself");
    } else {
        tracing::debug!(%host, %error, attempts, "the host cannot be crawled now");
    }
    Ok(Ended::Unreachable)
}

async fn crawl(crawler: &Crawler, job: &HostJob) -> Result<Result<(), HostError>, StoreError> {
    let host_id = job.host_id;
    // A host whose firehose stands needs no proof: comparing it costs the pages of its list alone.
    if crawler.store.read(move |tx| tx.is_connected(host_id)).await? {
        return list(crawler, job).await;
    }
    if let Err(error) = probe(crawler, job).await {
        return Ok(Err(error));
    }
    crawler.store.write(Durability::Replayable, move |tx| tx.host_reached(host_id)).await?;
    if !firehose_connects(crawler, job).await? {
        tracing::info!(host = %job.host, "the host's repos are listed without its firehose, which does not connect: does its proxy let WebSocket through?");
        crawler.store.write(Durability::Replayable, move |tx| tx.relist_on_connect(host_id)).await?;
    }
    list(crawler, job).await
}

/// Old holds have no describeServer; a page of repos proves as much.
async fn probe(crawler: &Crawler, job: &HostJob) -> Result<(), HostError> {
    match crawler.client.describe_server(&job.host).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_answer() => crawler.client.list_repos(&job.host, None, 1).await.map(drop),
        Err(error) => Err(error),
    }
}

async fn firehose_connects(crawler: &Crawler, job: &HostJob) -> Result<bool, StoreError> {
    let host_id = job.host_id;
    let deadline = Instant::now() + crawler.timing.firehose_wait;
    loop {
        let connected = crawler.store.signals().connected.notified();
        tokio::pin!(connected);
        // Registered before the row is read: a connection between the two is not missed.
        connected.as_mut().enable();
        if crawler.store.read(move |tx| tx.is_connected(host_id)).await? {
            return Ok(true);
        }
        if tokio::time::timeout_at(deadline, connected).await.is_err() {
            return Ok(false);
        }
    }
}

/// Walks the list, from where it was left. Repos that differ are looked at again after a moment; after a walk from the first page to
/// a plain end, repos of the host that it did not name are asked after.
async fn list(crawler: &Crawler, job: &HostJob) -> Result<Result<(), HostError>, StoreError> {
    let (host_id, job_id) = (job.host_id, job.job_id);
    // Read after the firehose stands: a connection without a cursor starts the listing again.
    let mut walk = Walk::from(crawler.store.read(move |tx| tx.page_cursor(job_id)).await?);
    for _ in 0..MAX_PAGES {
        let asked = walk.page_cursor().map(str::to_owned);
        let page = match crawler.client.list_repos(&job.host, walk.page_cursor(), PAGE_REPOS).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let skipped = page.skipped;
        crawler.metrics.listed_rows_skipped(skipped as u64);
        let repos = walk.pass(page);
        let next = walk.page_cursor().map(str::to_owned);
        let listed = take_in(crawler, job, repos, asked, next).await?;
        let (new, waiting, queued, differ) = (listed.new, listed.waiting, listed.queued, listed.suspects.len());
        walk.note(&listed.own);
        tracing::debug!(host = %job.host, new, waiting, queued, differ, skipped, "listed a page of repos");
        if differ > 0 {
            tokio::time::sleep(crawler.timing.grace).await;
            let missed = crawler
                .store
                .write(Durability::Replayable, move |tx| index::settle_suspects(tx, host_id, &listed.suspects))
                .await?;
            crawler.metrics.missed_commits(missed as u64);
        }
        if walk.page_cursor().is_none() {
            break;
        }
    }
    if let Some(repos_seen) = walk.whole() {
        ask_after_missing(crawler, host_id, repos_seen).await?;
    }
    // Earlier than asked, never later, and not all hosts of a start together.
    let compare_in = crawler.compare_every.mul_f64(0.85 + 0.15 * fastrand::f64());
    crawler.store.write(Durability::Replayable, move |tx| tx.finish_host_job(job_id, compare_in)).await?;
    Ok(Ok(()))
}

/// Takes in a page, a part at a time, so that others write between two of them; where to go on is saved with the last.
async fn take_in(
    crawler: &Crawler,
    job: &HostJob,
    mut repos: Vec<ListedRepo>,
    asked: Option<String>,
    next: Option<String>,
) -> Result<Listed, StoreError> {
    let (host_id, job_id) = (job.host_id, job.job_id);
    let mut listed = Listed::default();
    loop {
        let rest = repos.split_off(repos.len().min(PART_REPOS));
        let part = std::mem::replace(&mut repos, rest);
        let saved = if repos.is_empty() { next.clone() } else { asked.clone() };
        let part = crawler
            .store
            .write(Durability::Replayable, move |tx| index::list_page(tx, host_id, job_id, &part, saved.as_deref()))
            .await?;
        listed.add(part);
        if repos.is_empty() {
            return Ok(listed);
        }
    }
}

async fn ask_after_missing(crawler: &Crawler, host_id: HostId, seen: HashSet<RepoId>) -> Result<(), StoreError> {
    let seen = Arc::new(seen);
    let mut after = Some(RepoId(0));
    while let Some(from) = after {
        let seen = seen.clone();
        let is_listed = move |repo: RepoId| seen.contains(&repo);
        after = crawler
            .store
            .write(Durability::Replayable, move |tx| index::ask_after_missing(tx, host_id, from, is_listed))
            .await?;
    }
    Ok(())
}

/// A walk of a host's list.
pub(crate) struct Walk {
    page_cursor: Option<String>,
    is_whole: bool,
    /// Hashes of the page cursors: a host may make up long ones.
    cursors_seen: HashSet<u64>,
    state: RandomState,
    /// Only of accounts that are the host's here: it may list others without end.
    repos_seen: HashSet<RepoId>,
}

impl Walk {
    /// A walk that goes on at this page, or begins.
    pub(crate) fn from(page_cursor: Option<String>) -> Walk {
        let is_whole = page_cursor.is_none();
        let (cursors_seen, state) = (HashSet::new(), RandomState::new());
        Walk { page_cursor, is_whole, cursors_seen, state, repos_seen: HashSet::new() }
    }

    /// The page to ask for: the first, the next, and none after the last one passed.
    pub(crate) fn page_cursor(&self) -> Option<&str> {
        self.page_cursor.as_deref()
    }

    /// Passes a page; answers its repos.
    pub(crate) fn pass(&mut self, page: ListReposPage) -> Vec<ListedRepo> {
        let ListReposPage { repos, skipped, cursor } = page;
        // One that repeats would go round for ever; who sends it may have left repos out.
        let hash = cursor.as_deref().map(|cursor| self.state.hash_one(cursor));
        let repeats = hash.is_some_and(|hash| !self.cursors_seen.insert(hash));
        self.is_whole &= !repeats && skipped == 0;
        self.page_cursor = cursor.filter(|_| !repeats);
        repos
    }

    /// Notes which accounts of the host a page named.
    pub(crate) fn note(&mut self, own: &[RepoId]) {
        self.repos_seen.extend(own);
    }

    /// After the last page: the host's accounts that were listed, when the walk began at the first page and left nothing out.
    pub(crate) fn whole(self) -> Option<HashSet<RepoId>> {
        Some(self.repos_seen).filter(|_| self.is_whole && self.page_cursor.is_none())
    }
}
