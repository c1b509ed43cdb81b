//! What an operator pays for: requests a second, CPU, memory and the binary's size, of the real release binary as a process of its own.
//!
//!     ./bench                (all, some minutes: signpost has a core for itself)
//!     ./bench list live      (some)
//!
//! The other side, a fake network with real signed repos, runs in this process. Seeds are fixed. Rows of a Markdown table come out.
//! Wall-clock figures hold for an idle machine only; CPU figures are signpost's own, and are the ones to compare. Databases are
//! removed when a bench ends. `SIGNPOST_BENCH_BINARY` has another binary measured.

mod corpus;
mod crawl;
mod database;
mod dump;
mod floor;
mod hostile;
mod idle;
mod list;
mod live;
mod load;
mod report;
mod signpost;
mod store;

const BENCHES: [&str; 13] = [
    "binary",
    "list",
    "start",
    "crawl_large",
    "crawl_many",
    "crawl_sparse",
    "live",
    "live_p256",
    "live_outside",
    "store",
    "dump",
    "idle",
    "hostile",
];

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [argument, body_bytes] = arguments.as_slice()
        && argument == floor::ARGUMENT
    {
        return floor::serve(body_bytes.parse().expect("a size")).await;
    }
    // `cargo test --all-targets` starts benches too, without this flag.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|it| !it.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| !BENCHES.contains(name)) {
        eprintln!("no bench is called {unknown}: there are {}", BENCHES.join(", "));
        std::process::exit(2);
    }
    report::machine();
    for name in BENCHES.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        match name {
            "binary" => binary(),
            "list" => list::run().await,
            "start" => list::start().await,
            "crawl_large" => crawl::large().await,
            "crawl_many" => crawl::many().await,
            "crawl_sparse" => crawl::sparse().await,
            "live" => live::k256().await,
            "live_p256" => live::p256().await,
            "live_outside" => live::outside().await,
            "store" => store::run().await,
            "dump" => dump::run().await,
            "hostile" => hostile::run().await,
            _ => idle::run().await,
        }
    }
}

fn binary() {
    let size_bytes = std::fs::metadata(signpost::binary()).expect("cargo has built it").len();
    report::line("binary", "profile release", &[report::mib("size", size_bytes)]);
}
