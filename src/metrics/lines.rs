//! How many log lines of one kind are written: what a thousand hosts or clients do at once must not fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Lets so many lines into the log each minute, and counts the others.
#[derive(Debug)]
pub struct Lines {
    most: u32,
    minute: Mutex<Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    began: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Lines {
    /// At most so many a minute.
    pub const fn a_minute(most: u32) -> Lines {
        Lines { most, minute: Mutex::new(Minute { began: None, told: 0, left_out: 0 }) }
    }

    /// Whether a line may be written: then with how many were left out before it.
    pub fn take(&self) -> Option<u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<u64> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            (minute.began, minute.told) = (Some(now), 0);
        }
        if minute.told >= self.most {
            minute.left_out += 1;
            return None;
        }
        minute.told += 1;
        Some(std::mem::take(&mut minute.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_lines_and_the_next_one_says_what_was_left_out() {
        let (lines, start) = (Lines::a_minute(3), Instant::now());
        let told = (0..100).filter(|_| lines.take_at(start).is_some()).count();
        assert_eq!(told, 3);
        assert_eq!(lines.take_at(start + WINDOW), Some(97));
        assert_eq!(lines.take_at(start + WINDOW), Some(0));
    }
}
