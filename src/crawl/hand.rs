//! Jobs at hand: claimed, and not begun. A host that works fast has its next ones here, so that a job that ends is followed by another
//! without a look at the queue.
//! Invariant: a host that is to be left alone has none.

use std::collections::{HashMap, VecDeque};

use crate::store::{HostId, JobId, RepoJob};

#[derive(Default)]
pub(super) struct Hand {
    jobs: HashMap<HostId, VecDeque<RepoJob>>,
    /// To be given back to the queue.
    unwanted: Vec<JobId>,
}

impl Hand {
    /// Takes claimed jobs.
    pub fn take(&mut self, jobs: impl IntoIterator<Item = RepoJob>) {
        for job in jobs {
            self.jobs.entry(job.host_id).or_default().push_back(job);
        }
    }

    /// The next job of a host.
    pub fn next_of(&mut self, host: HostId) -> Option<RepoJob> {
        let jobs = self.jobs.get_mut(&host)?;
        let next = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&host);
        }
        next
    }

    /// The host is to be left alone: its jobs go back to the queue.
    pub fn give_back(&mut self, host: HostId) {
        self.unwanted.extend(self.jobs.remove(&host).into_iter().flatten().map(|job| job.job_id));
    }

    /// The jobs that go back to the queue.
    pub fn unwanted(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.unwanted)
    }

    /// The host's claims were taken back.
    pub fn forget(&mut self, host: HostId) {
        self.jobs.remove(&host);
    }

    /// The hosts of the jobs, with their number.
    pub fn hosts(&self) -> HashMap<HostId, usize> {
        self.jobs.iter().map(|(host, jobs)| (*host, jobs.len())).collect()
    }

    /// All claims.
    pub fn job_ids(&self) -> impl Iterator<Item = JobId> {
        self.jobs.values().flatten().map(|job| job.job_id)
    }
}
