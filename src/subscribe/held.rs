//! Applies the events that were held while their repo was being fetched, once its job is done.

use tokio_util::sync::CancellationToken;

use super::{Subscriber, verify};
use crate::index;
use crate::store::{Durability, StoreError};

/// Works until `shutdown`; what is left then is found again at the next start.
pub async fn run(subscriber: Subscriber, shutdown: CancellationToken) -> Result<(), StoreError> {
    loop {
        let ready = subscriber.store.read(|tx| tx.repos_with_ready_events()).await?;
        if ready.is_empty() {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = subscriber.store.signals().held.notified() => continue,
            }
        }
        for (repo, host_id) in ready {
            if shutdown.is_cancelled() {
                return Ok(());
            }
            let (clock, filter) = (subscriber.clock.clone(), subscriber.store.filter().clone());
            let (events, last) = subscriber
                .store
                .read(move |tx| {
                    let held = tx.held_events(repo, host_id)?;
                    let last = held.last().map(|event| event.seq);
                    Ok((verify::held(tx, repo, host_id, held, &clock, &filter)?, last))
                })
                .await?;
            let ingested = subscriber
                .store
                .write(Durability::Replayable, move |tx| index::ingest_held(tx, host_id, repo, events, last))
                .await?;
            subscriber.count_rows(&ingested);
        }
    }
}
