//! The counts that are accepted, in `counts.txt`: a name and its instructions a line.

use std::collections::BTreeMap;
use std::fs;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.txt");
/// In percent. Hash tables are seeded by chance, which may change some tenths.
const TOLERANCE: f64 = 3.0;

/// Prints a row for each case; false: one costs other than what was accepted.
pub fn compare(counted: &[(&str, u64)]) -> bool {
    let accepted = read();
    let mut is_accepted = true;
    println!("| case | instructions | accepted | change |\n|---|---|---|---|");
    for (name, now) in counted {
        let before = accepted.get(*name).copied().unwrap_or(0);
        let change = (*now as f64 - before as f64) / before.max(1) as f64 * 100.0;
        println!("| {name} | {now} | {before} | {change:+.2}% |");
        is_accepted &= change.abs() <= TOLERANCE;
    }
    if !is_accepted {
        eprintln!(
            "\nmore or less than accepted by over {TOLERANCE}%. If that is meant: benches/instructions/run --accept"
        );
    }
    is_accepted
}

/// Makes these the counts to compare with.
pub fn accept(counted: &[(&str, u64)]) {
    let lines: String = counted.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
    fs::write(PATH, &lines).expect("the repository can be written to");
    print!("{lines}");
}

fn read() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(PATH).unwrap_or_default();
    let count = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(count).collect()
}
