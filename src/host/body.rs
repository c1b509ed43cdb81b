//! Reads an answer's body under limits of size and time.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::Instant;

use super::HostError;
use super::client::broken;

/// When a request must make progress, and when it must be done.
pub(super) struct Deadline {
    idle: Duration,
    /// The time that there is, and its end.
    total: Option<(Duration, Instant)>,
}

impl Deadline {
    /// A request that starts now; without `total` it may take as long as it makes progress.
    pub fn new(idle: Duration, total: Option<Duration>) -> Deadline {
        Deadline { idle, total: total.map(|total| (total, Instant::now() + total)) }
    }

    /// Waits for one step of progress.
    pub async fn step<F: Future>(&self, future: F) -> Result<F::Output, HostError> {
        let idle_end = Instant::now() + self.idle;
        let Some((total, end)) = self.total.filter(|(_, end)| *end < idle_end) else {
            let nothing = HostError::Timeout { missed: "nothing came", after: self.idle };
            return tokio::time::timeout_at(idle_end, future).await.map_err(|_| nothing);
        };
        let incomplete = HostError::Timeout { missed: "the answer was not complete", after: total };
        // A future that is always ready would never meet its timeout.
        if Instant::now() >= end {
            return Err(incomplete);
        }
        tokio::time::timeout_at(end, future).await.map_err(|_| incomplete)
    }
}

/// The pace that a body without a time limit has to keep: what came is weighed each time that a window was spent waiting for it.
/// Our own time, at a slow disk for example, does not count.
pub(super) struct Pace {
    window: Duration,
    bytes_per_window: u64,
    waited: Duration,
    came: u64,
}

impl Pace {
    /// Nothing has come yet.
    pub fn new(bytes_per_second: u64, window: Duration) -> Pace {
        let bytes_per_window = (bytes_per_second as f64 * window.as_secs_f64()) as u64;
        Pace { window, bytes_per_window, waited: Duration::ZERO, came: 0 }
    }

    /// Takes note of bytes that were waited for so long.
    pub fn note(&mut self, bytes: usize, waited: Duration) -> Result<(), HostError> {
        self.came += bytes as u64;
        self.waited += waited;
        if self.waited < self.window {
            return Ok(());
        }
        if self.came < self.bytes_per_window {
            return Err(HostError::TooSlow { bytes: self.came, within: self.window });
        }
        (self.waited, self.came) = (Duration::ZERO, 0);
        Ok(())
    }
}

/// Reads a whole body, which is an error when it is larger than `limit_bytes` after decompression.
pub(super) async fn read(
    mut response: Response,
    limit_bytes: usize,
    deadline: &Deadline,
) -> Result<Vec<u8>, HostError> {
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(&mut response, deadline).await? {
        body.extend_from_slice(&chunk);
        if body.len() > limit_bytes {
            return Err(HostError::TooLarge { limit_bytes });
        }
    }
    Ok(body)
}

/// Waits for the next bytes of a body; None at its end.
pub(super) async fn next_chunk(response: &mut Response, deadline: &Deadline) -> Result<Option<Bytes>, HostError> {
    deadline.step(response.chunk()).await?.map_err(|error| broken(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pace_is_judged_window_by_window() {
        let mut pace = Pace::new(100, SECOND * 30);
        // Nothing is said before a window is over.
        assert_eq!(pace.note(0, SECOND * 29), Ok(()));
        assert_eq!(pace.note(3_000, SECOND), Ok(()));
        // What came early does not pay for later.
        assert_eq!(pace.note(1_000_000, SECOND), Ok(()));
        assert_eq!(pace.note(0, SECOND * 29), Ok(()));
        assert_eq!(pace.note(2_999, SECOND * 29), Ok(()));
        assert_eq!(pace.note(0, SECOND), Err(HostError::TooSlow { bytes: 2_999, within: SECOND * 30 }));
    }

    #[test]
    fn a_body_that_is_not_waited_for_is_never_slow() {
        let mut pace = Pace::new(100, SECOND * 30);
        for _ in 0..1_000_000 {
            assert_eq!(pace.note(0, Duration::ZERO), Ok(()));
        }
    }
}
