//! What is not counted here because the database knows it: gathered anew for each scrape.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::declare::Declare;

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

impl Sizes {
    /// A registry for one scrape, so that two scrapes at once cannot see each other's halves.
    pub(super) fn registry(&self) -> Registry {
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

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
