//! Reads an answer's body under limits of size and time.

use std::time::Duration;

use reqwest::Response;
use tokio::time::Instant;

use super::HostError;
use super::client::broken;

/// When a request must make progress, and when it must be done.
pub(super) struct Deadline {
    idle: Duration,
    total: Duration,
    end: Instant,
}

impl Deadline {
    /// A request that starts now.
    pub fn new(idle: Duration, total: Duration) -> Deadline {
        Deadline { idle, total, end: Instant::now() + total }
    }

    /// Gives time back in which the host was not to blame.
    pub fn extend(&mut self, by: Duration) {
        self.end += by;
    }

    /// Waits for one step of progress.
    pub async fn step<F: Future>(&self, future: F) -> Result<F::Output, HostError> {
        let now = Instant::now();
        let incomplete = HostError::Timeout { missed: "the answer was not complete", after: self.total };
        // A future that is always ready would never meet its timeout.
        if now >= self.end {
            return Err(incomplete);
        }
        let idle_end = now + self.idle;
        let result = tokio::time::timeout_at(idle_end.min(self.end), future).await;
        result.map_err(|_| match idle_end < self.end {
            true => HostError::Timeout { missed: "nothing came", after: self.idle },
            false => incomplete,
        })
    }
}

/// Reads on to `limit_bytes` of the decompressed body; true when the body ended there or before.
pub(super) async fn read_up_to(
    response: &mut Response,
    body: &mut Vec<u8>,
    limit_bytes: usize,
    deadline: &Deadline,
) -> Result<bool, HostError> {
    while body.len() <= limit_bytes {
        match deadline.step(response.chunk()).await?.map_err(|error| broken(&error))? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Ok(true),
        }
    }
    Ok(false)
}

/// Reads a whole body, which is an error when it is larger than `limit_bytes` after decompression.
pub(super) async fn read(
    mut response: Response,
    limit_bytes: usize,
    deadline: &Deadline,
) -> Result<Vec<u8>, HostError> {
    let mut body = Vec::new();
    match read_up_to(&mut response, &mut body, limit_bytes, deadline).await? {
        true => Ok(body),
        false => Err(HostError::TooLarge { limit_bytes }),
    }
}
