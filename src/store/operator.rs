//! Hosts as the operator lists them, and what he has fetched again.

use rusqlite::named_params;

use super::{HostId, HostLimits, JobKind, RepoId, Tx, TxResult, Urgency};
use crate::syntax::{Did, Host};

const REPOS_AT_ONCE: i64 = 5_000;

/// A host with everything that an operator can set of it.
#[derive(Debug, Clone)]
pub struct OperatorHost {
    /// The row.
    pub id: HostId,
    /// Its public name.
    pub hostname: String,
    /// Whether it is spoken to by https.
    pub is_https: bool,
    /// The first requestCrawl (Unix milliseconds).
    pub created_at: i64,
    /// Whether it ever answered.
    pub was_reached: bool,
    /// Whether it is kept out.
    pub is_blocked: bool,
    /// `new`, `active`, `offline`, `banned`, or `forgetting`.
    pub status: &'static str,
    /// What it may have and send.
    pub limits: HostLimits,
    /// Its accounts.
    pub accounts: i64,
    /// Its accounts that wait because it is at its limit; at most the thousand that are kept.
    pub waiting_accounts: i64,
    /// Whether its firehose is connected.
    pub is_connected: bool,
    /// The stored cursor of its firehose.
    pub host_cursor: Option<i64>,
    /// Events of its firehose since this process started.
    pub events_since_start: i64,
    /// The last error of its crawl, else of its firehose.
    pub last_error: Option<String>,
}

impl Tx<'_> {
    /// Every host, by name.
    pub fn operator_hosts(&self) -> TxResult<Vec<OperatorHost>> {
        self.db
            .prepare_cached(
                "SELECT h.host_id, hostname, scheme = 'https', h.created_at, reached_at IS NOT NULL, blocked, state,
                     account_limit, events_per_second, events_per_hour, events_per_day,
                     ifnull(u.accounts, 0), ifnull(u.waiting, 0),
                     connected_since IS NOT NULL, host_cursor, ifnull(events_since_start, 0), coalesce(q.last_error, s.last_error)
                 FROM hosts h
                 LEFT JOIN crawl_queue q ON q.host_id = h.host_id AND q.repo_id IS NULL
                 LEFT JOIN subscriptions s ON s.host_id = h.host_id
                 LEFT JOIN host_usage u ON u.host_id = h.host_id
                 ORDER BY hostname",
            )?
            .query_map([], |row| {
                let (blocked, state): (i64, String) = (row.get(5)?, row.get(6)?);
                Ok(OperatorHost {
                    id: HostId(row.get(0)?),
                    hostname: row.get(1)?,
                    is_https: row.get(2)?,
                    created_at: row.get(3)?,
                    was_reached: row.get(4)?,
                    is_blocked: blocked != 0,
                    status: match state.as_str() {
                        _ if blocked & super::bans::BEING_FORGOTTEN != 0 => "forgetting",
                        _ if blocked != 0 => "banned",
                        "active" => "active",
                        "offline" => "offline",
                        _ => "new",
                    },
                    limits: HostLimits {
                        accounts: row.get(7)?,
                        events_per_second: row.get(8)?,
                        events_per_hour: row.get(9)?,
                        events_per_day: row.get(10)?,
                    },
                    accounts: row.get(11)?,
                    waiting_accounts: row.get(12)?,
                    is_connected: row.get(13)?,
                    host_cursor: row.get(14)?,
                    events_since_start: row.get(15)?,
                    last_error: row.get(16)?,
                })
            })?
            .collect()
    }

    /// Has some repos of a host fetched at its next comparison, whatever it lists, from behind `after`. Answers where to go on.
    pub fn doubt_repos_of(&self, host_id: HostId, after: RepoId) -> TxResult<Option<RepoId>> {
        let key = named_params! {":host": host_id.0, ":after": after.0, ":limit": REPOS_AT_ONCE};
        let last: Option<i64> = self
            .db
            .prepare_cached(
                "SELECT max(repo_id) FROM (
                     SELECT repo_id FROM repos WHERE host_id = :host AND repo_id > :after ORDER BY repo_id LIMIT :limit)",
            )?
            .query_row(key, |row| row.get(0))?;
        let Some(last) = last else { return Ok(None) };
        self.db
            .prepare_cached(
                "UPDATE repos SET unproven = 1 WHERE host_id = :host AND repo_id > :after AND repo_id <= :last AND data IS NOT NULL",
            )?
            .execute(named_params! {":host": host_id.0, ":after": after.0, ":last": last})?;
        Ok(Some(RepoId(last)))
    }

    /// Compares a host now.
    pub fn resync_host(&self, host_id: HostId, host: &Host) -> TxResult<()> {
        self.relist_host(host_id)?;
        self.wake_host(host_id)?;
        self.note_admin("resync_host", host.as_str(), None)
    }

    /// Has a repo fetched now. Answers whether it is known.
    pub fn resync_repo(&self, did: &Did) -> TxResult<bool> {
        let Some(repo) = self.repo(did)? else { return Ok(false) };
        self.queue_repo(repo.host_id, repo.id, JobKind::Repo, Urgency::First)?;
        self.retry_now(repo.id, repo.host_id)?;
        self.note_admin("resync_repo", did.as_str(), None)?;
        Ok(true)
    }
}
