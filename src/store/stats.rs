//! Sums for the operator: gauges for /metrics, rows for /hosts. Read when they are asked for; nothing keeps them.

use super::{HostId, LAGGING_SECONDS, Lag, Store, StoreError, Tx, TxResult};
use rusqlite::named_params;

const WAITING_SHOWN: usize = 100;
/// Hosts that answered before, are not kept out, and cannot be followed now.
pub(super) const DOWN_FIREHOSES: &str = "hosts h JOIN subscriptions s USING (host_id)
     WHERE reached_at IS NOT NULL AND blocked = 0 AND connected_since IS NULL";

/// Gauges.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// (`pending` | `in_progress` | `subscribed` | `failed`, rows of crawl_queue).
    pub queue: Vec<(String, i64)>,
    /// (`new` | `active` | `offline`, hosts).
    pub hosts: Vec<(String, i64)>,
    /// (`active` | `inactive`, repos).
    pub repos: Vec<(String, i64)>,
    /// Indexed records.
    pub records: i64,
    /// Repos known to be out of step with their host.
    pub desynchronized_repos: i64,
    /// Live events that wait for their repo.
    pub held_events: i64,
    /// How far the host that is furthest behind is, in seconds; 0 where nothing tells.
    pub host_lag_seconds: u64,
    /// Hosts that are more than [`LAGGING_SECONDS`] behind.
    pub lagging_hosts: usize,
    /// Events that were read and are not stored yet.
    pub lag_events: usize,
    /// Firehoses that are connected now.
    pub connected_firehoses: i64,
    /// Firehoses that should be connected and are not.
    pub firehoses_down: i64,
    /// How long the job that is due longest has been waiting for a worker, in milliseconds; 0: none is due.
    pub longest_wait_ms: i64,
    /// Repos of which a limit keeps some records out of the index.
    pub truncated_repos: i64,
    /// Accounts that wait for room at their host.
    pub waiting_accounts: i64,
    /// Hosts that send more events than their limits let through.
    pub slowed_hosts: i64,
    /// Collections that somebody has a record of.
    pub collections: i64,
    /// Repos that a wider filter queued and that were not tried yet.
    pub repos_to_reindex: i64,
    /// Hosts that are kept out.
    pub blocked_hosts: i64,
    /// Domains that are banned.
    pub domain_bans: i64,
    /// Accounts that the operator hides.
    pub takedowns: i64,
    /// Hosts that strangers announced in the last 24 hours.
    pub new_hosts_last_day: i64,
    /// Size of the database without its WAL, in bytes.
    pub database_size_bytes: i64,
    /// Size of its write-ahead log, in bytes.
    pub wal_size_bytes: u64,
    /// Free space on its disk, in bytes, if the system says.
    pub disk_free_bytes: Option<u64>,
    /// Whether it has no room for what comes in.
    pub disk_full: bool,
    /// Queries that were cut because they took too long, since the start.
    pub queries_cut: u64,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Hosts that answered and are not kept out.
    pub hosts: i64,
    /// Their accounts.
    pub repos: i64,
    /// Indexed records.
    pub records: i64,
}

/// Jobs on repos of one host.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct HostQueue {
    /// Waiting.
    pub pending: i64,
    /// Being worked on.
    pub in_progress: i64,
    /// Waiting after a failure.
    pub failed: i64,
}

/// One host as /hosts shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HostReport {
    /// The row.
    #[serde(skip)]
    pub host_id: HostId,
    /// Its name.
    pub hostname: String,
    /// `new`, `active` or `offline`.
    pub state: String,
    /// Since when (Unix milliseconds).
    pub state_since: i64,
    /// The queue's word for its own crawl: `pending`, `in_progress`, `subscribed` or `failed`.
    pub crawl: Option<String>,
    /// Whether it is kept out.
    pub blocked: bool,
    /// Whether its firehose is connected.
    pub connected: bool,
    /// Since when (Unix milliseconds).
    pub connected_since: Option<i64>,
    /// Events of its firehose since this process started.
    pub events_since_start: i64,
    /// How far its firehose is behind; None where it is not connected.
    pub lag: Option<Lag>,
    /// The stored cursor of its firehose.
    pub cursor: Option<i64>,
    /// When an event last moved it (Unix milliseconds).
    pub last_event_at: Option<i64>,
    /// Its accounts.
    pub repos: i64,
    /// How many it may have.
    pub account_limit: i64,
    /// How many more there are, up to a thousand; raise its limit to have them taken in.
    pub waiting: i64,
    /// The first of them.
    pub waiting_accounts: Vec<String>,
    /// Records of its repos.
    pub records: i64,
    /// The size of their JSON in bytes.
    pub record_bytes: i64,
    /// Its repos of which a limit keeps some records out of the index.
    pub truncated_repos: i64,
    /// Since when it sends more events than its limits let through (Unix milliseconds).
    pub slowed_since: Option<i64>,
    /// Jobs on its repos.
    pub queue: HostQueue,
    /// The last error of its crawl, else of its firehose, else of one of its repos.
    pub last_error: Option<String>,
}

