//! `held_events`: live events of repos whose backfill or resync is not done, in the host's order.

use rusqlite::named_params;

use super::{HostId, RepoId, Signal, Tx, TxResult};

const EVENTS_PER_REPO: i64 = 64;
const BYTES_PER_REPO: i64 = 4 * 1024 * 1024;
const BYTES_IN_ALL: u64 = 64 * 1024 * 1024;

/// What became of an event that had to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Kept; it is applied after the repo's job.
    Held,
    /// Over the bound: dropped, with those before it. The repo has to be fetched (again) after this moment.
    Overflow,
}

/// An event as the host sent it.
#[derive(Debug, Clone)]
pub struct HeldEvent {
    /// The host's sequence number.
    pub seq: i64,
    /// The frame's bytes.
    pub frame: Vec<u8>,
}

impl Tx<'_> {
    /// Keeps an event until its repo's job is done.
    pub fn hold_event(&self, repo: RepoId, host_id: HostId, seq: i64, frame: &[u8]) -> TxResult<Holding> {
        let (events, bytes): (i64, i64) = self
            .db
            .prepare_cached(
                "SELECT count(*), ifnull(sum(length(frame)), 0) FROM held_events WHERE repo_id = :repo AND host_id = :host",
            )?
            .query_row(named_params! {":repo": repo.0, ":host": host_id.0}, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let size_bytes = frame.len() as u64;
        if events >= EVENTS_PER_REPO
            || bytes + size_bytes as i64 > BYTES_PER_REPO
            || self.state.held_bytes.get() + size_bytes > BYTES_IN_ALL
        {
            self.drop_held(repo, host_id, i64::MAX)?;
            return Ok(Holding::Overflow);
        }
        let inserted = self
            .db
            .prepare_cached(
                "INSERT INTO held_events (repo_id, host_id, seq, frame) VALUES (:repo, :host, :seq, :frame)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(named_params! {":repo": repo.0, ":host": host_id.0, ":seq": seq, ":frame": frame})?;
        if inserted > 0 {
            self.state.held_bytes.set(self.state.held_bytes.get() + size_bytes);
        }
        Ok(Holding::Held)
    }

    /// Events were held of a repo that has no job: they are ready.
    pub fn ring_for_held(&self) {
        self.raise(Signal::Held);
    }

    /// Repos with held events and no job that would still change them.
    pub fn repos_with_ready_events(&self) -> TxResult<Vec<(RepoId, HostId)>> {
        self.db
            .prepare_cached(
                "SELECT DISTINCT repo_id, host_id FROM held_events h
                 WHERE NOT EXISTS (SELECT 1 FROM crawl_queue q WHERE q.repo_id = h.repo_id AND q.host_id = h.host_id)
                 LIMIT 256",
            )?
            .query_map([], |row| Ok((RepoId(row.get(0)?), HostId(row.get(1)?))))?
            .collect()
    }

    /// The held events of a repo, oldest first.
    pub fn held_events(&self, repo: RepoId, host_id: HostId) -> TxResult<Vec<HeldEvent>> {
        self.db
            .prepare_cached(
                "SELECT seq, frame FROM held_events WHERE repo_id = :repo AND host_id = :host ORDER BY seq",
            )?
            .query_map(named_params! {":repo": repo.0, ":host": host_id.0}, |row| {
                Ok(HeldEvent { seq: row.get(0)?, frame: row.get(1)? })
            })?
            .collect()
    }

    /// Forgets the held events of a repo up to and with `seq`.
    pub fn drop_held(&self, repo: RepoId, host_id: HostId, seq: i64) -> TxResult<()> {
        let key = named_params! {":repo": repo.0, ":host": host_id.0, ":seq": seq};
        let bytes: i64 = self
            .db
            .prepare_cached(
                "SELECT ifnull(sum(length(frame)), 0) FROM held_events
                 WHERE repo_id = :repo AND host_id = :host AND seq <= :seq",
            )?
            .query_row(key, |row| row.get(0))?;
        self.db
            .prepare_cached("DELETE FROM held_events WHERE repo_id = :repo AND host_id = :host AND seq <= :seq")?
            .execute(key)?;
        let left = self.state.held_bytes.get().saturating_sub(bytes.unsigned_abs());
        self.state.held_bytes.set(left);
        Ok(())
    }
}
