//! The clock that revs come from: TIDs of the real time, never twice the same, so that revs only grow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";

/// Gives TIDs in ascending order.
#[derive(Default)]
pub(crate) struct TidClock {
    last_micros: AtomicU64,
}

impl TidClock {
    /// The next one, by a clock that is so far ahead.
    pub(crate) fn next(&self, ahead: Duration) -> String {
        let now = now_micros();
        let last = self
            .last_micros
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)))
            .expect("the closure always gives a value");
        tid(now.max(last + 1) + ahead.as_micros() as u64)
    }
}

/// The TID of a time in microseconds since 1970, with clock id 0.
pub fn tid(micros: u64) -> String {
    let bits = micros << 10;
    (0..13).rev().map(|digit| char::from(ALPHABET[(bits >> (5 * digit)) as usize & 31])).collect()
}

/// The time now, in microseconds since 1970.
pub fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    since.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tids_have_thirteen_characters_and_sort_by_time() {
        let clock = TidClock::default();
        let tids: Vec<String> = (0..100).map(|_| clock.next(Duration::ZERO)).collect();
        assert!(tids.iter().all(|tid| tid.len() == 13));
        assert!(tids.is_sorted() && tids.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(tid(0), "2222222222222");
    }
}