impl Store {
    /// How much there is, from what is kept for each host.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        self.query(|tx| {
            tx.db
                .prepare_cached(
                    "SELECT count(*) FILTER (WHERE blocked = 0), ifnull(sum(accounts), 0), ifnull(sum(records), 0)
                     FROM hosts LEFT JOIN host_usage USING (host_id) WHERE reached_at IS NOT NULL",
                )?
                .query_row([], |row| Ok(Totals { hosts: row.get(0)?, repos: row.get(1)?, records: row.get(2)? }))
        })
        .await
    }

    /// Gauges for /metrics.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let disk = &self.inner.disk;
        let (disk_full, disk_free_bytes) = (disk.is_full(), disk.free_bytes());
        let lags: Vec<Lag> = self.lags().all().into_values().collect();
        let seconds = || lags.iter().filter_map(|lag| lag.seconds);
        let host_lag_seconds = seconds().max().unwrap_or(0);
        let lagging_hosts = seconds().filter(|seconds| *seconds > LAGGING_SECONDS).count();
        let lag_events = lags.iter().map(|lag| lag.events).sum();
        let (wal_size_bytes, queries_cut) = (disk.wal_bytes(), disk.queries_cut());
        self.read(move |tx| {
            Ok(Stats {
                queue: tx.counts("SELECT status, count(*) FROM crawl_queue GROUP BY status")?,
                hosts: tx.counts("SELECT state, count(*) FROM hosts GROUP BY state")?,
                repos: tx.repos_by_activity()?,
                records: tx.sum("SELECT ifnull(sum(records), 0) FROM host_usage")?,
                desynchronized_repos: tx.sum("SELECT count(*) FROM repos WHERE desynchronized = 1")?,
                held_events: tx.sum("SELECT count(*) FROM held_events")?,
                host_lag_seconds,
                lagging_hosts,
                lag_events,
                connected_firehoses: tx.sum("SELECT count(*) FROM subscriptions WHERE connected_since IS NOT NULL")?,
                firehoses_down: tx.sum(&format!("SELECT count(*) FROM {DOWN_FIREHOSES}"))?,
                longest_wait_ms: tx.longest_wait_ms()?,
                truncated_repos: tx.sum("SELECT count(*) FROM repos WHERE truncated = 1")?,
                waiting_accounts: tx.sum("SELECT ifnull(sum(waiting), 0) FROM host_usage")?,
                slowed_hosts: tx.sum("SELECT count(*) FROM subscriptions WHERE slowed_since IS NOT NULL")?,
                collections: tx.sum("SELECT count(*) FROM collections")?,
                repos_to_reindex: tx.repos_to_reindex()?,
                blocked_hosts: tx.sum("SELECT count(*) FROM hosts WHERE blocked <> 0")?,
                domain_bans: tx.sum("SELECT count(*) FROM domain_bans")?,
                takedowns: tx.sum("SELECT count(*) FROM takedowns")?,
                new_hosts_last_day: tx.new_hosts_last_day()?,
                database_size_bytes: tx
                    .sum("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?,
                wal_size_bytes,
                disk_free_bytes,
                disk_full,
                queries_cut,
            })
        })
        .await
    }

    /// Every host, for /hosts.
    pub async fn host_report(&self) -> Result<Vec<HostReport>, StoreError> {
        let mut reports = self.read(|tx| tx.host_report()).await?;
        let lags = self.lags().all();
        reports.iter_mut().for_each(|report| report.lag = lags.get(&report.host_id).copied());
        Ok(reports)
    }
}

