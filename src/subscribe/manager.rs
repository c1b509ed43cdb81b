//! One task per row of `subscriptions`: started when the row appears, woken when the host asks to be crawled.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Subscriber;
use super::connection::{self, Bells};
use super::rate::EventRates;
use crate::store::{EventLimits, HostId, StoreError, Subscription, Tx, TxResult};

/// A connection, and what it was told last.
struct Known {
    bells: Arc<Bells>,
    woken_at: i64,
    restarts: i64,
}

/// Follows every host until `shutdown`; each connection then ends after the batch that it is in.
pub async fn run(subscriber: Subscriber, shutdown: CancellationToken) -> Result<(), StoreError> {
    let mut connections: JoinSet<Result<(), StoreError>> = JoinSet::new();
    let mut known: HashMap<HostId, Known> = HashMap::new();
    let mut rates = EventRates::default();
    loop {
        for (Subscription { host_id, woken_at, restarts, .. }, limits) in subscriber.store.read(with_limits).await? {
            let rate = rates.of(host_id, limits);
            let Some(connection) = known.get_mut(&host_id) else {
                let bells = Arc::new(Bells::default());
                known.insert(host_id, Known { bells: bells.clone(), woken_at, restarts });
                connections.spawn(connection::follow(subscriber.clone(), host_id, bells, rate, shutdown.clone()));
                continue;
            };
            if std::mem::replace(&mut connection.woken_at, woken_at) < woken_at {
                connection.bells.wake.notify_one();
            }
            if std::mem::replace(&mut connection.restarts, restarts) < restarts {
                connection.bells.restart.notify_one();
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = subscriber.store.signals().subscribe.notified() => {}
            Some(ended) = connections.join_next() => match ended {
                // A connection ends only at shutdown or with the store.
                Ok(ended) => ended?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
        }
    }
    while let Some(ended) = connections.join_next().await {
        match ended {
            Ok(ended) => ended?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(())
}

fn with_limits(tx: &Tx) -> TxResult<Vec<(Subscription, EventLimits)>> {
    let mut rows = Vec::new();
    for row in tx.subscriptions()? {
        let limits = tx.event_limits(row.host_id)?;
        rows.push((row, limits));
    }
    Ok(rows)
}
