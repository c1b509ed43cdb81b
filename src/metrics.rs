//! Every metric, declared once.
//!
//! Owns the names (`signpost_*`), the labels and the text that Prometheus reads; knows no other part of the
//! crate. Labels are bounded: an enum or a `&'static str`, never a DID or a host's name. What the database
//! knows is not counted here a second time: it comes in as `Sizes` at each scrape.

mod lines;
#[cfg(test)]
mod tests;

pub use lines::Lines;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

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

/// The kind of a firehose message (com.atproto.sync.subscribeRepos).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `#commit`
    Commit,
    /// `#sync`
    Sync,
    /// `#account`
    Account,
    /// `#identity`
    Identity,
    /// `#info`
    Info,
    /// An error frame.
    Error,
    /// Any other type, old or not known yet.
    Other,
}

/// The kind of a job of the crawl queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// A host is probed, and its repos are listed.
    Host,
    /// A repo is fetched.
    Repo,
}

/// What the database knows, gathered for one scrape. Pairs are (label, number of rows); the labels are fixed
/// words.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    /// Rows of the crawl queue by status.
    pub queue: Vec<(String, i64)>,
    /// Hosts by state.
    pub hosts: Vec<(String, i64)>,
    /// Repos by whether their account is active.
    pub repos: Vec<(String, i64)>,
    /// Indexed records.
    pub records: i64,
    /// Repos known to be out of step with their host.
    pub desynchronized_repos: i64,
    /// Repos of which a limit keeps some records out of the index.
    pub truncated_repos: i64,
    /// Firehoses that should be connected and are not.
    pub firehoses_down: i64,
    /// How long the job that is due longest has been waiting for a worker.
    pub longest_wait_seconds: i64,
    /// Accounts that wait for room at their host.
    pub waiting_accounts: i64,
    /// Hosts that send more events than their limits let through.
    pub slowed_hosts: i64,
    /// Collections that somebody has a record of.
    pub collections: i64,
    /// Repos that wait to be fetched again since the filter was widened.
    pub repos_to_reindex: i64,
    /// Live events that wait for their repo.
    pub held_events: i64,
    /// How far the host that is furthest behind is.
    pub host_lag_seconds: u64,
    /// Hosts that are more than ten minutes behind.
    pub lagging_hosts: usize,
    /// Events that were read and are not stored yet.
    pub lag_events: usize,
    /// Firehoses connected now.
    pub connected_firehoses: i64,
    /// Hosts that are kept out.
    pub blocked_hosts: i64,
    /// Domains that are banned.
    pub domain_bans: i64,
    /// Accounts that the operator hides.
    pub takedowns: i64,
    /// Hosts that strangers announced in the last 24 hours.
    pub new_hosts_last_day: i64,
    /// The database file, in bytes.
    pub database_bytes: i64,
    /// Its write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// Free space on its disk, in bytes, if the system says.
    pub disk_free_bytes: Option<u64>,
    /// Whether nothing is taken in because the disk is full.
    pub disk_full: bool,
    /// Queries that were cut because they took too long.
    pub queries_cut: u64,
    /// Whether most hosts are ahead of our clock.
    pub clock_is_behind: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabels {
    way: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceLabels {
    place: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
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

impl Sizes {
    /// A registry for one scrape, so that two scrapes at once cannot see each other's halves.
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("signpost");
        let mut add = Declare(&mut registry);
        add.rows("queue_jobs", "Rows of the crawl queue by status", "status", &self.queue);
        add.rows("hosts", "Hosts by state", "state", &self.hosts);
        add.rows("repos", "Repos by account status", "status", &self.repos);
        for (name, help, value) in [
            ("records", "Indexed records", self.records),
            ("clock_behind", "1 when most hosts are ahead of our clock", i64::from(self.clock_is_behind)),
            ("desynchronized_repos", "Repos known to be out of step with their host", self.desynchronized_repos),
            ("truncated_repos", "Repos of which a limit keeps some records out of the index", self.truncated_repos),
            ("firehoses_down", "Firehoses that should be connected and are not", self.firehoses_down),
            (
                "queue_longest_wait_seconds",
                "How long the job that is due longest has been waiting for a worker",
                self.longest_wait_seconds,
            ),
            ("waiting_accounts", "Accounts that wait for room at their host", self.waiting_accounts),
            ("slowed_hosts", "Hosts that send more events than their limits let through", self.slowed_hosts),
            ("collections", "Collections that somebody has a record of", self.collections),
            ("repos_to_reindex", "Repos to be fetched again since the filter was widened", self.repos_to_reindex),
            ("held_events", "Live events that wait for their repo", self.held_events),
            (
                "host_lag_seconds",
                "How far the connected firehose that is furthest behind is, by its events' own time; 0 when all are quiet or up to date",
                size(self.host_lag_seconds),
            ),
            (
                "lagging_hosts",
                "Connected firehoses that are more than ten minutes behind",
                size(self.lagging_hosts as u64),
            ),
            ("lag_events", "Events that were read from firehoses and are not stored yet", size(self.lag_events as u64)),
            ("connected_firehoses", "Firehoses connected now", self.connected_firehoses),
            ("blocked_hosts", "Hosts that the operator keeps out", self.blocked_hosts),
            ("domain_bans", "Domains whose hosts the operator keeps out", self.domain_bans),
            ("takedowns", "Accounts that the operator hides", self.takedowns),
            ("new_hosts_last_day", "Hosts that strangers announced in the last 24 hours", self.new_hosts_last_day),
            ("database_size_bytes", "Size of the database file", self.database_bytes),
            ("wal_size_bytes", "Size of the database's write-ahead log", size(self.wal_bytes)),
            ("disk_full", "1 when nothing is taken in because the disk is full", i64::from(self.disk_full)),
        ] {
            add.0.register(name, help, ConstGauge::new(value));
        }
        if let Some(free) = self.disk_free_bytes {
            add.0.register("disk_free_bytes", "Free space on the database's disk", ConstGauge::new(size(free)));
        }
        let cut = ConstCounter::new(self.queries_cut);
        add.0.register("queries_cut", "Queries that were cut because they took too long", cut);
        registry
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

impl EventKind {
    fn name(self) -> &'static str {
        match self {
            EventKind::Commit => "commit",
            EventKind::Sync => "sync",
            EventKind::Account => "account",
            EventKind::Identity => "identity",
            EventKind::Info => "info",
            EventKind::Error => "error",
            EventKind::Other => "other",
        }
    }
}

impl JobKind {
    fn name(self) -> &'static str {
        match self {
            JobKind::Host => "host",
            JobKind::Repo => "repo",
        }
    }
}

/// Declares metrics in a registry; each call gives the metric back.
struct Declare<'a>(&'a mut Registry);

impl Declare<'_> {
    fn metric<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.metric(name, help, Counter::default())
    }

    fn family<L>(&mut self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: Clone + Eq + Hash + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    {
        self.metric(name, help, Family::default())
    }

    fn rows(&mut self, name: &str, help: &str, label: &'static str, rows: &[(String, i64)]) {
        let gauges = Family::<[(&str, String); 1], Gauge>::default();
        for (value, count) in rows {
            gauges.get_or_create(&[(label, value.clone())]).set(*count);
        }
        self.0.register(name, help, gauges);
    }
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn write_all(out: &mut String, counters: &Registry, sizes: &Registry) -> fmt::Result {
    text::encode_registry(out, counters)?;
    text::encode_registry(out, sizes)?;
    text::encode_eof(out)
}
