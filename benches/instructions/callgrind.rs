//! Starts this program again under `valgrind --tool=callgrind`, and reads what it writes.
//!
//! The format: <https://valgrind.org/docs/manual/cl-format.html>. What is called by `cases::measured` counts.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{WATCHED, cases};

/// Counts every case, each in a process of its own.
pub fn count() -> Vec<(&'static str, u64)> {
    cases::NAMES.iter().map(|name| (*name, count_one(name))).collect()
}

fn count_one(name: &str) -> u64 {
    let directory = tempfile::tempdir().expect("a directory for what valgrind writes");
    let (program, out) =
        (std::env::current_exe().expect("the program knows where it is"), directory.path().join("out"));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"])
        .args(["--collect-atstart=no", "--toggle-collect=*cases::measured*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&program)
        .args([WATCHED, name])
        .status()
        .expect("valgrind is installed");
    assert!(status.success(), "valgrind ended with {status}");
    read(&fs::read_to_string(out).expect("valgrind has written it"), &program)
}

/// The instructions of our own code.
fn read(dump: &str, program: &Path) -> u64 {
    let (mut is_ours, mut is_hashing, mut is_call, mut sum) = (false, false, false, 0);
    for line in dump.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_ours = Path::new(object) == program;
        } else if let Some(function) = line.strip_prefix("fn=") {
            is_hashing = function.contains("sha2::");
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            // Behind a call stands what the callee cost, which is told at its own lines.
            let is_own = !std::mem::take(&mut is_call);
            if is_own && is_ours && !is_hashing {
                let count = line.split(' ').nth(1).and_then(|count| count.parse().ok());
                sum += count.unwrap_or(0);
            }
        }
    }
    sum
}
