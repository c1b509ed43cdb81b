//! Our clock, and whether to believe it. What is planned goes by a clock that nobody can set while the process runs. A rev more than 5 minutes ahead is refused; when the revs of most hosts are ahead, it is our
//! clock that is behind, and nobody is refused for it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How far ahead of our clock a rev may be, in microseconds (<https://atproto.com/specs/sync>).
const TOLERANCE_MICROS: u64 = 5 * 60 * 1_000_000;
/// Fewer hosts than this cannot outvote our clock.
const QUORUM: usize = 3;
/// Hosts remembered; beyond, new ones have no vote.
const MAX_HOSTS: usize = 10_000;

/// The clock of one process; a clone is the same one.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Mutex<Votes>>);

/// Whether the latest rev of each host lay ahead of our clock.
#[derive(Debug, Default)]
struct Votes {
    by_host: HashMap<i64, bool>,
    ahead: usize,
}

impl Clock {
    /// Notes a rev that a host showed (its time in microseconds since 1970), and answers whether to refuse it.
    pub fn refuses(&self, host: i64, rev_micros: u64) -> bool {
        let ahead = rev_micros > now_micros().saturating_add(TOLERANCE_MICROS);
        let mut votes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_behind = votes.against_us();
        votes.cast(host, ahead);
        let behind = votes.against_us();
        if behind && !was_behind {
            tracing::error!("our clock is behind: most hosts write revs more than 5 minutes ahead of it; set it right");
        }
        ahead && !behind
    }

    /// Whether most hosts are ahead of our clock.
    pub fn is_behind(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).against_us()
    }

    /// The time by which a rev is judged, in microseconds since 1970: without end while our clock is not believed.
    pub fn judging_micros(&self) -> u64 {
        if self.is_behind() { u64::MAX } else { now_micros() }
    }
}

impl Votes {
    fn cast(&mut self, host: i64, ahead: bool) {
        if self.by_host.len() >= MAX_HOSTS && !self.by_host.contains_key(&host) {
            return;
        }
        let before = self.by_host.insert(host, ahead).unwrap_or(false);
        self.ahead = self.ahead + usize::from(ahead) - usize::from(before);
    }

    fn against_us(&self) -> bool {
        self.by_host.len() >= QUORUM && self.ahead * 2 > self.by_host.len()
    }
}

/// Microseconds since 1970.
pub fn now_micros() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970: those of the wall clock at the start of the process, and what has passed since. Leases, waiting times and
/// budgets go by it: they are true whatever is done to the wall clock meanwhile.
pub fn now_millis() -> i64 {
    static SINCE_START: LazyLock<Anchor> = LazyLock::new(|| Anchor::at(now_micros(), Instant::now()));
    SINCE_START.millis(Instant::now())
}

/// A moment by the wall clock, and by the one that cannot be set.
struct Anchor {
    wall_micros: u64,
    instant: Instant,
}

impl Anchor {
    fn at(wall_micros: u64, instant: Instant) -> Anchor {
        Anchor { wall_micros, instant }
    }

    fn millis(&self, now: Instant) -> i64 {
        let passed = u64::try_from(now.duration_since(self.instant).as_micros()).unwrap_or(u64::MAX);
        (self.wall_micros.saturating_add(passed) / 1000) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_hosts_from_the_future_are_refused_and_most_of_them_are_right() {
        let clock = Clock::default();
        let (now, later) = (now_micros(), now_micros() + 3600 * 1_000_000);
        assert!(clock.refuses(1, later), "one host alone cannot outvote our clock");
        assert!(clock.refuses(2, later), "nor two");
        assert!(!clock.refuses(3, later), "three of three can");
        assert!(clock.is_behind());
        assert_eq!(clock.judging_micros(), u64::MAX);
        for host in 4..=6 {
            assert!(!clock.refuses(host, now));
        }
        assert!(!clock.is_behind(), "three of six is not most");
        assert!(clock.refuses(1, later));
        assert!(!clock.refuses(1, now), "and a host that comes back to its senses is taken again");
    }

    #[test]
    fn the_plan_goes_by_what_has_passed_and_not_by_the_wall() {
        let start = Instant::now();
        let anchor = Anchor::at(1_000_000_000, start);
        assert_eq!(anchor.millis(start), 1_000_000);
        assert_eq!(anchor.millis(start + std::time::Duration::from_secs(3600)), 1_000_000 + 3_600_000);
        let (wall, ours) = ((now_micros() / 1000) as i64, now_millis());
        assert!((wall - ours).abs() < 60_000, "where nobody set the wall clock they agree");
        assert!(now_millis() >= ours);
    }

    #[test]
    fn five_minutes_ahead_are_tolerated() {
        let clock = Clock::default();
        assert!(!clock.refuses(1, now_micros() + TOLERANCE_MICROS - 1_000_000));
        assert!(clock.refuses(1, now_micros() + TOLERANCE_MICROS + 10_000_000));
    }
}
