//! What the log says of a host's firehose at the info level: that it could not be followed for a while, and that it is followed again. One
//! that only blinks is not worth a line; those are counted in the metrics and stand in the log at the debug level.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Lines;

/// A host that was not followed for so long is worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(600);
/// What a host may have said of it again and again has a line this often.
const ONCE_IN: Duration = Duration::from_secs(3600);
/// Of all hosts: a network that is down is not told host by host.
static LINES: Lines = Lines::a_minute(10);

/// A host's connections since it was last followed for a while.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
    told: bool,
    /// When something was last told that is so because of how the host behaves.
    habits: [Option<Instant>; 3],
}

/// What a host may do all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// It sends more than its limits let through.
    Floods,
    /// It sends `#info`.
    Informs,
    /// Its sequence begins anew, or kills the connection at one place.
    Loses,
}

impl Trouble {
    /// A connection ended, or did not come about. Answers for how long it has been so, when that is to be told now.
    pub fn ended(&mut self, now: Instant) -> Option<Duration> {
        let lasts = now.duration_since(*self.since.get_or_insert(now));
        let tell = !self.told && lasts >= WORTH_A_LINE;
        self.told |= tell;
        tell.then_some(lasts)
    }

    /// Whether the next connection that lasts ends it.
    pub fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// A connection has lasted. Answers for how long there was none, when that there was none was told.
    pub fn over(&mut self, now: Instant) -> Option<Duration> {
        let (since, told) = (self.since.take(), std::mem::take(&mut self.told));
        since.filter(|_| told).map(|since| now.duration_since(since))
    }

    /// Whether something that the host does again and again is to be told this time.
    pub fn tells(&mut self, habit: Habit, now: Instant) -> bool {
        let last = &mut self.habits[habit as usize];
        let tell = last.is_none_or(|last| now.duration_since(last) >= ONCE_IN);
        if tell {
            *last = Some(now);
        }
        tell
    }
}

/// Whether a line on a host that stays away, or is back, may be written now: with how many were left out.
pub(super) fn line() -> Option<u64> {
    LINES.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_blinks_is_not_told_of() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        for _ in 0..50 {
            assert_eq!(trouble.ended(start), None);
            assert!(trouble.lasts());
            assert_eq!(trouble.over(start), None);
            assert!(!trouble.lasts());
        }
    }

    #[test]
    fn a_host_that_stays_away_is_told_of_once_and_once_when_it_is_back() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let later = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let told: Vec<_> = (0..60).filter_map(|minute| trouble.ended(later(minute))).collect();
        assert_eq!(told, [WORTH_A_LINE]);
        assert_eq!(trouble.over(later(60)), Some(Duration::from_secs(3600)));
        assert_eq!(trouble.ended(later(61)), None);
    }

    #[test]
    fn what_a_host_does_all_the_time_is_told_once_an_hour() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let told = (0..120).filter(|minute| trouble.tells(Habit::Informs, start + Duration::from_secs(60 * minute)));
        assert_eq!(told.count(), 2);
        assert!(trouble.tells(Habit::Floods, start), "another thing");
    }
}
