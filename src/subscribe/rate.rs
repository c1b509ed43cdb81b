//! How fast a host's events are taken in. Past its limits a host is read more slowly, a little at a time: no event is dropped, what
//! is not read waits in the sockets, and the host is slowed by its own. It lives as long as the process, whatever connections do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::host::Bucket;
use crate::store::{EventLimits, HostId};

/// An event costs one, and one more for each of these that its frame fills: its bytes are hashed.
const BYTES_PER_TOKEN: usize = 64 << 10;
/// A host that is slowed is read ten times a second, where its rate allows that.
const SHARE_OF_A_SECOND: f64 = 0.1;

/// The allowances of all hosts.
#[derive(Default)]
pub(super) struct EventRates(HashMap<HostId, SharedRate>);

/// One host's allowance, shared by those who read its firehose and those who set its limits.
#[derive(Clone)]
pub(super) struct SharedRate(Arc<Mutex<EventRate>>);

impl EventRates {
    /// The allowance of a host, under these limits from now on.
    pub(super) fn of(&mut self, host_id: HostId, limits: EventLimits) -> SharedRate {
        let now = Instant::now();
        let new = || SharedRate(Arc::new(Mutex::new(EventRate::new(limits, now))));
        let rate = self.0.entry(host_id).or_insert_with(new).clone();
        rate.lock().set_limits(limits, now);
        rate
    }
}

impl SharedRate {
    pub(super) fn lock(&self) -> MutexGuard<'_, EventRate> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

/// One host's allowance.
#[derive(Debug)]
pub(super) struct EventRate {
    limits: EventLimits,
    /// With the least that is worth reading for.
    windows: [(Bucket, f64); 3],
}

impl EventRate {
    pub(super) fn new(limits: EventLimits, now: Instant) -> EventRate {
        let windows = numbers(limits).map(|(capacity, rate)| (Bucket::new(capacity, rate, now), least(rate)));
        EventRate { limits, windows }
    }

    /// Takes other limits, and keeps what was used.
    pub(super) fn set_limits(&mut self, limits: EventLimits, now: Instant) {
        if self.limits == limits {
            return;
        }
        self.limits = limits;
        for ((bucket, part), (capacity, rate)) in self.windows.iter_mut().zip(numbers(limits)) {
            bucket.resize(capacity, rate, now);
            *part = least(rate);
        }
    }

    /// How many events may be read now; else how long to wait.
    pub(super) fn allowance(&mut self, now: Instant) -> Result<usize, Duration> {
        let wait = self.windows.iter_mut().map(|(bucket, least)| bucket.wait(*least, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        let levels = self.windows.iter_mut().map(|(bucket, _)| bucket.level(now));
        Ok((levels.fold(f64::INFINITY, f64::min) as usize).max(1))
    }

    /// Notes what was read: so many messages, and their bytes together.
    pub(super) fn took(&mut self, messages: usize, size_bytes: usize, now: Instant) {
        let tokens = (messages + size_bytes / BYTES_PER_TOKEN) as f64;
        self.windows.iter_mut().for_each(|(bucket, _)| bucket.take(tokens, now));
    }
}

/// Capacity and rate of each window.
fn numbers(limits: EventLimits) -> [(f64, f64); 3] {
    let windows = [(limits.per_second, 1.0), (limits.per_hour, 3600.0), (limits.per_day, 86_400.0)];
    windows.map(|(events, seconds)| {
        // An operator who wants none blocks the host.
        let events = events.max(1) as f64;
        (events, events / seconds)
    })
}

fn least(rate: f64) -> f64 {
    (rate * SHARE_OF_A_SECOND).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EventLimits = EventLimits { per_second: 100, per_hour: 36_000, per_day: 500_000 };

    /// Reads all it may for so long; answers how many events, and the longest wait.
    fn flood(rate: &mut EventRate, start: Instant, seconds: u64) -> (usize, Duration) {
        let (mut now, mut events, mut longest) = (start, 0, Duration::ZERO);
        while now < start + Duration::from_secs(seconds) {
            match rate.allowance(now) {
                Ok(most) => {
                    let read = most.min(256);
                    rate.took(read, 0, now);
                    events += read;
                }
                Err(wait) => {
                    longest = longest.max(wait);
                    now += wait;
                }
            }
        }
        (events, longest)
    }

    #[test]
    fn a_flood_is_read_at_the_rate_of_a_second_in_small_steps() {
        let start = Instant::now();
        let (events, longest) = flood(&mut EventRate::new(LIMITS, start), start, 10);
        assert!((1000..=1120).contains(&events), "{events}");
        assert!(longest <= Duration::from_millis(101), "{longest:?}");
    }

    #[test]
    fn what_lasts_is_slowed_to_the_rate_of_an_hour_and_then_of_a_day() {
        let start = Instant::now();
        let limits = EventLimits { per_hour: 3600, ..LIMITS };
        let mut rate = EventRate::new(limits, start);
        let (events, longest) = flood(&mut rate, start, 3600);
        assert!((7100..=7300).contains(&events), "{events}: the hour's burst, and an hour's worth");
        assert!(longest <= Duration::from_millis(1001), "{longest:?}: never in long stops");
        let limits = EventLimits { per_day: 8640, ..LIMITS };
        let (events, longest) = flood(&mut EventRate::new(limits, start), start, 3600);
        assert!((8900..=9100).contains(&events), "{events}");
        assert!(longest <= Duration::from_secs(11), "{longest:?}");
    }

    #[test]
    fn large_frames_cost_more() {
        let start = Instant::now();
        let mut rate = EventRate::new(LIMITS, start);
        rate.took(1, 100 * BYTES_PER_TOKEN, start);
        assert!(rate.allowance(start).is_err());
        assert_eq!(EventRate::new(LIMITS, start).allowance(start), Ok(100));
    }

    #[test]
    fn limits_change_without_a_gift() {
        let start = Instant::now();
        let mut rate = EventRate::new(LIMITS, start);
        rate.took(100, 0, start);
        rate.set_limits(LIMITS, start);
        assert!(rate.allowance(start).is_err());
        rate.set_limits(EventLimits { per_second: 50, ..LIMITS }, start);
        assert!(rate.allowance(start).unwrap_err() > Duration::from_secs(1));
        rate.set_limits(EventLimits { per_second: 1000, ..LIMITS }, start);
        assert_eq!(rate.allowance(start), Ok(900));
        let none = EventLimits { per_second: 0, per_hour: 0, per_day: 0 };
        assert_eq!(EventRate::new(none, start).allowance(start), Ok(1), "one, and then a long wait");
    }
}
