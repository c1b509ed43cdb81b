//! `hosts`: who asked to be crawled, and whether they answer.

use rusqlite::{OptionalExtension, named_params};

use super::{Durability, HostId, Signal, Store, StoreError, Tx, TxResult};
use crate::syntax::{Host, Scheme};

/// A host that keeps asking is woken at most this often.
const WAKE_EVERY_MS: i64 = 60_000;

/// What a requestCrawl changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrawlRequest {
    /// The host is new and queued.
    New,
    /// The host is known; nothing was to be done.
    Known,
    /// The host is known, and what was waiting after a failure is tried at once.
    Woken,
}

impl Store {
    /// Accepts a host, as `com.atproto.sync.requestCrawl` asks. A new host and its queue row are on disk when this returns.
    pub async fn request_crawl(&self, host: &Host) -> Result<CrawlRequest, StoreError> {
        let asked = host.clone();
        if self.read(move |tx| tx.is_settled(&asked)).await? {
            return Ok(CrawlRequest::Known);
        }
        let host = host.clone();
        self.write(Durability::Full, move |tx| tx.request_crawl(&host)).await
    }
}

impl Tx<'_> {
    /// Whether a requestCrawl of this host would change nothing.
    fn is_settled(&self, host: &Host) -> TxResult<bool> {
        let known = self
            .db
            .prepare_cached("SELECT host_id, scheme, woken_at FROM hosts WHERE hostname = :hostname")?
            .query_row(named_params! {":hostname": host.as_str()}, |row| {
                Ok((HostId(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })
            .optional()?;
        let Some((host_id, scheme, woken_at)) = known else { return Ok(false) };
        if host.scheme_is_explicit() && scheme != host.scheme().as_str() {
            return Ok(false);
        }
        Ok(self.now - woken_at < WAKE_EVERY_MS || !self.has_failures(host_id)?)
    }

    fn has_failures(&self, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM crawl_queue WHERE host_id = :host AND status = 'failed')
                     OR EXISTS (SELECT 1 FROM subscriptions WHERE host_id = :host AND connected_since IS NULL)",
            )?
            .query_row(named_params! {":host": host_id.0}, |row| row.get(0))
    }

    pub(super) fn request_crawl(&self, host: &Host) -> TxResult<CrawlRequest> {
        let inserted = self
            .db
            .prepare_cached(
                "INSERT INTO hosts (hostname, scheme, state, state_since, requested_at, woken_at)
                 VALUES (:hostname, :scheme, 'new', :now, :now, 0) ON CONFLICT DO NOTHING",
            )?
            .execute(named_params! {":hostname": host.as_str(), ":scheme": host.scheme().as_str(), ":now": self.now})?;
        let host_id = self
            .db
            .prepare_cached("SELECT host_id FROM hosts WHERE hostname = :hostname")?
            .query_row(named_params! {":hostname": host.as_str()}, |row| Ok(HostId(row.get(0)?)))?;
        if inserted > 0 {
            self.queue_host(host_id)?;
            return Ok(CrawlRequest::New);
        }
        if self.is_settled(host)? {
            return Ok(CrawlRequest::Known);
        }
        if host.scheme_is_explicit() {
            self.db
                .prepare_cached("UPDATE hosts SET scheme = :scheme WHERE host_id = :host")?
                .execute(named_params! {":scheme": host.scheme().as_str(), ":host": host_id.0})?;
        }
        self.db
            .prepare_cached("UPDATE hosts SET requested_at = :now, woken_at = :now WHERE host_id = :host")?
            .execute(named_params! {":now": self.now, ":host": host_id.0})?;
        self.wake_failed_jobs(host_id)?;
        self.raise(Signal::Subscribe);
        Ok(CrawlRequest::Woken)
    }

    /// The host behind an id.
    pub fn host(&self, host_id: HostId) -> TxResult<Host> {
        self.db
            .prepare_cached("SELECT hostname, scheme FROM hosts WHERE host_id = :host")?
            .query_row(named_params! {":host": host_id.0}, |row| read_host(row, 0))
    }

    /// The id of a host that is crawled here.
    pub fn host_id(&self, host: &Host) -> TxResult<Option<HostId>> {
        self.db
            .prepare_cached("SELECT host_id FROM hosts WHERE hostname = :hostname AND reached_at IS NOT NULL")?
            .query_row(named_params! {":hostname": host.as_str()}, |row| Ok(HostId(row.get(0)?)))
            .optional()
    }

    /// The host answered: it is active, public from now on, and its firehose is to be followed.
    pub fn host_reached(&self, host_id: HostId) -> TxResult<()> {
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
