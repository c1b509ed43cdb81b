//! `hosts`: who asked to be crawled, whether they are let in, and whether they answer.

use rusqlite::{OptionalExtension, named_params};

use super::bans::BEING_FORGOTTEN;
use super::{Durability, HostId, Signal, Store, StoreError, Tx, TxResult, meta};
use crate::syntax::{Host, Scheme};

/// A host that keeps asking is woken at most this often.
const WAKE_EVERY_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// A host that never answered is forgotten after this time.
const NEVER_REACHED_MS: i64 = 30 * DAY_MS;
const LAST_HOST_ID: &str = "last_host_id";

/// How a new host may come in. A known one is never refused for a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// A stranger named it: while the budgets of new hosts last, and it counts against them.
    Budgeted {
        /// New hosts within 24 hours.
        in_all: u32,
        /// New hosts of its registrable domain within 24 hours.
        per_domain: u32,
    },
    /// An operator named it, or trusts its domain.
    Free,
}

/// A budget of new hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewHosts {
    /// Of all domains together.
    InAll,
    /// Of one registrable domain.
    OfDomain,
}

/// What became of a requestCrawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrawlRequest {
    /// The host is new and queued.
    New,
    /// The host is known; nothing was to be done.
    Known,
    /// The host is known, and what was waiting after a failure is tried at once.
    Woken,
    /// The operator blocked the host, or banned a domain that it lies in.
    Banned,
    /// The host is being forgotten, and can come back after that.
    BeingForgotten,
    /// The host is new, and a budget of new hosts is spent.
    OverBudget(NewHosts, RetryAfter),
}

/// When it is worth to ask again, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub u32);

/// A host as requestCrawl finds it.
struct KnownHost {
    id: HostId,
    scheme: String,
    woken_at: i64,
    blocked: i64,
}

impl Store {
    /// Accepts a host, as `com.atproto.sync.requestCrawl` asks. A new host and its queue row are on disk when this returns.
    pub async fn request_crawl(&self, host: &Host, admission: Admission) -> Result<CrawlRequest, StoreError> {
        let asked = host.clone();
        if let Some(answer) = self.read(move |tx| tx.settled_request(&asked, admission)).await? {
            return Ok(answer);
        }
        let host = host.clone();
        self.write(Durability::Full, move |tx| tx.request_crawl(&host, admission)).await
    }
}

