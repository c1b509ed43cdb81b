//! One task per row of `subscriptions`: started when the row appears, woken when the host asks to be crawled.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Subscriber, connection};
use crate::store::{HostId, StoreError};

/// Follows every host until `shutdown`; each connection then ends after the batch that it is in.
pub async fn run(subscriber: Subscriber, shutdown: CancellationToken) -> Result<(), StoreError> {
    let mut connections: JoinSet<Result<(), StoreError>> = JoinSet::new();
    let mut known: HashMap<HostId, (Arc<Notify>, i64)> = HashMap::new();
    loop {
        for subscription in subscriber.store.read(|tx| tx.subscriptions()).await? {
            let (host_id, woken_at) = (subscription.host_id, subscription.woken_at);
            match known.get_mut(&host_id) {
                Some((wake, seen)) if *seen < woken_at => {
                    *seen = woken_at;
                    wake.notify_one();
                }
                Some(_) => {}
                None => {
                    let wake = Arc::new(Notify::new());
                    known.insert(host_id, (wake.clone(), woken_at));
                    connections.spawn(connection::follow(subscriber.clone(), host_id, wake, shutdown.clone()));
                }
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
