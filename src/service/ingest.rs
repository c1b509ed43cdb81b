//! Whatever writes by itself (crawl, firehoses, held events, forgotten hosts), run together; while the disk is full they stand still.
//!
//! A write that finds no room leaves nothing in the database, and with it no cursor: all parts stop, and begin again from the rows
//! once there is space, as after a restart. So nothing is lost, and no part needs to know how to write something later.

use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::crawl::{self, Crawler};
use crate::store::{Store, StoreError};
use crate::subscribe::{self, Subscriber};

/// Between looks whether there is space; doubled when it was full again at once, for then it is not free space that lacks.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why the parts ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Shutdown,
    DiskFull,
}

/// Works until `shutdown`, or until a part fails for another reason than a full disk.
pub(super) async fn run(crawler: Crawler, subscriber: Subscriber, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let began = Instant::now();
        if run_until_full(&crawler, &subscriber, &shutdown).await? == Ended::Shutdown {
            return Ok(());
        }
        pause = if began.elapsed() > LONGEST_PAUSE { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        if shutdown.run_until_cancelled(wait_for_room(&crawler.store, pause)).await.transpose()?.is_none() {
            return Ok(());
        }
    }
}

async fn wait_for_room(store: &Store, pause: Duration) -> Result<(), StoreError> {
    loop {
        sleep(pause).await;
        match store.begin_anew().await {
            Err(StoreError::Full) => {}
            begun => return begun,
        }
    }
}

async fn run_until_full(
    crawler: &Crawler,
    subscriber: &Subscriber,
    shutdown: &CancellationToken,
) -> anyhow::Result<Ended> {
    let mut full = crawler.store.disk_full();
    let stop = shutdown.child_token();
    let mut parts: JoinSet<(&str, Result<(), StoreError>)> = JoinSet::new();
    let (crawl, forget, follow, held) = (crawler.clone(), crawler.clone(), subscriber.clone(), subscriber.clone());
    let stopped = || stop.clone();
    parts.spawn(named("crawl", crawl::run(crawl, stopped())));
    parts.spawn(named("forget", crawl::run_forget(forget, stopped())));
    parts.spawn(named("subscribe", subscribe::run(follow, stopped())));
    parts.spawn(named("held events", subscribe::run_held(held, stopped())));
    let mut ended = tokio::select! {
        // Also where the part that was refused is not one of these.
        _ = full.wait_for(|full| *full) => Ok(Ended::DiskFull),
        Some(ended) = parts.join_next() => match judge(ended) {
            Ok(Ended::Shutdown) if !shutdown.is_cancelled() => Err(anyhow!("a part of signpost ended by itself")),
            ended => ended,
        },
    };
    stop.cancel();
    while let Some(other) = parts.join_next().await {
        ended = ended.and_then(|ended| judge(other).map(|_| ended));
    }
    ended
}

async fn named(
    name: &'static str,
    work: impl Future<Output = Result<(), StoreError>>,
) -> (&'static str, Result<(), StoreError>) {
    (name, work.await)
}

/// A panic is a fault of ours: it stops the process like an error.
fn judge(ended: Result<(&'static str, Result<(), StoreError>), JoinError>) -> anyhow::Result<Ended> {
    match ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        (_, Ok(())) => Ok(Ended::Shutdown),
        (_, Err(StoreError::Full)) => Ok(Ended::DiskFull),
        (name, Err(error)) => Err(error).context(name),
    }
}
