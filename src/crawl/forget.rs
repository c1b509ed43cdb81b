//! Forgets hosts, a bounded number of rows at a time: those that an operator had forgotten, and those that never answered in 30 days.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Crawler;
use crate::store::{Durability, StoreError};

const LOOK_FOR_UNREACHED: Duration = Duration::from_secs(3600);

/// Works until `shutdown`; what is left then is found again at the next start.
pub async fn run(crawler: Crawler, shutdown: CancellationToken) -> Result<(), StoreError> {
    let mut unreached = tokio::time::interval(LOOK_FOR_UNREACHED);
    loop {
        while !shutdown.is_cancelled() && crawler.store.forget_some().await? {}
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = crawler.store.signals().forget.notified() => {}
            _ = unreached.tick() => forget_unreached(&crawler, &shutdown).await?,
        }
    }
}

async fn forget_unreached(crawler: &Crawler, shutdown: &CancellationToken) -> Result<(), StoreError> {
    loop {
        let hosts = crawler.store.write(Durability::Replayable, |tx| tx.forget_unreached_hosts()).await?;
        if hosts > 0 {
            tracing::info!(hosts, "forgot hosts that never answered in 30 days");
        }
        if hosts == 0 || shutdown.is_cancelled() {
            return Ok(());
        }
    }
}
