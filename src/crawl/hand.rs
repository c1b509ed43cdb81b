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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{JobKind, Owner, RepoId};
    use crate::syntax::{Did, Host, HostPolicy};

    fn job(id: i64, host: i64) -> RepoJob {
        RepoJob {
            job_id: JobId(id),
            host_id: HostId(host),
            host: Host::parse("pds.example.com", HostPolicy::PublicOnly).expect("a host"),
            repo_id: RepoId(id),
            did: Did::parse("did:plc:z72i7hdynmk6r22z27h6tvur").expect("a DID"),
            kind: JobKind::Repo,
            attempts: 1,
            is_referred: false,
            owner: Owner::Hearsay,
        }
    }

    #[test]
    fn a_hosts_jobs_come_in_their_order_and_go_back_together() {
        let mut hand = Hand::default();
        hand.take([job(1, 1), job(2, 2), job(3, 1), job(4, 1), job(5, 2)]);
        assert_eq!(hand.next_of(HostId(1)).map(|job| job.job_id), Some(JobId(1)));
        assert_eq!(hand.hosts(), HashMap::from([(HostId(1), 2), (HostId(2), 2)]));
        hand.give_back(HostId(1));
        assert_eq!(hand.unwanted(), [JobId(3), JobId(4)]);
        assert!(hand.next_of(HostId(1)).is_none() && hand.unwanted().is_empty(), "once");
        assert_eq!(hand.job_ids().collect::<Vec<_>>(), [JobId(2), JobId(5)]);
        hand.forget(HostId(2));
        assert!(hand.unwanted().is_empty() && hand.hosts().is_empty(), "others took them back");
    }
}
