//! `subscriptions`: one firehose per host, its cursor and its state.

use rusqlite::{OptionalExtension, named_params};

use super::hosts::read_host;
use super::{HostId, Signal, Tx, TxResult};
use crate::syntax::Host;

/// A firehose to follow.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Whose.
    pub host_id: HostId,
    /// Where.
    pub host: Host,
    /// Unix milliseconds of the latest requestCrawl that is to cut waiting short.
    pub woken_at: i64,
    /// How often a connection was to be given up and dialled anew.
    pub restarts: i64,
}

impl Tx<'_> {
    /// Every firehose that is to be followed: of hosts that are open.
    pub fn subscriptions(&self) -> TxResult<Vec<Subscription>> {
        self.db
            .prepare_cached(
                "SELECT host_id, hostname, scheme, woken_at, restarts FROM subscriptions JOIN hosts USING (host_id)
                 WHERE blocked = 0 ORDER BY host_id",
            )?
            .query_map([], |row| {
                Ok(Subscription {
                    host_id: HostId(row.get(0)?),
                    host: read_host(row, 1)?,
                    woken_at: row.get(3)?,
                    restarts: row.get(4)?,
                })
            })?
            .collect()
    }

    /// The stored low watermark: every event at or below it has a durable outcome.
    pub fn host_cursor(&self, host_id: HostId) -> TxResult<Option<i64>> {
        let row = self
            .db
            .prepare_cached("SELECT host_cursor FROM subscriptions WHERE host_id = :host")?
            .query_row(named_params! {":host": host_id.0}, |row| row.get(0))
            .optional()?;
        Ok(row.flatten())
    }

    /// Moves the low watermark. To be called in the transaction that holds the outcomes of the events up to `seq`.
    pub fn set_host_cursor(&self, host_id: HostId, seq: i64) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE subscriptions SET host_cursor = :seq, last_event_at = :now WHERE host_id = :host")?
            .execute(named_params! {":seq": seq, ":now": self.now, ":host": host_id.0})?;
        Ok(())
    }

    /// Counts events that arrived, whatever came of them.
    pub fn count_events(&self, host_id: HostId, events: usize) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE subscriptions SET events_since_start = events_since_start + :events WHERE host_id = :host",
            )?
            .execute(named_params! {":events": events as i64, ":host": host_id.0})?;
        Ok(())
    }

    /// Forgets the low watermark: the host does not know it. The next connection follows from live, and repos are listed again.
    pub fn drop_host_cursor(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE subscriptions SET host_cursor = NULL WHERE host_id = :host")?
            .execute(named_params! {":host": host_id.0})?;
        Ok(())
    }

    /// A firehose that is connected and was not heard since: the host's sequence may have begun anew below our cursor. It is
    /// dialled again, without a cursor.
    pub fn restart_if_silent(&self, host_id: HostId) -> TxResult<()> {
        let silent = self
            .db
            .prepare_cached(
                "UPDATE subscriptions SET host_cursor = NULL, restarts = restarts + 1
                 WHERE host_id = :host AND connected_since IS NOT NULL AND host_cursor IS NOT NULL
                   AND ifnull(last_event_at, 0) < connected_since",
            )?
            .execute(named_params! {":host": host_id.0})?;
        if silent > 0 {
            self.raise(Signal::Subscribe);
        }
        Ok(())
    }

    /// Whether the firehose is connected now.
    pub fn is_connected(&self, host_id: HostId) -> TxResult<bool> {
        let since: Option<Option<i64>> = self
            .db
            .prepare_cached("SELECT connected_since FROM subscriptions WHERE host_id = :host")?
            .query_row(named_params! {":host": host_id.0}, |row| row.get(0))
            .optional()?;
        Ok(since.flatten().is_some())
    }

    /// Whether the firehose was ever connected.
    pub fn ever_connected(&self, host_id: HostId) -> TxResult<bool> {
        let ever: Option<bool> = self
            .db
            .prepare_cached("SELECT ever_connected FROM subscriptions WHERE host_id = :host")?
            .query_row(named_params! {":host": host_id.0}, |row| row.get(0))
            .optional()?;
        Ok(ever.unwrap_or(false))
    }

    /// The firehose connected. What was written between two connections of which the later had no cursor was not heard, so the
    /// repos are listed again then; likewise when they were listed before any connection stood. Answers whether it is to be followed.
    pub fn firehose_connected(&self, host_id: HostId) -> TxResult<bool> {
        if !self.is_open(host_id)? {
            return Ok(false);
        }
        let has_gap: bool = self
            .db
            .prepare_cached(
                "SELECT relist_on_connect OR (ever_connected AND host_cursor IS NULL) FROM subscriptions WHERE host_id = :host",
            )?
            .query_row(named_params! {":host": host_id.0}, |row| row.get(0))?;
        self.db
            .prepare_cached(
                "UPDATE subscriptions SET connected_since = :now, ever_connected = 1, relist_on_connect = 0, last_error = NULL
                 WHERE host_id = :host",
            )?
            .execute(named_params! {":now": self.now, ":host": host_id.0})?;
        self.set_host_state(host_id, "active")?;
        if has_gap {
            self.relist_host(host_id)?;
        }
        self.raise(Signal::Connected);
        Ok(true)
    }

    /// The firehose ended, or could not be reached. Of a host that is not open it is known why.
    pub fn firehose_down(&self, host_id: HostId, error: &str, reached: bool) -> TxResult<()> {
        if !self.is_open(host_id)? {
            return Ok(());
        }
        self.db
            .prepare_cached(
                "UPDATE subscriptions SET connected_since = NULL, last_error = :error WHERE host_id = :host",
            )?
            .execute(named_params! {":error": error, ":host": host_id.0})?;
        if !reached {
            self.set_host_state(host_id, "offline")?;
        }
        Ok(())
    }

    /// Whether the host is read more slowly than it sends.
    pub fn set_slowed(&self, host_id: HostId, slowed: bool) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE subscriptions SET slowed_since = CASE WHEN :slowed THEN :now END
                 WHERE host_id = :host AND (slowed_since IS NOT NULL) <> :slowed",
            )?
            .execute(named_params! {":slowed": slowed, ":now": self.now, ":host": host_id.0})?;
        Ok(())
    }

    /// The repos are being listed without a firehose: once it connects, they are listed again.
    pub fn relist_on_connect(&self, host_id: HostId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE subscriptions SET relist_on_connect = 1 WHERE host_id = :host AND connected_since IS NULL",
            )?
            .execute(named_params! {":host": host_id.0})?;
        Ok(())
    }
}
