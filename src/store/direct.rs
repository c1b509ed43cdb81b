//! The database without its writer thread, for the simulation: transactions on the caller's thread, at a time that it chooses, and
//! rolled back where it chooses. A start does what every start does.

use std::convert::Infallible;

use rusqlite::{Connection, TransactionBehavior};

use super::list::PageWriter;
use super::open::{self, Prepared};
use super::{OpenError, RepoId, SeenRepo, Tx, TxResult, TxState};
use crate::config::StoreConfig;
use crate::repo::DagCid;
use crate::syntax::{Did, NsidPattern};

/// A database on this thread.
pub(crate) struct Direct {
    connection: Connection,
    state: TxState,
    _lock: std::fs::File,
}

/// An indexed record in the index's own words.
pub(crate) type Row = (String, String, DagCid);

/// A job on a repo: its DID, the job's host, its status and its last error.
pub(crate) type Job = (String, i64, String, Option<String>);

/// What is stored of an account.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    pub did: String,
    pub id: RepoId,
    pub host: i64,
    pub active: bool,
    pub status: Option<String>,
    pub head: Option<DagCid>,
    pub data: Option<DagCid>,
    pub unproven: bool,
    pub desynchronized: bool,
    pub has_identity: bool,
}

impl Direct {
    pub(crate) fn open(config: &StoreConfig) -> Result<Direct, OpenError> {
        let Prepared { connection, state, lock, .. } = open::prepare(config)?;
        connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
        Ok(Direct { connection, state, _lock: lock })
    }

    /// Like `Store::write`, at `now`.
    pub(crate) fn write<T>(&mut self, now: i64, work: impl FnOnce(&Tx) -> TxResult<T>) -> T {
        self.state.seen.turn();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).expect("begins");
        let tx = Tx::at(&transaction, &self.state, now);
        let answer = work(&tx).expect("a write that fails stops the process");
        self.state.end_work();
        tx.write_lists().expect("a write that fails stops the process");
        drop(tx);
        transaction.commit().expect("commits");
        self.state.seen.turn();
        answer
    }

    /// Does the work, and dies before its commit: to be followed by a new start.
    pub(crate) fn die_in<T>(&mut self, now: i64, work: impl FnOnce(&Tx) -> TxResult<T>) {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).expect("begins");
        work(&Tx::at(&transaction, &self.state, now)).expect("a write that fails stops the process");
        transaction.rollback().expect("rolls back");
    }

    /// What a start at `now` does to the schedule of the last run; answers by how much the clock went back.
    pub(crate) fn follow_clock_back(&self, now: i64) -> Option<i64> {
        super::schedule::follow_clock_back(&self.connection, now).expect("writes")
    }

    /// Like `Store::read`, at `now`.
    pub(crate) fn read<T>(&mut self, now: i64, work: impl FnOnce(&Tx) -> TxResult<T>) -> T {
        let snapshot = self.connection.transaction().expect("begins");
        work(&Tx::at(&snapshot, &self.state, now)).expect("a read that fails stops the process")
    }
}

impl Direct {
    /// Like `Store::seen_blocking`.
    pub(crate) fn seen(&mut self, now: i64, dids: &[Option<&Did>]) -> Vec<Option<SeenRepo>> {
        let seen = self.state.seen.clone();
        let read = |dids: &[&Did]| Ok::<_, Infallible>(self.read(now, |tx| tx.seen_repos(dids)));
        let Ok(repos) = seen.or_read(dids, read);
        repos
    }
}

impl Tx<'_> {
    /// Accepts a host.
    pub(crate) fn accept_host(&self, host: &crate::syntax::Host) -> TxResult<super::HostId> {
        self.request_crawl(host, super::Admission::Free)?;
        self.db.query_row("SELECT host_id FROM hosts WHERE hostname = ?1", [host.as_str()], |row| {
            Ok(super::HostId(row.get(0)?))
        })
    }

    /// The stored cursor, if the host was ever reached.
    pub(crate) fn host_cursor_if_any(&self, host_id: super::HostId) -> TxResult<Option<i64>> {
        Ok(self
            .subscriptions()?
            .iter()
            .any(|row| row.host_id == host_id)
            .then(|| self.host_cursor(host_id))
            .transpose()?
            .flatten())
    }

    /// Every account.
    pub(crate) fn audit_repos(&self) -> TxResult<Vec<Audit>> {
        self.db
            .prepare_cached(
                "SELECT did, repo_id, host_id, active, status, head, data, unproven, desynchronized,
                        EXISTS (SELECT 1 FROM identities i WHERE i.repo_id = r.repo_id) FROM repos r",
            )?
            .query_map([], |row| {
                Ok(Audit {
                    did: row.get(0)?,
                    id: RepoId(row.get(1)?),
                    host: row.get(2)?,
                    active: row.get(3)?,
                    status: row.get(4)?,
                    head: row.get(5)?,
                    data: row.get(6)?,
                    unproven: row.get(7)?,
                    desynchronized: row.get(8)?,
                    has_identity: row.get(9)?,
                })
            })?
            .collect()
    }

    /// The rows of a repo by the index alone, whatever its counts say.
    pub(crate) fn audit_rows(&self, repo: RepoId) -> TxResult<Vec<Row>> {
        self.db
            .prepare_cached(
                "SELECT c.nsid, i.rkey, i.cid FROM collections c JOIN indexed_records i USING (collection_id)
                 WHERE i.repo_id = ?1 ORDER BY 1, 2",
            )?
            .query_map([repo.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect()
    }

    /// Counters that differ from the rows that they count, and repos that are in a list and should not be, or the other way round.
    pub(crate) fn wrong_counts(&self) -> TxResult<i64> {
        let counts: i64 = self.db.prepare_cached(include_str!("counters.sql"))?.query_row([], |row| row.get(0))?;
        Ok(counts + super::lists::differences(self.db)?.len() as i64)
    }

    /// Jobs on repos.
    pub(crate) fn audit_jobs(&self) -> TxResult<Vec<Job>> {
        self.db
            .prepare_cached(
                "SELECT did, q.host_id, q.status, last_error FROM crawl_queue q JOIN repos USING (repo_id) ORDER BY 1, 2",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect()
    }

    /// Events that are held, and the bytes that they are counted with.
    pub(crate) fn audit_held(&self) -> TxResult<(i64, i64, u64)> {
        let (events, bytes) =
            self.db.query_row("SELECT count(*), ifnull(sum(length(frame)), 0) FROM held_events", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        Ok((events, bytes, self.state.held_bytes.get()))
    }

    /// As the API lists them.
    pub(crate) fn listed_dids(&self, pattern: &str) -> TxResult<Vec<String>> {
        let pattern = NsidPattern::parse(pattern).expect("a pattern");
        let write = |text: &mut Vec<u8>, did: &[u8]| text.extend([did, b"\n"].concat());
        let page = self.list_repos_by_collection(&[pattern], PageWriter::new(Vec::new(), RepoId(0), 1000, write))?;
        Ok(page
            .text
            .split(|byte| *byte == b'\n')
            .filter(|did| !did.is_empty())
            .map(|did| String::from_utf8_lossy(did).into_owned())
            .collect())
    }
}
