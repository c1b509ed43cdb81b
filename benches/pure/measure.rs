//! Processor time of one thread, and the rows that are printed of it.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Runs of each bench; what is told is their median.
const RUNS: usize = 31;
/// A run takes so long at least: short work is repeated within it.
const RUN_TIME: Duration = Duration::from_millis(20);

/// The benches that are wanted, all when none is named.
pub struct Bench {
    wanted: Vec<String>,
}

impl Bench {
    /// Begins the table.
    pub fn new(wanted: Vec<String>) -> Bench {
        println!("| bench | corpus | each | a second |\n|---|---|---|---|");
        Bench { wanted }
    }

    /// Whether one whose name begins so may be measured, and its corpus is worth building.
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty()
            || self.wanted.iter().any(|wanted| name.starts_with(wanted.as_str()) || wanted.starts_with(name))
    }

    /// Measures work that does something `count` times, and prints a row.
    pub fn row<T>(&self, name: &str, corpus: &str, what: &str, count: usize, mut work: impl FnMut() -> T) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            return;
        }
        let mut repeats = 1;
        while timed(repeats, &mut work) < RUN_TIME {
            repeats *= 2;
        }
        let mut runs: Vec<Duration> = (0..RUNS).map(|_| timed(repeats, &mut work)).collect();
        runs.sort();
        let each = runs[RUNS / 2].as_secs_f64() / f64::from(repeats) / count as f64;
        println!("| {name} | {corpus} | {:.0} ns | {} {what} |", each * 1e9, thousands(1.0 / each));
    }
}

fn timed<T>(repeats: u32, work: &mut impl FnMut() -> T) -> Duration {
    let before = thread_time();
    for _ in 0..repeats {
        black_box(work());
    }
    thread_time() - before
}

/// What this thread has run for.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it has run for no negative time")
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
