//! A host's job: probe it, have its firehose connected, then list its repos to the end (`com.atproto.sync.listRepos`). The order
//! matters: what is written while the list is read is heard on the firehose.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::{Crawler, Ended};
use crate::host::{HostError, ListReposPage, full_jitter};
use crate::index;
use crate::metrics;
use crate::store::{Durability, HostJob, StoreError};

const PAGE_REPOS: u16 = 1000;
/// Against hosts that make up new page cursors for ever: 100 million accounts.
const MAX_PAGES: usize = 100_000;
const RETRY_CAP: Duration = Duration::from_secs(3600);

pub(super) async fn work(crawler: &Crawler, job: HostJob) -> Result<Ended, StoreError> {
    let host = job.host.clone();
    match crawl(crawler, &job).await? {
        Ok(()) => {
            crawler.metrics.crawl_job(metrics::JobKind::Host, "done");
            Ok(Ended::Answered)
        }
        Err(error) => {
            crawler.metrics.crawl_job(metrics::JobKind::Host, error.reason());
            tracing::info!(%host, %error, attempts = job.attempts, "host cannot be crawled now");
            fail(crawler, job, error).await
        }
    }
}

async fn fail(crawler: &Crawler, job: HostJob, error: HostError) -> Result<Ended, StoreError> {
    let words = error.to_string();
    let (asked_to_wait, retry_in) = match error.retry_after() {
        Some(wait) => (true, wait),
        None => (false, full_jitter(job.attempts, crawler.timing.retry_base, RETRY_CAP)),
    };
    crawler
        .store
        .write(Durability::Replayable, move |tx| {
            if asked_to_wait {
                return tx.postpone_job(job.job_id, &words, retry_in);
            }
            tx.host_unreachable(job.host_id)?;
            tx.give_up_reindex(job.host_id)?;
            tx.fail_job(job.job_id, &words, retry_in)
        })
        .await?;
    Ok(Ended::Unreachable)
}

async fn crawl(crawler: &Crawler, job: &HostJob) -> Result<Result<(), HostError>, StoreError> {
    if let Err(error) = probe(crawler, job).await {
        return Ok(Err(error));
    }
    let host_id = job.host_id;
    crawler.store.write(Durability::Replayable, move |tx| tx.host_reached(host_id)).await?;
    if !firehose_connects(crawler, job).await? {
        tracing::info!(host = %job.host, "listing repos without a firehose: it does not connect; is WebSocket let through?");
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

async fn list(crawler: &Crawler, job: &HostJob) -> Result<Result<(), HostError>, StoreError> {
    let (host_id, job_id) = (job.host_id, job.job_id);
    // Read after the firehose stands: a connection without a cursor starts the listing again.
    let mut page_cursor = crawler.store.read(move |tx| tx.page_cursor(job_id)).await?;
    let mut seen = HashSet::new();
    for _ in 0..MAX_PAGES {
        let page = match crawler.client.list_repos(&job.host, page_cursor.as_deref(), PAGE_REPOS).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let ListReposPage { repos, skipped, cursor } = page;
        crawler.metrics.listed_rows_skipped(skipped as u64);
        // One that repeats would go round for ever.
        let next = cursor.filter(|cursor| seen.insert(fingerprint(cursor)));
        let saved = next.clone();
        let listed = crawler
            .store
            .write(Durability::Replayable, move |tx| index::list_page(tx, host_id, job_id, &repos, saved.as_deref()))
            .await?;
        tracing::debug!(host = %job.host, new = listed.new, changed = listed.changed, skipped, "listed a page of repos");
        match next {
            Some(next) => page_cursor = Some(next),
            None => break,
        }
    }
    crawler.store.write(Durability::Replayable, move |tx| tx.finish_host_job(job_id)).await?;
    Ok(Ok(()))
}

fn fingerprint(page_cursor: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    page_cursor.hash(&mut hasher);
    hasher.finish()
}
