//! What each host may be asked for: a few requests at a time, and none while it wants to be left alone.
//!
//! Invariant: a caller is parked for `longest_wait` at most by a pause; longer ones come back as an error at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::HostError;

/// No host makes us wait longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After a 429 that does not say how long.
pub(super) const DEFAULT_PAUSE: Duration = Duration::from_secs(10);
/// A free slot that takes longer to come is our own overload.
const LONGEST_QUEUE: Duration = Duration::from_secs(60);
/// So many hosts are remembered; beyond, those without a request or a pause are forgotten first.
const MAX_HOSTS: usize = 10_000;
/// Reset values above this are seconds since 1970, below it seconds from now.
const EARLIEST_EPOCH_SECONDS: u64 = 1_000_000_000;

/// The budgets of all hosts.
pub(super) struct Budgets {
    longest_wait: Duration,
    hosts: Mutex<HashMap<Box<str>, Arc<Budget>>>,
}

/// One host's budget.
pub(super) struct Budget {
    longest_wait: Duration,
    slots: Arc<Semaphore>,
    paused_until: Mutex<Option<Instant>>,
}

impl Budgets {
    /// `longest_wait` is how long a call waits for a pause to end before it fails.
    pub fn new(longest_wait: Duration) -> Budgets {
        Budgets { longest_wait, hosts: Mutex::default() }
    }

    /// The budget of a host, with so many requests at a time when it is a new one.
    pub fn of(&self, host: &str, in_flight: usize) -> Arc<Budget> {
        let mut hosts = locked(&self.hosts);
        if let Some(budget) = hosts.get(host) {
            return budget.clone();
        }
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, budget| Arc::strong_count(budget) > 1 || budget.pause().is_some());
        }
        if hosts.len() >= MAX_HOSTS {
            hosts.clear();
        }
        let slots = Arc::new(Semaphore::new(in_flight));
        let budget = Arc::new(Budget { longest_wait: self.longest_wait, slots, paused_until: Mutex::default() });
        hosts.insert(host.into(), budget.clone());
        budget
    }
}

impl Budget {
    /// Waits for a slot, which is held as long as the request runs; fails at once in a long pause.
    pub async fn slot(&self) -> Result<OwnedSemaphorePermit, HostError> {
        self.ready().await?;
        let slot = tokio::time::timeout(LONGEST_QUEUE, self.slots.clone().acquire_owned()).await;
        let slot = slot.map_err(|_| HostError::RateLimited { retry_after: Some(LONGEST_QUEUE) })?;
        // Whoever held the slot may have been told to pause.
        self.ready().await?;
        Ok(slot.expect("the semaphore is never closed"))
    }

    /// Waits for a short pause to end, and fails at once in a long one.
    pub async fn ready(&self) -> Result<(), HostError> {
        match self.pause() {
            None => Ok(()),
            Some(left) if left <= self.longest_wait => {
                tokio::time::sleep(left).await;
                Ok(())
            }
            retry_after => Err(HostError::RateLimited { retry_after }),
        }
    }

    /// Takes note of an answer's status and headers; gives the time that the host wants to be left alone.
    pub fn note(&self, status: u16, headers: &HeaderMap) -> Option<Duration> {
        let asked = wanted_pause(status, headers, SystemTime::now());
        let pause = asked.or((status == 429).then_some(DEFAULT_PAUSE))?;
        let until = Instant::now() + pause;
        let mut paused_until = locked(&self.paused_until);
        *paused_until = Some(paused_until.map_or(until, |earlier| earlier.max(until)));
        asked
    }

