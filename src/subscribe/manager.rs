//! One task per row of `subscriptions`: started when the row appears, woken when the host asks to be crawled, ended when the host is
//! closed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::{Id, JoinSet};
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
    stop: CancellationToken,
}

/// Follows every open host until `shutdown`; each connection then ends after the batch that it is in.
pub async fn run(subscriber: Subscriber, shutdown: CancellationToken) -> Result<(), StoreError> {
    let mut connections: JoinSet<Result<(), StoreError>> = JoinSet::new();
    let mut known: HashMap<HostId, Known> = HashMap::new();
    let mut rates = EventRates::default();
    let mut tasks: HashMap<Id, HostId> = HashMap::new();
    loop {
        let mut open = HashSet::new();
        for (Subscription { host_id, woken_at, restarts, .. }, limits) in subscriber.store.read(with_limits).await? {
            open.insert(host_id);
            let rate = rates.of(host_id, limits);
            let Some(connection) = known.get_mut(&host_id) else {
                let (bells, stop) = (Arc::new(Bells::default()), shutdown.child_token());
                let follow = connection::follow(subscriber.clone(), host_id, bells.clone(), rate, stop.clone());
                tasks.insert(connections.spawn(follow).id(), host_id);
                known.insert(host_id, Known { bells, woken_at, restarts, stop });
                continue;
            };
            if std::mem::replace(&mut connection.woken_at, woken_at) < woken_at {
                connection.bells.wake.notify_one();
            }
            if std::mem::replace(&mut connection.restarts, restarts) < restarts {
                connection.bells.restart.notify_one();
            }
        }
        // One that is opened again before its task has ended is followed by the next.
        for (_, closed) in known.iter().filter(|(host_id, _)| !open.contains(host_id)) {
            closed.stop.cancel();
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = subscriber.store.signals().subscribe.notified() => {}
            Some(ended) = connections.join_next_with_id() => {
                let (task, ended) = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                ended?;
                if let Some(host_id) = tasks.remove(&task) {
                    known.remove(&host_id);
                }
            }
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
