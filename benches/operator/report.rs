//! Lines of the report: what was measured, on which corpus, and figures with their units.

use std::time::Duration;

use crate::signpost::{self, Usage};

/// Says what everything below was measured on, and begins the table.
pub fn machine() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let load = read("/proc/loadavg");
    println!(
        "{}; {}; load before {}\n",
        model.trim_matches([' ', '\t', ':']),
        if signpost::is_pinned() {
            "signpost has one core, the network the others".to_owned()
        } else {
            format!("signpost and the network share {cores} cores")
        },
        load.split(' ').next().unwrap_or("unknown"),
    );
    println!("| bench | corpus | figures |\n|---|---|---|");
}

/// Prints one row.
pub fn line(name: &str, corpus: &str, figures: &[String]) {
    println!("| {name} | {corpus} | {} |", figures.join(", "));
}

/// Many of something, a second.
pub fn rate(what: &str, count: usize, took: Duration) -> String {
    format!("{:.0} {what}/s", count as f64 / took.as_secs_f64())
}

/// Processor time in all.
pub fn cpu(used: &Usage) -> String {
    format!("{:.2} s CPU", used.cpu.as_secs_f64())
}

/// Processor time for one of many.
pub fn cpu_each(what: &str, used: &Usage, count: usize) -> String {
    format!("{:.0} us CPU/{what}", used.cpu.as_secs_f64() * 1e6 / count as f64)
}

/// A size.
pub fn mib(what: &str, bytes: u64) -> String {
    format!("{what} {:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A duration, in milliseconds.
pub fn ms(what: &str, took: Duration) -> String {
    format!("{what} {:.2} ms", took.as_secs_f64() * 1e3)
}
