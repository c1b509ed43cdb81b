//! Repos that take long to come. There is no limit on the time of a fetch that moves, so that one gives its worker back after a while and
//! goes on aside; else some slow hosts would keep all workers. Bounded: when too many are aside already, it is cut.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::Id;

/// Fetches aside at once, of all hosts: each is a connection and a file, or one MiB.
const PLACES: usize = 48;

/// Lets the fetches of all workers step aside.
#[derive(Clone)]
pub(super) struct LongFetches {
    long_after: Duration,
    places: Arc<Semaphore>,
    stepped_aside: mpsc::Sender<Id>,
}

impl LongFetches {
    /// With the tasks that stepped aside; when the channel is full, a task waits for the loop that reads it.
    pub fn new(long_after: Duration) -> (LongFetches, mpsc::Receiver<Id>) {
        let (stepped_aside, tasks) = mpsc::channel(PLACES);
        (LongFetches { long_after, places: Arc::new(Semaphore::new(PLACES)), stepped_aside }, tasks)
    }

    /// Runs a fetch in the task of a worker; None when it took long and found no place aside.
    pub async fn run<T>(&self, fetch: impl Future<Output = T>) -> Option<T> {
        let mut fetch = pin!(fetch);
        if let Ok(fetched) = tokio::time::timeout(self.long_after, &mut fetch).await {
            return Some(fetched);
        }
        let _place = self.places.try_acquire().ok()?;
        // The loop ends before its workers only at a shutdown, which drops them.
        let _ = self.stepped_aside.send(tokio::task::id()).await;
        Some(fetch.await)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_long_fetch_steps_aside_as_long_as_there_is_a_place() {
        let (fetches, mut tasks) = LongFetches::new(SOON);
        assert_eq!(fetches.run(async { 7 }).await, Some(7));
        assert!(tasks.try_recv().is_err());
        let spawn = |fetches: LongFetches| tokio::spawn(async move { fetches.run(pending::<()>()).await });
        let aside: Vec<_> = (0..PLACES).map(|_| spawn(fetches.clone())).collect();
        for _ in &aside {
            let task = tasks.recv().await.expect("it steps aside");
            assert!(aside.iter().any(|fetch| fetch.id() == task));
        }
        assert_eq!(spawn(fetches.clone()).await.expect("it ends"), None, "one too many");
        aside[0].abort();
        let next = tokio::spawn(async move { fetches.run(tokio::time::sleep(SOON * 5)).await });
        assert_eq!(tasks.recv().await, Some(next.id()));
        assert_eq!(next.await.expect("it ends"), Some(()));
    }
}
