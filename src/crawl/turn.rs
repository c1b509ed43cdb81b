//! A turn at the queue: one transaction, in which what has ended is written down and what is due is claimed.

use std::collections::HashMap;
use std::time::Duration;

use super::gate::Gate;
use super::outcome::{Noted, Settled};
use crate::store::{HostId, HostJob, JobId, RepoJob, Tx, TxResult};

/// What a turn takes to the queue.
pub(super) struct Turn {
    pub settled: Vec<Settled>,
    pub unwanted: Vec<JobId>,
    pub at_hand: HashMap<HostId, usize>,
    pub host_slots: usize,
    pub gate: Gate,
    pub retry_base: Duration,
}

/// What it claims there.
pub(super) struct Claimed {
    pub hosts: Vec<HostJob>,
    pub repos: Vec<RepoJob>,
    pub now: i64,
    /// When something else becomes due.
    pub next_at: Option<i64>,
}

impl Turn {
    /// The gate comes back with what was claimed.
    pub fn take(self, tx: &Tx) -> TxResult<(Gate, Vec<Noted>, Claimed)> {
        let Turn { settled, unwanted, at_hand, host_slots, mut gate, retry_base } = self;
        let noted = write_down(settled, tx, retry_base)?;
        tx.give_back(&unwanted)?;
        // One look at the queue and one clock for all: a job that became due after it must be waited for, not taken for one that waits
        // for a worker.
        let (now, due, next_host_at) = (tx.now(), tx.due_repo_jobs()?, tx.next_host_job_at()?);
        let is_host_due = host_slots > 0 && next_host_at.is_some_and(|at| at <= now);
        let hosts = if is_host_due { tx.claim_host_jobs(host_slots)? } else { Vec::new() };
        let mut repos = Vec::new();
        for (host, jobs) in gate.share(&due.hosts, &at_hand, now) {
            repos.extend(tx.claim_repo_jobs(host, jobs)?);
        }
        let next_host_at = next_host_at.filter(|at| *at > now);
        let next_at = [due.next_at, next_host_at, gate.next_open(now)].into_iter().flatten().min();
        Ok((gate, noted, Claimed { hosts, repos, now, next_at }))
    }
}

/// Writes down what has ended.
pub(super) fn write_down(settled: Vec<Settled>, tx: &Tx, retry_base: Duration) -> TxResult<Vec<Noted>> {
    settled.into_iter().map(|job| job.write(tx, retry_base)).collect()
}
