//! When to try again: exponential backoff with full jitter, so that failures do not come back in step.

use std::time::Duration;

/// The shortest wait: a retry is never immediate.
const FLOOR: Duration = Duration::from_millis(100);

/// A random wait up to `base * 2^attempt` and at most `cap`; `attempt` counts from 0.
pub fn full_jitter(attempt: u32, base: Duration, cap: Duration) -> Duration {
    jittered(attempt, base, cap, fastrand::f64())
}

/// The same with a given random number in [0, 1).
fn jittered(attempt: u32, base: Duration, cap: Duration, random: f64) -> Duration {
    let factor = 2_u32.checked_pow(attempt).unwrap_or(u32::MAX);
    let ceiling = base.saturating_mul(factor).min(cap);
    ceiling.mul_f64(random).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const CAP: Duration = Duration::from_secs(60);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let half = |attempt| jittered(attempt, BASE, CAP, 0.5).as_secs_f64();
        let waits: Vec<f64> = [0, 1, 2, 5, 6, 31, 32, u32::MAX].into_iter().map(half).collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 16.0, 30.0, 30.0, 30.0, 30.0]);
    }

    #[test]
    fn the_wait_is_never_so_short_that_it_is_a_busy_loop() {
        assert_eq!(jittered(9, BASE, CAP, 0.0), FLOOR);
        assert_eq!(jittered(9, Duration::ZERO, Duration::ZERO, 0.9), FLOOR);
    }

    #[test]
    fn the_wait_is_spread_over_the_whole_range() {
        let waits: Vec<Duration> = (0..200).map(|_| full_jitter(4, BASE, CAP)).collect();
        assert!(waits.iter().all(|wait| (FLOOR..=BASE * 16).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < BASE * 4) && waits.iter().any(|wait| *wait > BASE * 12));
    }

    #[test]
    fn nothing_overflows() {
        assert_eq!(jittered(u32::MAX, Duration::MAX, CAP, 0.5), CAP / 2);
    }
}