impl Tx<'_> {
    /// The answer to a requestCrawl that changes nothing; None when it would.
    fn settled_request(&self, host: &Host, admission: Admission) -> TxResult<Option<CrawlRequest>> {
        let Some(known) = self.known_host(host)? else {
            if self.is_banned(host)? {
                return Ok(Some(CrawlRequest::Banned));
            }
            return self.spent_budget(host, admission);
        };
        if known.blocked & BEING_FORGOTTEN != 0 {
            return Ok(Some(CrawlRequest::BeingForgotten));
        }
        if known.blocked != 0 {
            return Ok(Some(CrawlRequest::Banned));
        }
        if host.scheme_is_explicit() && known.scheme != host.scheme().as_str() {
            return Ok(None);
        }
        let is_settled = self.now - known.woken_at < WAKE_EVERY_MS || !self.has_failures(known.id)?;
        Ok(is_settled.then_some(CrawlRequest::Known))
    }

    fn known_host(&self, host: &Host) -> TxResult<Option<KnownHost>> {
        self.db
            .prepare_cached("SELECT host_id, scheme, woken_at, blocked FROM hosts WHERE hostname = :hostname")?
            .query_row(named_params! {":hostname": host.as_str()}, |row| {
                Ok(KnownHost {
                    id: HostId(row.get(0)?),
                    scheme: row.get(1)?,
                    woken_at: row.get(2)?,
                    blocked: row.get(3)?,
                })
            })
            .optional()
    }

    fn spent_budget(&self, host: &Host, admission: Admission) -> TxResult<Option<CrawlRequest>> {
        let Admission::Budgeted { in_all, per_domain } = admission else { return Ok(None) };
        for (budget, limit, domain) in
            [(NewHosts::OfDomain, per_domain, Some(host.registrable_domain())), (NewHosts::InAll, in_all, None)]
        {
            if let Some(frees_at) = self.budget_frees_at(limit, domain)? {
                let seconds = u32::try_from((frees_at - self.now) / 1000 + 1).unwrap_or(1);
                return Ok(Some(CrawlRequest::OverBudget(budget, RetryAfter(seconds))));
            }
        }
        Ok(None)
    }

    /// When one more host fits into a budget (Unix milliseconds), if it does not now. A host that our clock has in the future, because
    /// it jumped back, does not count: else it would do so for as long as the jump.
    fn budget_frees_at(&self, limit: u32, domain: Option<&str>) -> TxResult<Option<i64>> {
        let Some(others) = limit.checked_sub(1) else { return Ok(Some(self.now + DAY_MS)) };
        let last_that_fits: Option<i64> = self
            .db
            .prepare_cached(
                "SELECT created_at FROM hosts
                 WHERE budgeted = 1 AND created_at > :since AND created_at <= :now AND (:domain IS NULL OR domain = :domain)
                 ORDER BY created_at DESC LIMIT 1 OFFSET :others",
            )?
            .query_row(
                named_params! {":since": self.now - DAY_MS, ":now": self.now, ":domain": domain, ":others": others},
                |row| row.get(0),
            )
            .optional()?;
        Ok(last_that_fits.map(|created_at| created_at + DAY_MS))
    }

    /// Hosts that strangers announced in the last 24 hours.
    pub(super) fn new_hosts_last_day(&self) -> TxResult<i64> {
        self.db
            .prepare_cached(
                "SELECT count(*) FROM hosts WHERE budgeted = 1 AND created_at > :since AND created_at <= :now",
            )?
            .query_row(named_params! {":since": self.now - DAY_MS, ":now": self.now}, |row| row.get(0))
    }

    fn has_failures(&self, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM crawl_queue WHERE host_id = :host AND status = 'failed')
                     OR EXISTS (SELECT 1 FROM subscriptions WHERE host_id = :host AND connected_since IS NULL)",
            )?
            .query_row(named_params! {":host": host_id.0}, |row| row.get(0))
    }

    pub(super) fn request_crawl(&self, host: &Host, admission: Admission) -> TxResult<CrawlRequest> {
        if let Some(answer) = self.settled_request(host, admission)? {
            return Ok(answer);
        }
        let Some(known) = self.known_host(host)? else {
            let host_id = self.insert_host(host, admission)?;
            self.queue_host(host_id)?;
            return Ok(CrawlRequest::New);
        };
        if host.scheme_is_explicit() {
            self.db
                .prepare_cached("UPDATE hosts SET scheme = :scheme WHERE host_id = :host")?
                .execute(named_params! {":scheme": host.scheme().as_str(), ":host": known.id.0})?;
        }
        self.wake_host(known.id)?;
        Ok(CrawlRequest::Woken)
    }

    fn insert_host(&self, host: &Host, admission: Admission) -> TxResult<HostId> {
        // An id never comes back as another host: list cursors point at it, and who still works for a host that was forgotten must not
        // take the next one for it.
        let last: Option<i64> = meta::get(self.db, LAST_HOST_ID)?.and_then(|text| text.parse().ok());
        self.db
            .prepare_cached(
                "INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at, created_at, domain, budgeted)
                 SELECT 1 + max(:last, ifnull((SELECT max(host_id) FROM hosts), 0)),
                     :hostname, :scheme, 'new', :now, :now, 0, :now, :domain, :budgeted
                 RETURNING host_id",
            )?
            .query_row(
                named_params! {
                    ":last": last.unwrap_or(0), ":hostname": host.as_str(), ":scheme": host.scheme().as_str(), ":now": self.now,
                    ":domain": host.registrable_domain(), ":budgeted": matches!(admission, Admission::Budgeted { .. }),
                },
                |row| Ok(HostId(row.get(0)?)),
            )
    }

    /// Deletes the row; every row that refers to it is gone already.
    pub(super) fn delete_host(&self, host_id: HostId) -> TxResult<()> {
        let last: i64 = self.db.query_row("SELECT max(host_id) FROM hosts", [], |row| row.get(0))?;
        if host_id.0 == last {
            meta::set(self.db, LAST_HOST_ID, &last.to_string())?;
        }
        self.db.prepare_cached("DELETE FROM hosts WHERE host_id = ?1")?.execute([host_id.0])?;
        Ok(())
    }

    /// What was waiting after a failure is tried at once.
    pub(super) fn wake_host(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE hosts SET requested_at = :now, woken_at = :now WHERE host_id = :host")?
            .execute(named_params! {":now": self.now, ":host": host_id.0})?;
        self.wake_failed_jobs(host_id)?;
        self.raise(Signal::Subscribe);
        Ok(())
    }

    /// Whether the host ever answered.
    pub fn was_reached(&self, host_id: HostId) -> TxResult<bool> {
        let reached: Option<bool> = self
            .db
            .prepare_cached("SELECT reached_at IS NOT NULL FROM hosts WHERE host_id = ?1")?
            .query_row([host_id.0], |row| row.get(0))
            .optional()?;
        Ok(reached.unwrap_or(false))
    }

    /// Forgets hosts that never answered in 30 days, a hundred at a time: names can be invented without end. Answers how many went.
    pub fn forget_unreached_hosts(&self) -> TxResult<usize> {
        let hosts: Vec<HostId> = self
            .db
            .prepare_cached(
                "SELECT host_id FROM hosts h
                 WHERE reached_at IS NULL AND blocked = 0 AND created_at < :before
                   AND NOT EXISTS (SELECT 1 FROM repos r WHERE r.host_id = h.host_id)
                   AND NOT EXISTS (SELECT 1 FROM crawl_queue q WHERE q.host_id = h.host_id AND q.status = 'in_progress')
                 LIMIT 100",
            )?
            .query_map(named_params! {":before": self.now - NEVER_REACHED_MS}, |row| Ok(HostId(row.get(0)?)))?
            .collect::<TxResult<_>>()?;
        for host in &hosts {
            self.delete_rows_of_host(*host)?;
            self.delete_host(*host)?;
        }
        Ok(hosts.len())
    }

    /// The host behind an id; None when it was forgotten.
    pub fn known_host_by_id(&self, host_id: HostId) -> TxResult<Option<Host>> {
        self.db
            .prepare_cached("SELECT hostname, scheme FROM hosts WHERE host_id = :host")?
            .query_row(named_params! {":host": host_id.0}, |row| read_host(row, 0))
            .optional()
    }

    /// The id of a host that is crawled here.
    pub fn host_id(&self, host: &Host) -> TxResult<Option<HostId>> {
        self.db
            .prepare_cached("SELECT host_id FROM hosts WHERE hostname = :hostname AND reached_at IS NOT NULL")?
            .query_row(named_params! {":hostname": host.as_str()}, |row| Ok(HostId(row.get(0)?)))
            .optional()
    }

    /// The id of a host that is known, reached or not.
    pub fn known_host_id(&self, host: &Host) -> TxResult<Option<HostId>> {
        Ok(self.known_host(host)?.map(|known| known.id))
    }

    /// The host answered: it is active, public from now on, and its firehose is to be followed.
    pub fn host_reached(&self, host_id: HostId) -> TxResult<()> {
        if !self.is_open(host_id)? {
            return Ok(());
        }
        self.db
            .prepare_cached("UPDATE hosts SET reached_at = ifnull(reached_at, :now) WHERE host_id = :host")?
            .execute(named_params! {":now": self.now, ":host": host_id.0})?;
        self.set_host_state(host_id, "active")?;
        let inserted = self
            .db
            .prepare_cached("INSERT INTO subscriptions (host_id) VALUES (:host) ON CONFLICT DO NOTHING")?
            .execute(named_params! {":host": host_id.0})?;
        if inserted > 0 {
            self.raise(Signal::Subscribe);
        }
        Ok(())
    }

    /// The host does not answer. One that never did stays `new`; one whose firehose is connected is not offline.
    pub fn host_unreachable(&self, host_id: HostId) -> TxResult<()> {
        if self.is_connected(host_id)? {
            return Ok(());
        }
        self.set_host_state(host_id, "offline")
    }

    pub(super) fn set_host_state(&self, host_id: HostId, state: &str) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE hosts SET state = :state, state_since = :now
                 WHERE host_id = :host AND state <> :state AND reached_at IS NOT NULL",
            )?
            .execute(named_params! {":state": state, ":now": self.now, ":host": host_id.0})?;
        Ok(())
    }
}

/// Reads `hostname, scheme` from two columns of a row.
pub(super) fn read_host(row: &rusqlite::Row, first: usize) -> rusqlite::Result<Host> {
    let (hostname, scheme): (String, String) = (row.get(first)?, row.get(first + 1)?);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    Host::from_key(&hostname, scheme)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(first, rusqlite::types::Type::Text, Box::new(error)))
}
