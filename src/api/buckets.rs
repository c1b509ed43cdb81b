//! Token buckets of clients, in bounded memory.
//!
//! A bucket is one moment: when it will be full again. Invariant: a client that is told to wait and waits is served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client_address::Client;

/// Some megabytes. Beyond, clients that are not known yet share one bucket, until others are full again.
const MOST_CLIENTS: usize = 65_536;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A bucket for each client; a clone has the same ones.
#[derive(Debug, Clone)]
pub(super) struct Buckets(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// In which time a token comes back.
    refill: Duration,
    /// Tokens of a full bucket, as the time that they take to come back.
    depth: Duration,
    most_clients: usize,
    full_at: HashMap<Client, Instant>,
    /// The bucket of all that have none of their own.
    others_full_at: Instant,
    swept_at: Instant,
}

impl Buckets {
    /// Buckets of `tokens`, which come back one by one in `refill` each.
    pub(super) fn new(tokens: u32, refill: Duration) -> Buckets {
        Buckets::of_at_most(MOST_CLIENTS, tokens, refill)
    }

    fn of_at_most(most_clients: usize, tokens: u32, refill: Duration) -> Buckets {
        let now = Instant::now();
        Buckets(Arc::new(Mutex::new(State {
            refill,
            depth: refill * tokens,
            most_clients,
            full_at: HashMap::new(),
            others_full_at: now,
            swept_at: now,
        })))
    }

    /// Takes a token; else says how long it is until there is one.
    pub(super) fn take(&self, client: Client) -> Result<(), Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (refill, depth) = (state.refill, state.depth);
        let full_at = state.bucket(client, now);
        let full_then = (*full_at).max(now) + refill;
        match (full_then - now).checked_sub(depth) {
            None | Some(Duration::ZERO) => {
                *full_at = full_then;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    /// Takes a token even if there is none: answers how long it is until it would have been there.
    pub(super) fn overdraw(&self, client: Client) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (refill, depth) = (state.refill, state.depth);
        let full_at = state.bucket(client, now);
        // A debt of one more bucket at most: it is to be paid back some time.
        *full_at = ((*full_at).max(now) + refill).min(now + depth * 2);
        (*full_at - now).saturating_sub(depth)
    }
}

impl State {
    fn bucket(&mut self, client: Client, now: Instant) -> &mut Instant {
        if self.full_at.len() >= self.most_clients && !self.full_at.contains_key(&client) {
            if now >= self.swept_at + SWEEP_EVERY {
                self.swept_at = now;
                self.full_at.retain(|_, full_at| *full_at > now);
            }
            if self.full_at.len() >= self.most_clients {
                return &mut self.others_full_at;
            }
        }
        self.full_at.entry(client).or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(number: u8) -> Client {
        Client::at([198, 51, 100, number].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_is_a_burst_and_then_tokens_come_back_one_by_one() {
        let buckets = Buckets::new(3, 6 * SECOND);
        (0..3).for_each(|_| assert_eq!(buckets.take(client(1)), Ok(())));
        assert_eq!(buckets.take(client(1)), Err(6 * SECOND));
        assert_eq!(buckets.take(client(2)), Ok(()), "another client has its own");
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(buckets.take(client(1)), Err(4 * SECOND), "asking costs nothing");
        tokio::time::advance(4 * SECOND).await;
        assert_eq!(buckets.take(client(1)), Ok(()));
        assert_eq!(buckets.take(client(1)), Err(6 * SECOND));
        tokio::time::advance(60 * SECOND).await;
        (0..3).for_each(|_| assert_eq!(buckets.take(client(1)), Ok(())));
        assert!(buckets.take(client(1)).is_err(), "a bucket is never more than full");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_without_number_share_a_bucket_and_known_ones_keep_theirs() {
        let buckets = Buckets::of_at_most(2, 2, 6 * SECOND);
        assert_eq!(buckets.take(client(1)), Ok(()));
        assert_eq!(buckets.take(client(2)), Ok(()));
        assert_eq!(buckets.take(client(3)), Ok(()));
        assert_eq!(buckets.take(client(4)), Ok(()));
        assert_eq!(buckets.take(client(5)), Err(6 * SECOND), "all the others together");
        assert_eq!(buckets.take(client(1)), Ok(()));
        tokio::time::advance(12 * SECOND).await;
        assert_eq!(buckets.take(client(5)), Ok(()), "full buckets are forgotten");
        assert_eq!(buckets.0.lock().unwrap().full_at.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overdrawn_bucket_asks_for_longer_and_longer_waits_up_to_a_bound() {
        let buckets = Buckets::new(3, SECOND);
        let waits: Vec<u64> = (0..8).map(|_| buckets.overdraw(client(1)).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2, 3, 3, 3]);
        assert_eq!(buckets.overdraw(client(2)), Duration::ZERO);
    }
}