impl Tx<'_> {
    fn counts(&self, sql: &str) -> TxResult<Vec<(String, i64)>> {
        self.db.prepare_cached(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    fn sum(&self, sql: &str) -> TxResult<i64> {
        self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))
    }

    /// Of the two, only the inactive ones are counted: there are few.
    fn repos_by_activity(&self) -> TxResult<Vec<(String, i64)>> {
        let all = self.sum("SELECT ifnull(sum(accounts), 0) FROM host_usage")?;
        let inactive = self.sum("SELECT count(*) FROM repos WHERE active = 0")?;
        let rows = [("active", all - inactive), ("inactive", inactive)];
        Ok(rows.into_iter().filter(|(_, count)| *count > 0).map(|(label, count)| (label.to_owned(), count)).collect())
    }

    fn longest_wait_ms(&self) -> TxResult<i64> {
        let due_since: Option<i64> = self
            .db
            .prepare_cached(
                "SELECT min(max(next_attempt_at, q.created_at)) FROM crawl_queue q JOIN hosts USING (host_id)
                 WHERE status IN ('pending', 'failed') AND next_attempt_at <= :now AND blocked = 0",
            )?
            .query_row(named_params! {":now": self.now}, |row| row.get(0))?;
        Ok(due_since.map_or(0, |since| (self.now - since).max(0)))
    }

    fn host_report(&self) -> TxResult<Vec<HostReport>> {
        let mut statement = self.db.prepare_cached(
            "SELECT h.host_id, hostname, state, state_since, q.status, connected_since IS NOT NULL, host_cursor, last_event_at,
                 ifnull(u.accounts, 0), ifnull(h.account_limit, :account_limit), ifnull(u.waiting, 0), ifnull(u.records, 0),
                 ifnull(u.record_bytes, 0), (SELECT count(*) FROM repos r WHERE r.host_id = h.host_id AND truncated = 1),
                 slowed_since,
                 coalesce(q.last_error, s.last_error,
                     (SELECT last_error FROM crawl_queue f
                      WHERE f.host_id = h.host_id AND f.repo_id IS NOT NULL AND f.status IN ('pending', 'failed')
                        AND f.last_error IS NOT NULL LIMIT 1)),
                 blocked <> 0, connected_since, ifnull(events_since_start, 0)
             FROM hosts h
             LEFT JOIN crawl_queue q ON q.host_id = h.host_id AND q.repo_id IS NULL
             LEFT JOIN subscriptions s ON s.host_id = h.host_id
             LEFT JOIN host_usage u ON u.host_id = h.host_id
             ORDER BY hostname",
        )?;
        let limit = self.state.limits.accounts_per_host;
        let mut rows = statement.query(named_params! {":account_limit": limit})?;
        let mut reports = Vec::new();
        while let Some(row) = rows.next()? {
            let host_id = HostId(row.get(0)?);
            reports.push(HostReport {
                host_id,
                lag: None,
                queue: self.host_queue(host_id)?,
                waiting_accounts: self.waiting_accounts(host_id, WAITING_SHOWN)?,
                hostname: row.get(1)?,
                state: row.get(2)?,
                state_since: row.get(3)?,
                crawl: row.get(4)?,
                connected: row.get(5)?,
                cursor: row.get(6)?,
                last_event_at: row.get(7)?,
                repos: row.get(8)?,
                account_limit: row.get(9)?,
                waiting: row.get(10)?,
                records: row.get(11)?,
                record_bytes: row.get(12)?,
                truncated_repos: row.get(13)?,
                slowed_since: row.get(14)?,
                last_error: row.get(15)?,
                blocked: row.get(16)?,
                connected_since: row.get(17)?,
                events_since_start: row.get(18)?,
            });
        }
        Ok(reports)
    }

    fn host_queue(&self, host_id: HostId) -> TxResult<HostQueue> {
        self.db
            .prepare_cached(
                "SELECT ifnull(sum(status = 'pending'), 0), ifnull(sum(status = 'in_progress'), 0), ifnull(sum(status = 'failed'), 0)
                 FROM crawl_queue WHERE host_id = :host AND repo_id IS NOT NULL",
            )?
            .query_row(named_params! {":host": host_id.0}, |row| {
                Ok(HostQueue { pending: row.get(0)?, in_progress: row.get(1)?, failed: row.get(2)? })
            })
    }
}
