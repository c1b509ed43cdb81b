//! Every metric, declared once.
//!
//! Owns the names (`signpost_*`), the labels and the text that Prometheus reads; knows no other part of the
//! crate. Labels are bounded: an enum or a `&'static str`, never a DID or a host's name. What the database
//! knows is not counted here a second time: it comes in as `Sizes` at each scrape.

mod declare;
mod labels;
mod lines;
mod sizes;
#[cfg(test)]
mod tests;

pub use labels::{EventKind, JobKind};
pub use lines::Lines;
pub use sizes::Sizes;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use declare::Declare;
use labels::{
    CallLabels, EventLabels, JobLabels, MethodLabels, OutcomeLabels, PlaceLabels, ReasonLabels, RequestLabels,
    WayLabels,
};

/// The `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters of one process; a clone counts into the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    events: Family<EventLabels, Counter>,
    bad_frames: Family<ReasonLabels, Counter>,
    firehose_connects: Family<OutcomeLabels, Counter>,
    firehose_paused_seconds: Counter<f64, AtomicU64>,
    crawl_jobs: Family<JobLabels, Counter>,
    listed_rows_skipped: Counter,
    missed_commits: Counter,
    repos_taken: Family<WayLabels, Counter>,
    repo_calls: Family<CallLabels, Counter>,
    repo_call_bytes: Family<CallLabels, Counter>,
    repos_fetched: Family<PlaceLabels, Counter>,
    repos_rejected: Family<ReasonLabels, Counter>,
    records_written: Counter,
    records_deleted: Counter,
    records_skipped: Family<ReasonLabels, Counter>,
    request_crawls: Family<OutcomeLabels, Counter>,
    admin_calls: Family<OutcomeLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    request_panics: Counter,
    connections: Gauge,
    connections_closed: Family<ReasonLabels, Counter>,
    outcomes: [AtomicU64; OUTCOMES.len()],
    jobs_done: AtomicU64,
}

/// What firehose messages came to, in five words; see [`Metrics::totals`].
pub const OUTCOMES: [&str; 5] = ["applied", "held", "fetch", "passed_over", "rejected"];

