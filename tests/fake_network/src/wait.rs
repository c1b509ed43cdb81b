//! Waiting for a condition, with a deadline instead of a sleep.

use std::fmt::Debug;
use std::time::Duration;

use tokio::sync::watch;

/// How long a condition may take before the test that waits for it fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until the watched value meets the condition; panics after [`DEADLINE`] with the value and what was awaited.
pub(crate) async fn until<T: Debug>(
    watched: &watch::Sender<T>,
    condition: impl FnMut(&T) -> bool,
    what: impl Fn() -> String,
) {
    let mut receiver = watched.subscribe();
    let reached = tokio::time::timeout(DEADLINE, receiver.wait_for(condition)).await.map(|_| ());
    if reached.is_err() {
        panic!("waited {DEADLINE:?} until {}, but it is {:?}", what(), watched.borrow());
    }
}
