//! A simulation of the core without sockets: hosts with really signed repos, a process that dies at any write, and all that can go wrong
//! between them, drawn from a seed. Time is virtual, there is one thread. What is decided is decided by the code that runs for real.
//!
//! `cargo test --lib simulation` runs seeds for 10 s, on every core; long: `SIGNPOST_SIM_SECONDS=600 cargo test --release --lib simulation
//! -- --nocapture`. A seed that fails prints itself; again: `SIGNPOST_SIM_SEED=N cargo test --lib simulation -- --nocapture`.

mod checks;
mod process;
mod world;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::{Limits, StoreConfig};
use process::Process;
use world::World;

/// Most seeds live a short life, for more of them; one in so many a long one.
const LONG_LIFE_EVERY: u64 = 10;
const CHECK_ROWS_EVERY: usize = 16;
/// Comparisons at a quiet point: one that finds what differs, one that finds what is left, and one for good measure.
const COMPARISONS: usize = 3;
/// Past every retry and comparison.
const COMPARE_ALL: Duration = Duration::from_secs(13 * 3600);
/// Past the retries that the simulation asks for, and far from a comparison.
const RETRIES: Duration = Duration::from_secs(300);

#[test]
fn the_index_equals_the_hosts_at_every_quiet_point() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let one = number("SIGNPOST_SIM_SEED");
    let time = Duration::from_secs(number("SIGNPOST_SIM_SECONDS").unwrap_or(10));
    let first = one.unwrap_or_else(|| number("SIGNPOST_SIM_FIRST").unwrap_or(1));
    let threads = if one.is_some() { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let time = if one.is_some() { Duration::ZERO } else { time };
    let runs = Runs { began: Instant::now(), time, next: first.into(), failed: false.into() };
    let totals = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| runs.work())).collect();
        running.into_iter().map(|thread| thread.join()).reduce(|all, one| Ok(all?.and(one?))).expect("a thread")
    });
    let Totals { seeds, steps, fired } = totals.expect("a seed failed, see above");
    let rate = steps as f64 / runs.began.elapsed().as_secs_f64();
    println!("{seeds} seeds, {steps} steps, {rate:.0} steps a second");
    fired.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
}

/// The seeds that are still to be run, until the time is up.
struct Runs {
    began: Instant,
    time: Duration,
    next: AtomicU64,
    failed: AtomicBool,
}

#[derive(Default)]
struct Totals {
    seeds: usize,
    steps: usize,
    fired: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn and(mut self, other: Totals) -> Totals {
        other.fired.into_iter().for_each(|(what, times)| *self.fired.entry(what).or_insert(0) += times);
        Totals { seeds: self.seeds + other.seeds, steps: self.steps + other.steps, fired: self.fired }
    }
}

impl Runs {
    fn work(&self) -> Totals {
        let mut totals = Totals::default();
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            let step = Cell::new(0);
            let fired = catch_unwind(AssertUnwindSafe(|| run(seed, &step))).unwrap_or_else(|panic| {
                self.failed.store(true, Ordering::Relaxed);
                eprintln!("seed {seed}, step {}: replay with SIGNPOST_SIM_SEED={seed}", step.get());
                resume_unwind(panic);
            });
            totals = totals.and(Totals { seeds: 1, steps: step.get(), fired });
            if self.began.elapsed() >= self.time || self.failed.load(Ordering::Relaxed) {
                return totals;
            }
        }
    }
}

/// Runs one seed; answers how often what happened.
fn run(seed: u64, step: &Cell<usize>) -> BTreeMap<&'static str, u64> {
    let folder = tempfile::tempdir_in(fast_folder()).expect("a folder");
    let world = World::new(seed);
    let (filter, limits) = (world.filter.clone(), Limits::default());
    let config = StoreConfig { path: folder.path().join("simulation.db"), filter, limits };
    let mut process = Process::new(world, config);
    let (quiet_points, steps_between) = if seed.is_multiple_of(LONG_LIFE_EVERY) { (3, 250) } else { (1, 150) };
    for _ in 0..quiet_points {
        for _ in 0..steps_between {
            step.set(step.get() + 1);
            match process.world.rng.u8(0..100) {
                0..25 => process.world.step(),
                _ => process.step(),
            }
            process.check_cursors();
            if step.get().is_multiple_of(CHECK_ROWS_EVERY) {
                process.check_rows();
            }
        }
        come_to_rest(&mut process);
        process.check_truth();
    }
    let restarts = process.restarts;
    process.world.fired.insert("restart", restarts);
    process.world.fired
}

/// Nothing goes wrong any more, all is delivered, and every host is compared.
fn come_to_rest(process: &mut Process) {
    process.world.faulty = false;
    process.world.deadly = false;
    process.world.hosts.iter_mut().for_each(|host| host.up = true);
    // Nothing vouches for a head that a did:web's earlier key signed, until the next write.
    process.world.write_where_only_an_earlier_key_signed();
    process.request_all();
    for _ in 0..COMPARISONS {
        assert!(process.settle().is_some(), "it does not come to rest");
        // Refused because its key was looked up just after the key changed: the next comparison heals it.
        let is_refused = process.world.fired.contains_key("rejected_bad_signature");
        let wait = if process.world.is_calm && !is_refused { RETRIES } else { COMPARE_ALL };
        process.pass_time(wait);
    }
    assert!(process.settle().is_some(), "it does not come to rest");
    process.world.faulty = !process.world.is_calm;
    process.world.deadly = true;
}

fn fast_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
