//! `domain_bans` and `hosts.blocked`: hosts that the operator keeps out. Nothing of a host that is not open is crawled, followed or
//! written; what is indexed of its accounts stays listed until they are taken down or the host is forgotten.

use rusqlite::named_params;

use super::hosts::read_host;
use super::{HostId, Signal, Tx, TxResult};
use crate::syntax::{Domain, Host};

/// The bits of `hosts.blocked`.
pub(super) const BY_NAME: i64 = 1;
const BY_DOMAIN: i64 = 2;
pub(super) const BEING_FORGOTTEN: i64 = 4;

impl Tx<'_> {
    /// Whether a host may be crawled and followed: known, not blocked, not being forgotten.
    pub fn is_open(&self, host_id: HostId) -> TxResult<bool> {
        self.db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM hosts WHERE host_id = ?1 AND blocked = 0)")?
            .query_row([host_id.0], |row| row.get(0))
    }

    /// Keeps a host out.
    pub fn block_host(&self, host_id: HostId, host: &Host) -> TxResult<()> {
        self.close_host(host_id, BY_NAME)?;
        self.note_admin("block_host", host.as_str(), None)
    }

    /// Lets a host in again. What it wrote meanwhile is found by comparing it.
    pub fn unblock_host(&self, host_id: HostId, host: &Host) -> TxResult<()> {
        self.reopen_host(host_id, BY_NAME)?;
        self.note_admin("unblock_host", host.as_str(), None)
    }

    /// Keeps out every host of a domain, known or not.
    pub fn ban_domain(&self, domain: &Domain) -> TxResult<()> {
        self.db
            .prepare_cached(
                "INSERT INTO domain_bans (domain, banned_at) VALUES (:domain, :now) ON CONFLICT DO NOTHING",
            )?
            .execute(named_params! {":domain": domain.as_str(), ":now": self.now})?;
        for (host_id, _) in self.hosts_of(domain)? {
            self.close_host(host_id, BY_DOMAIN)?;
        }
        self.note_admin("ban_domain", domain.as_str(), None)
    }

    /// Lets the hosts of a domain in again, but for those that another ban covers. Answers whether it was banned.
    pub fn unban_domain(&self, domain: &Domain) -> TxResult<bool> {
        let deleted =
            self.db.prepare_cached("DELETE FROM domain_bans WHERE domain = ?1")?.execute([domain.as_str()])?;
        if deleted == 0 {
            return Ok(false);
        }
        for (host_id, host) in self.hosts_of(domain)? {
            if !self.is_banned(&host)? {
                self.reopen_host(host_id, BY_DOMAIN)?;
            }
        }
        self.note_admin("unban_domain", domain.as_str(), None)?;
        Ok(true)
    }

    /// The domains that are banned.
    pub fn domain_bans(&self) -> TxResult<Vec<String>> {
        self.db
            .prepare_cached("SELECT domain FROM domain_bans ORDER BY domain")?
            .query_map([], |row| row.get(0))?
            .collect()
    }

    /// Whether a ban covers the host's name.
    pub(super) fn is_banned(&self, host: &Host) -> TxResult<bool> {
        let mut banned = self.db.prepare_cached("SELECT 1 FROM domain_bans WHERE domain = ?1")?;
        let mut rest = Some(host.name());
        while let Some(name) = rest {
            if banned.exists([name])? {
                return Ok(true);
            }
            rest = name.split_once('.').map(|(_, rest)| rest);
        }
        Ok(false)
    }

    /// Gives a host a reason to be kept out. Its connection and its jobs end now.
    pub(super) fn close_host(&self, host_id: HostId, reason: i64) -> TxResult<()> {
        let key = named_params! {":host": host_id.0, ":reason": reason};
        self.db.prepare_cached("UPDATE hosts SET blocked = blocked | :reason WHERE host_id = :host")?.execute(key)?;
        self.release_claims(host_id)?;
        self.db
            .prepare_cached(
                "UPDATE subscriptions SET connected_since = NULL, last_error = 'blocked' WHERE host_id = ?1",
            )?
            .execute([host_id.0])?;
        self.raise(Signal::Closed);
        self.raise(Signal::Subscribe);
        Ok(())
    }

    /// Takes a reason away; when it was the last, the host is crawled and followed again.
    pub(super) fn reopen_host(&self, host_id: HostId, reason: i64) -> TxResult<()> {
        let key = named_params! {":host": host_id.0, ":reason": reason};
        self.db.prepare_cached("UPDATE hosts SET blocked = blocked & ~:reason WHERE host_id = :host")?.execute(key)?;
        if self.is_open(host_id)? {
            self.queue_host(host_id)?;
            self.relist_host(host_id)?;
            self.wake_host(host_id)?;
        }
        Ok(())
    }

    fn hosts_of(&self, domain: &Domain) -> TxResult<Vec<(HostId, Host)>> {
        let mut statement = self.db.prepare_cached("SELECT host_id, hostname, scheme FROM hosts")?;
        let mut rows = statement.query([])?;
        let mut hosts = Vec::new();
        while let Some(row) = rows.next()? {
            let host = read_host(row, 1)?;
            if domain.covers(&host) {
                hosts.push((HostId(row.get(0)?), host));
            }
        }
        Ok(hosts)
    }
}
