//! What the pure paths cost: bytes in, facts out, no network and no database.
//!
//!     cargo bench --bench pure              (all, a minute)
//!     cargo bench --bench pure -- open      (those whose name begins so)
//!
//! Seeds are fixed. Every figure is the median of many runs in processor time of this thread, so that a neighbour costs caches only.
//! Rows of a Markdown table come out.

mod corpus;
mod events;
mod measure;
mod repos;
mod told;

use measure::Bench;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts benches too, without this flag.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let wanted = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    let bench = Bench::new(wanted);
    repos::run(&bench);
    events::run(&bench);
}