/// What was counted since the start, coarsely: for a chart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Firehose messages, in the order of [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// Finished attempts at crawl jobs on repos.
    pub jobs: u64,
}
impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("signpost");
        let mut add = Declare(&mut registry);
        add.0.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let events = add.family("events", "Firehose messages by kind and outcome");
        let bad_frames = add.family("bad_frames", "Firehose frames that made no sense, by reason");
        let firehose_connects = add.family("firehose_connects", "Attempts to connect a firehose, by outcome");
        let firehose_paused_seconds = add.metric(
            "firehose_paused_seconds",
            "Time that firehoses were not read because their hosts sent more than their limits let through",
            Counter::default(),
        );
        let crawl_jobs = add.family("crawl_jobs", "Finished attempts at crawl jobs by kind and outcome");
        let listed_rows_skipped = add.counter("listed_rows_skipped", "Rows of listRepos that made no sense");
        let missed_commits =
            add.counter("missed_commits", "Repos whose listed head differed and on which no event arrived");
        let repos_taken = add.family(
            "repos_taken",
            "Repos by the way in which they were taken: unmatched (one answer showed that nothing matches), part or whole",
        );
        let repo_calls = add.family("repo_calls", "Calls for repos and parts of them: getRecord, getBlocks, getRepo");
        let repo_call_bytes = add.family("repo_call_bytes", "Bytes of their answers, after decompression");
        let repos_fetched =
            add.family("repos_fetched", "Repos that came whole, by where they lay meanwhile: memory or disk");
        let repos_rejected = add.family("repos_rejected", "Fetched repos that failed verification, by reason");
        let records_written = add.counter("records_written", "Records created or updated in the index");
        let records_deleted = add.counter("records_deleted", "Records deleted from the index");
        let records_skipped = add.family("records_skipped", "Matching records that are not indexed, by reason");
        let request_crawls =
            add.family("request_crawls", "Calls of requestCrawl that named a host, or met a limit, by outcome");
        let admin_calls = add.family("admin_calls", "Admin calls by outcome");
        let requests = add.family("http_requests", "Answered requests by method and HTTP status");
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_1, 4.0, 10));
        let request_seconds = add.metric(
            "http_request_duration_seconds",
            "Time from a request's head to its answer, by method",
            Family::new_with_constructor(histogram),
        );
        let request_panics =
            add.counter("http_request_panics", "Requests answered with 500 because their handler panicked");
        let connections = add.metric("http_connections", "Connections of the public listener", Gauge::default());
        let connections_closed =
            add.family("http_connections_closed", "Connections closed because of a limit on their number, by reason");
        Metrics(Arc::new(Inner {
            registry,
            events,
            bad_frames,
            firehose_connects,
            firehose_paused_seconds,
            crawl_jobs,
            listed_rows_skipped,
            missed_commits,
            repos_taken,
            repo_calls,
            repo_call_bytes,
            repos_fetched,
            repos_rejected,
            records_written,
            records_deleted,
            records_skipped,
            request_crawls,
            admin_calls,
            requests,
            request_seconds,
            request_panics,
            connections,
            connections_closed,
            outcomes: Default::default(),
            jobs_done: AtomicU64::new(0),
        }))
    }

    /// Counts a firehose message that was decided on, such as ("commit", "applied").
    pub fn event(&self, kind: EventKind, outcome: &'static str) {
        self.0.events.get_or_create(&EventLabels { kind: kind.name(), outcome }).inc();
        self.0.outcomes[class_of(outcome)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since the start.
    pub fn totals(&self) -> Totals {
        Totals {
            outcomes: std::array::from_fn(|at| self.0.outcomes[at].load(Ordering::Relaxed)),
            jobs: self.0.jobs_done.load(Ordering::Relaxed),
        }
    }

    /// Counts a firehose frame that could not be read.
    pub fn bad_frame(&self, reason: &'static str) {
        self.0.bad_frames.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts an attempt to connect a firehose.
    pub fn firehose_connect(&self, outcome: &'static str) {
        self.0.firehose_connects.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a pause in reading a firehose.
    pub fn firehose_paused(&self, pause: Duration) {
        self.0.firehose_paused_seconds.inc_by(pause.as_secs_f64());
    }

    /// Counts an attempt at a crawl job: "done", or the reason why it was not.
    pub fn crawl_job(&self, kind: JobKind, outcome: &'static str) {
        self.0.crawl_jobs.get_or_create(&JobLabels { kind: kind.name(), outcome }).inc();
        if kind == JobKind::Repo {
            self.0.jobs_done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts rows of listRepos that made no sense.
    pub fn listed_rows_skipped(&self, rows: u64) {
        self.0.listed_rows_skipped.inc_by(rows);
    }

    /// Counts repos whose listed head differed and on which no event arrived.
    pub fn missed_commits(&self, repos: u64) {
        self.0.missed_commits.inc_by(repos);
    }

    /// Counts a verified repo by the way in which it was taken.
    pub fn repo_taken(&self, way: &'static str) {
        self.0.repos_taken.get_or_create(&WayLabels { way }).inc();
    }

    /// Counts a call for a repo or a part of it, and the bytes of its answer.
    pub fn repo_call(&self, call: &'static str, bytes: u64) {
        self.0.repo_calls.get_or_create(&CallLabels { call }).inc();
        self.0.repo_call_bytes.get_or_create(&CallLabels { call }).inc_by(bytes);
    }

    /// Counts a repo that came whole, and lies in "memory" or on "disk".
    pub fn repo_fetched(&self, place: &'static str) {
        self.0.repos_fetched.get_or_create(&PlaceLabels { place }).inc();
    }

    /// Counts a fetched repo that failed verification.
    pub fn repo_rejected(&self, reason: &'static str) {
        self.0.repos_rejected.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts records created or updated in the index.
    pub fn records_written(&self, records: u64) {
        self.0.records_written.inc_by(records);
    }

    /// Counts records deleted from the index.
    pub fn records_deleted(&self, records: u64) {
        self.0.records_deleted.inc_by(records);
    }

    /// Counts matching records that cannot be indexed.
    pub fn records_skipped(&self, reason: &'static str, records: u64) {
        self.0.records_skipped.get_or_create(&ReasonLabels { reason }).inc_by(records);
    }

    /// Counts what became of a call of requestCrawl.
    pub fn request_crawl(&self, outcome: &'static str) {
        self.0.request_crawls.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts an admin call.
    pub fn admin_call(&self, outcome: &'static str) {
        self.0.admin_calls.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts an answered HTTP request; `method` is an NSID that signpost serves, or a fixed word.
    pub fn request(&self, method: &'static str, status: u16, took: Duration) {
        self.0.requests.get_or_create(&RequestLabels { method, status }).inc();
        self.0.request_seconds.get_or_create(&MethodLabels { method }).observe(took.as_secs_f64());
    }

    /// Counts a request whose handler panicked.
    pub fn request_panicked(&self) {
        self.0.request_panics.inc();
    }

    /// Sets how many connections there are.
    pub fn connections(&self, open: usize) {
        self.0.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Counts a connection that a limit closed: "client_limit" (refused) or "evicted" (for the next one).
    pub fn connection_closed(&self, reason: &'static str) {
        self.0.connections_closed.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Everything in the OpenMetrics text format, see [`CONTENT_TYPE`].
    pub fn render(&self, sizes: &Sizes) -> String {
        let mut out = String::new();
        write_all(&mut out, &self.0.registry, &sizes.registry()).expect("writing to a String never fails");
        out
    }
}
/// Where in [`OUTCOMES`] an outcome counts.
fn class_of(outcome: &str) -> usize {
    match outcome {
        "held" => 1,
        "new_repo" | "claim" => 2,
        _ if outcome.starts_with("applied") => 0,
        _ if outcome.starts_with("desync_") => 2,
        _ if outcome.starts_with("rejected_") => 4,
        _ => 3,
    }
}
fn write_all(out: &mut String, counters: &Registry, sizes: &Registry) -> fmt::Result {
    text::encode_registry(out, counters)?;
    text::encode_registry(out, sizes)?;
    text::encode_eof(out)
}