    /// What is left of the pause.
    pub fn pause(&self) -> Option<Duration> {
        let until = (*locked(&self.paused_until))?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}

/// Reads Retry-After (RFC 9110) of a 429 or 503, and the RateLimit headers of the reference PDS on any answer.
fn wanted_pause(status: u16, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let refused = matches!(status, 429 | 503);
    let retry_after = text(RETRY_AFTER.as_str()).filter(|_| refused).and_then(|value| seconds_or_date(value, now));
    let is_used_up = refused || text("ratelimit-remaining") == Some("0");
    let reset = text("ratelimit-reset").filter(|_| is_used_up).and_then(|value| reset(value, now));
    retry_after.or(reset).map(|pause| pause.min(LONGEST_PAUSE))
}

fn seconds_or_date(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn reset(value: &str, now: SystemTime) -> Option<Duration> {
    let seconds: u64 = value.parse().ok()?;
    if seconds < EARLIEST_EPOCH_SECONDS {
        return Some(Duration::from_secs(seconds));
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Duration::from_secs(seconds).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    /// 2026-11-21T10:00:00Z
    const NOW_SECONDS: u64 = 1_795_255_200;

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn headers(pairs: Pairs<'_>) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"))
        };
        pairs.iter().map(header).collect()
    }

    #[test]
    fn pauses_are_read_from_every_form_of_header() {
        let later = (NOW_SECONDS + 90).to_string();
        let far = (NOW_SECONDS + 90_000).to_string();
        let past = (NOW_SECONDS - 5).to_string();
        let cases: &[(u16, Pairs<'_>, Option<u64>)] = &[
            (429, &[("retry-after", "7")], Some(7)),
            (503, &[("retry-after", " 7 ")], Some(7)),
            (429, &[("retry-after", "0")], Some(0)),
            (429, &[("retry-after", "Sat, 21 Nov 2026 10:00:30 GMT")], Some(30)),
            (429, &[("retry-after", "Sat, 21 Nov 2026 09:00:00 GMT")], Some(0)),
            (429, &[("retry-after", "999999999999")], Some(3600)),
            (429, &[("retry-after", "99999999999999999999999")], None),
            (429, &[("retry-after", "-1")], None),
            (429, &[("retry-after", "soon")], None),
            (429, &[], None),
            (200, &[("retry-after", "7")], None),
            (301, &[("retry-after", "7")], None),
            (429, &[("ratelimit-reset", &later)], Some(90)),
            (429, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")], Some(12)),
            (429, &[("retry-after", "7"), ("ratelimit-reset", &later)], Some(7)),
            (429, &[("retry-after", "soon"), ("ratelimit-reset", &later)], Some(90)),
            (200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", &later)], Some(90)),
            (200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", &far)], Some(3600)),
            (200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", &past)], Some(0)),
            (200, &[("ratelimit-remaining", "1"), ("ratelimit-reset", &later)], None),
            (200, &[("ratelimit-remaining", "0")], None),
            (200, &[("ratelimit-reset", &later)], None),
        ];
        let now = UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
        for (status, pairs, seconds) in cases {
            let pause = wanted_pause(*status, &headers(pairs), now);
            assert_eq!(pause, seconds.map(Duration::from_secs), "{status} {pairs:?}");
        }
    }

    #[tokio::test]
    async fn a_long_pause_fails_at_once_and_a_short_one_is_waited_out() {
        let budget = Budgets::new(Duration::from_millis(20)).of("a.com", 1);
        assert_eq!(budget.note(429, &headers(&[("retry-after", "50")])), Some(Duration::from_secs(50)));
        let error = budget.slot().await.expect_err("paused");
        assert!(error.retry_after().is_some_and(|left| left > Duration::from_secs(48)), "{error:?}");

        *locked(&budget.paused_until) = Some(Instant::now() + Duration::from_millis(20));
        assert!(budget.slot().await.is_ok());
        assert_eq!(budget.pause(), None);
    }

    #[tokio::test]
    async fn a_pause_is_never_shortened_and_a_429_without_a_time_pauses_too() {
        let budget = Budgets::new(Duration::ZERO).of("a.com", 1);
        assert_eq!(budget.note(429, &HeaderMap::new()), None);
        assert!(budget.pause().is_some_and(|left| left > DEFAULT_PAUSE / 2));
        budget.note(429, &headers(&[("retry-after", "500")]));
        budget.note(429, &headers(&[("retry-after", "5")]));
        assert!(budget.pause().is_some_and(|left| left > Duration::from_secs(490)));
    }

    #[tokio::test]
    async fn no_more_requests_than_slots_run_at_once() {
        let budgets = Budgets::new(Duration::ZERO);
        let budget = budgets.of("a.com", 2);
        let first = budget.slot().await.expect("a slot");
        let _second = budget.slot().await.expect("a slot");
        let mut third = Box::pin(budget.slot());
        assert!(futures_util::poll!(&mut third).is_pending());
        assert!(budgets.of("b.com", 2).slot().await.is_ok(), "another host has its own");
        drop(first);
        assert!(third.await.is_ok());
    }

    #[test]
    fn idle_hosts_are_forgotten_and_paused_ones_are_not() {
        let budgets = Budgets::new(Duration::ZERO);
        budgets.of("paused.com", 4).note(429, &headers(&[("retry-after", "50")]));
        for i in 0..MAX_HOSTS * 2 {
            budgets.of(&format!("{i}.com"), 4);
        }
        assert!(locked(&budgets.hosts).len() <= MAX_HOSTS);
        assert!(budgets.of("paused.com", 4).pause().is_some());
    }
}
