//! The one place that waits: until a condition holds, or its deadline has passed.

use std::time::{Duration, Instant};

/// How long a condition may take before a test fails: far above what a slow machine needs.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Asks again and again until the answer is `Ok`; `Err` says what is still missing, and is shown when the deadline passes.
pub fn await_condition<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(missing) if started.elapsed() > DEADLINE => {
                panic!("{what}: after {DEADLINE:?} still {missing}")
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}
