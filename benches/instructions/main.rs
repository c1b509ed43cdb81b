//! Counts the instructions of signpost's pure paths under valgrind, and compares them with those of `counts.txt`.
//!
//!     benches/instructions/run             (fails when a path costs more, or less, than was accepted)
//!     benches/instructions/run --accept    (writes the new counts)
//!
//! Unlike time, they are the same on a busy machine. It is an example, not a bench, so that it is built of what the tests are built of.
//! Only our own code is counted: valgrind hides the instructions for SHA-256 from the program, and libc has others on other machines.

extern crate instructions as signpost;

mod callgrind;
mod cases;
#[allow(dead_code, reason = "the benches of time use more of it")]
#[path = "../pure/corpus.rs"]
mod corpus;
mod counts;
#[path = "../pure/told.rs"]
mod told;

/// With this argument, the process is the one that is watched.
const WATCHED: &str = "--watched";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [WATCHED, name] => cases::run(name),
        ["--accept"] => counts::accept(&callgrind::count()),
        [] => {
            if !counts::compare(&callgrind::count()) {
                std::process::exit(1);
            }
        }
        _ => {
            eprintln!("no argument, or --accept");
            std::process::exit(2);
        }
    }
}
