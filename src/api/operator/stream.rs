//! `GET /status/stream`: server-sent events that keep the page up to date while somebody looks at it.
//!
//! Three kinds: `status` (the first screen), `hosts` (the rows that changed since the last one; at first all) and `chart`. What a
//! round costs is paid back with a pause: on a large database it comes less often.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};

use super::{Operator, status};
use crate::api::Phase;
use crate::store::StoreError;

/// The shortest time between two rounds.
const ROUND: Duration = Duration::from_secs(2);
/// A round is followed by a pause of so many times what it took.
const REST: u32 = 20;
/// Hosts are read every so many rounds, the chart too.
const ROUNDS_PER_CHART: u32 = 5;

/// What a page was sent.
struct Watcher {
    operator: Arc<Operator>,
    /// Rows of hosts as they were sent, by name.
    sent: HashMap<String, String>,
    rounds: u32,
    last_took: Duration,
}

/// Until the page is closed or the service stops.
pub(super) async fn follow(
    State(operator): State<Arc<Operator>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let watcher = Watcher { operator, sent: HashMap::new(), rounds: 0, last_took: Duration::ZERO };
    let rounds = stream::unfold(watcher, |mut watcher| async move {
        watcher.rest().await;
        let events = match watcher.round().await {
            Ok(events) => events,
            Err(StoreError::Closed) => return None,
            Err(error) => {
                tracing::error!(%error, "the operator's page is not told any more: reload it");
                return None;
            }
        };
        Some((stream::iter(events.into_iter().map(Ok)), watcher))
    });
    Sse::new(rounds.flatten()).keep_alive(KeepAlive::default())
}

impl Watcher {
    /// Not before the first round; forever short when the service stops, so that the last word is said and the connection ends.
    async fn rest(&self) {
        if self.rounds == 0 {
            return;
        }
        let pause = ROUND.max(self.last_took * REST);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.operator.readiness.until(Phase::Stopping) => {}
        }
    }

    async fn round(&mut self) -> Result<Vec<Event>, StoreError> {
        let began = Instant::now();
        let mut events = Vec::with_capacity(3);
        events.push(event("status", &status::of(&self.operator).await?));
        if self.operator.readiness.phase() == Phase::Stopping && self.rounds > 0 {
            return Err(StoreError::Closed);
        }
        events.extend(self.changed_hosts().await?);
        if self.rounds.is_multiple_of(ROUNDS_PER_CHART) {
            events.push(event("chart", &self.operator.history.chart()));
        }
        self.rounds += 1;
        self.last_took = began.elapsed();
        Ok(events)
    }

    async fn changed_hosts(&mut self) -> Result<Option<Event>, StoreError> {
        let hosts = self.operator.api.store.host_report().await?;
        let is_first = self.rounds == 0;
        let known = self.sent.len();
        let mut rows = Vec::new();
        let mut now = HashMap::with_capacity(hosts.len());
        for host in hosts {
            let row = serde_json::to_string(&host).unwrap_or_default();
            if self.sent.get(&host.hostname) != Some(&row) {
                rows.push(row.clone());
            }
            now.insert(host.hostname, row);
        }
        let gone: Vec<&String> = self.sent.keys().filter(|name| !now.contains_key(*name)).collect();
        if rows.is_empty() && gone.is_empty() && !(is_first && known == 0) {
            return Ok(None);
        }
        let gone = serde_json::to_string(&gone).unwrap_or_default();
        let text = format!("{{\"rows\":[{}],\"gone\":{gone}}}", rows.join(","));
        self.sent = now;
        Ok(Some(Event::default().event("hosts").data(text)))
    }
}

fn event(kind: &str, data: &impl serde::Serialize) -> Event {
    // Of our own types: they have no map with keys that are no strings.
    Event::default().event(kind).data(serde_json::to_string(data).unwrap_or_default())
}
