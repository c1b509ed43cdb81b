//! A token bucket: so much at once, so much a second after that. It counts and computes; waiting is its owner's.

use std::time::Duration;

use tokio::time::Instant;

/// What is left of an allowance.
#[derive(Debug, Clone)]
pub struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket; both numbers are above 0.
    pub fn new(capacity: f64, per_second: f64, now: Instant) -> Bucket {
        Bucket { capacity, per_second, level: capacity, at: now }
    }

    /// The tokens that are there; below 0 when more were taken.
    pub fn level(&mut self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.capacity);
        self.at = self.at.max(now);
        self.level
    }

    /// Whether nothing is missing.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.level(now) >= self.capacity
    }

    /// How long until so many tokens are there; a bucket that is full has enough for anything.
    pub fn wait(&mut self, tokens: f64, now: Instant) -> Duration {
        let missing = tokens.min(self.capacity) - self.level(now);
        // Rounded up, so that they are there when it has passed.
        Duration::from_secs_f64((missing / self.per_second).clamp(0.0, 1e9) + 1e-6 * f64::from(missing > 0.0))
    }

    /// Takes tokens, whether they are there or not.
    pub fn take(&mut self, tokens: f64, now: Instant) {
        self.level(now);
        self.level -= tokens;
    }

    /// Takes a token that is there, or says how long until it is.
    pub fn try_take(&mut self, now: Instant) -> Result<(), Duration> {
        match self.wait(1.0, now) {
            Duration::ZERO => {
                self.take(1.0, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, tokens: f64) {
        self.level = (self.level + tokens).min(self.capacity);
    }

    /// Goes on with other numbers, and with what is left now at most.
    pub fn resize(&mut self, capacity: f64, per_second: f64, now: Instant) {
        let taken = self.capacity - self.level(now);
        *self = Bucket { capacity, per_second, level: capacity - taken, at: self.at };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn it_gives_its_capacity_at_once_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3.0, 2.0, start);
        assert!((0..3).all(|_| bucket.try_take(start).is_ok()));
        let wait = bucket.try_take(start).unwrap_err();
        assert!((seconds(0.5)..seconds(0.501)).contains(&wait), "{wait:?}");
        assert!(bucket.try_take(start + wait).is_ok());
        assert!(bucket.try_take(start + wait).is_err());
        assert!(bucket.is_full(start + seconds(60.0)), "and never more");
        assert_eq!(bucket.level(start + seconds(60.0)), 3.0);
    }

    #[test]
    fn what_was_taken_beyond_the_level_is_paid_off_and_what_was_not_used_comes_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 1.0, start);
        bucket.take(25.0, start);
        assert!(bucket.wait(1.0, start) >= seconds(16.0));
        bucket.give_back(16.0);
        assert_eq!(bucket.wait(1.0, start), Duration::ZERO);
        assert_eq!(bucket.wait(100.0, start + seconds(9.0)), Duration::ZERO, "full is enough for anything");
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let start = Instant::now() + seconds(10.0);
        let mut bucket = Bucket::new(1.0, 1.0, start);
        bucket.take(1.0, start);
        assert_eq!(bucket.level(start - seconds(5.0)), 0.0);
        assert_eq!(bucket.level(start), 0.0);
    }

    #[test]
    fn other_numbers_keep_what_was_taken() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 1.0, start);
        bucket.take(4.0, start);
        bucket.resize(100.0, 5.0, start);
        assert_eq!(bucket.level(start), 96.0);
        bucket.resize(2.0, 5.0, start);
        assert_eq!(bucket.level(start), -2.0);
    }
}
