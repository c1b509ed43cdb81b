//! Everything on the page's first screen, as one JSON object: also what `signpost status` prints.

use serde::Serialize;

use super::Operator;
use super::health::{self, Facts, Health};
use super::history::Rates;
use crate::api::Phase;
use crate::store::{Crawling, Overview, Stats, StoreError};

/// Hosts that are being crawled, the largest first: more than these would not be read.
const MOST_CRAWLING: usize = 20;
/// Fewer jobs than this in the last minute tell no rate.
const LEAST_RATE: f64 = 0.1;

/// The first screen.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// Unix milliseconds.
    now: i64,
    started_at: i64,
    filter: Vec<String>,
    health: Health,
    hosts: Hosts,
    repos: Repos,
    records: i64,
    collections: i64,
    queue: Queue,
    rates: Rates,
    crawling: Vec<Crawl>,
    database: Database,
    index_complete: bool,
}

#[derive(Debug, Serialize)]
struct Hosts {
    total: i64,
    /// Whose firehose is connected.
    followed: i64,
    /// That answered before, and cannot be followed now.
    down: i64,
    /// That never answered.
    new: i64,
    blocked: i64,
    slowed: i64,
    /// More than ten minutes behind.
    lagging: usize,
    /// How far the one is that is furthest behind.
    lag_seconds: u64,
    /// Events that were read and are not stored yet.
    lag_events: usize,
}

#[derive(Debug, Serialize)]
struct Repos {
    active: i64,
    inactive: i64,
    desynchronized: i64,
    truncated: i64,
    taken_down: i64,
    waiting_accounts: i64,
}

#[derive(Debug, Serialize)]
struct Queue {
    pending: i64,
    in_progress: i64,
    failed: i64,
    held_events: i64,
    longest_wait_ms: i64,
}

#[derive(Debug, Serialize)]
struct Crawl {
    #[serde(flatten)]
    host: Crawling,
    /// An estimate from the last minute's pace; None: nothing tells.
    seconds_left: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Database {
    bytes: i64,
    wal_bytes: u64,
    free_bytes: Option<u64>,
    full: bool,
}

pub(super) async fn of(operator: &Operator) -> Result<Status, StoreError> {
    let store = &operator.api.store;
    let (stats, overview) = (store.stats().await?, store.overview(MOST_CRAWLING).await?);
    let rates = operator.history.rates();
    let health = health::judge(&facts(operator, &stats, &overview));
    let new = count(&stats.hosts, "new");
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        now: crate::clock::now_millis(),
        started_at: operator.started_at,
        filter: store.filter().patterns().iter().map(ToString::to_string).collect(),
        health,
        hosts: Hosts {
            total: total(&stats.hosts),
            followed: stats.connected_firehoses,
            down: stats.firehoses_down,
            new,
            blocked: stats.blocked_hosts,
            slowed: stats.slowed_hosts,
            lagging: stats.lagging_hosts,
            lag_seconds: stats.host_lag_seconds,
            lag_events: stats.lag_events,
        },
        repos: Repos {
            active: count(&stats.repos, "active"),
            inactive: count(&stats.repos, "inactive"),
            desynchronized: stats.desynchronized_repos,
            truncated: stats.truncated_repos,
            taken_down: stats.takedowns,
            waiting_accounts: stats.waiting_accounts,
        },
        records: stats.records,
        collections: stats.collections,
        queue: Queue {
            pending: count(&stats.queue, "pending"),
            in_progress: count(&stats.queue, "in_progress"),
            failed: count(&stats.queue, "failed"),
            held_events: stats.held_events,
            longest_wait_ms: stats.longest_wait_ms,
        },
        crawling: crawls(overview.crawling, rates),
        rates,
        database: Database {
            bytes: stats.database_size_bytes,
            wal_bytes: stats.wal_size_bytes,
            free_bytes: stats.disk_free_bytes,
            full: stats.disk_full,
        },
        index_complete: store.is_complete(),
    })
}

fn facts(operator: &Operator, stats: &Stats, overview: &Overview) -> Facts {
    let phase = operator.readiness.phase();
    Facts {
        starting: phase == Phase::Starting,
        stopping: phase == Phase::Stopping,
        disk_full: stats.disk_full,
        disk_free_bytes: stats.disk_free_bytes,
        clock_is_behind: operator.clock.is_behind(),
        hosts: total(&stats.hosts),
        blocked_hosts: stats.blocked_hosts,
        firehoses_down: stats.firehoses_down,
        down_example: overview.down_example.clone(),
        lagging_hosts: stats.lagging_hosts,
        lag_example: overview.lag_example.clone(),
        new_hosts: count(&stats.hosts, "new"),
        longest_wait_ms: stats.longest_wait_ms,
        waiting_accounts: stats.waiting_accounts,
        slowed_hosts: stats.slowed_hosts,
        truncated_repos: stats.truncated_repos,
        repos_waiting: overview.crawling.iter().map(|host| host.waiting + host.in_progress).sum(),
        repos_to_reindex: stats.repos_to_reindex,
    }
}

/// The workers go round between the hosts: each is done when its share of the pace has taken in what it has left.
fn crawls(hosts: Vec<Crawling>, rates: Rates) -> Vec<Crawl> {
    let busy = hosts.iter().filter(|host| host.waiting + host.in_progress > 0).count().max(1) as f64;
    let all_left: i64 = hosts.iter().map(|host| host.waiting + host.in_progress).sum();
    let seconds_left = |host: &Crawling| {
        let left = host.waiting + host.in_progress;
        // What is still being listed has no end that is known.
        if host.listing || left == 0 || rates.jobs < LEAST_RATE {
            return None;
        }
        let in_turn = left as f64 * busy / rates.jobs;
        let all = all_left as f64 / rates.jobs;
        Some(in_turn.min(all).ceil() as u64)
    };
    hosts.into_iter().map(|host| Crawl { seconds_left: seconds_left(&host), host }).collect()
}

fn total(rows: &[(String, i64)]) -> i64 {
    rows.iter().map(|(_, count)| count).sum()
}

fn count(rows: &[(String, i64)], label: &str) -> i64 {
    rows.iter().find(|(found, _)| found == label).map_or(0, |(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(waiting: i64, listing: bool) -> Crawling {
        Crawling { hostname: "a.com".to_owned(), listing, repos: 100, waiting, in_progress: 0, failed: 0 }
    }

    #[test]
    fn the_time_left_is_told_only_where_something_tells_it() {
        let left = |hosts, jobs| -> Vec<Option<u64>> {
            crawls(hosts, Rates { events: 0.0, jobs }).iter().map(|crawl| crawl.seconds_left).collect()
        };
        assert_eq!(left(vec![host(100, false)], 10.0), [Some(10)]);
        // Two in turn: the small one waits for its share, the large one for all.
        assert_eq!(left(vec![host(100, false), host(10, false)], 10.0), [Some(11), Some(2)]);
        assert_eq!(left(vec![host(100, true), host(100, false)], 0.0), [None, None]);
        assert_eq!(left(vec![host(100, true)], 10.0), [None]);
    }
}
