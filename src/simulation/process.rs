//! Our process in the simulation: it calls what the real tasks call, in steps that the seed puts into any order, and may die at any
//! write. Between two steps of one task, all others may move.

mod firehose;
mod host_job;
mod repo_job;

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::World;
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::metrics::Metrics;
use crate::store::{Direct, HostId, HostJob, RepoJob, SeenRepo, Tx, TxResult};
use crate::syntax::Did;
use firehose::{Connection, HeldRead};
use host_job::HostStage;
use repo_job::RepoStage;

const COMPARE_EVERY: Duration = Duration::from_secs(12 * 3600);

pub(super) struct Process {
    pub world: World,
    db: Option<Direct>,
    config: StoreConfig,
    pub ids: Vec<HostId>,
    clock: Clock,
    metrics: Metrics,
    connections: BTreeMap<HostId, Connection>,
    held: Option<HeldRead>,
    repo_jobs: Vec<(RepoJob, RepoStage)>,
    host_jobs: Vec<(HostJob, HostStage)>,
    died: bool,
    /// Whether something was written since the cursors were checked.
    pub wrote: bool,
    pub restarts: u64,
}

impl Process {
    pub fn new(world: World, config: StoreConfig) -> Process {
        let db = Direct::open(&config).expect("a database");
        let mut process = Process {
            world,
            db: Some(db),
            config,
            ids: Vec::new(),
            clock: Clock::default(),
            metrics: Metrics::new(),
            connections: BTreeMap::new(),
            held: None,
            repo_jobs: Vec::new(),
            host_jobs: Vec::new(),
            died: false,
            wrote: false,
            restarts: 0,
        };
        process.ids = (0..process.world.hosts.len()).map(|n| HostId(n as i64 + 1)).collect();
        process.request_crawl();
        process
    }

    fn host_of(&self, id: HostId) -> usize {
        self.ids.iter().position(|known| *known == id).expect("a host of the world")
    }

    pub fn read<T>(&mut self, work: impl FnOnce(&Tx) -> TxResult<T>) -> T {
        self.db.as_mut().expect("open").read(self.world.now(), work)
    }

    fn seen(&mut self, dids: &[Option<&Did>]) -> Vec<Option<SeenRepo>> {
        self.db.as_mut().expect("open").seen(self.world.now(), dids)
    }

    /// None: the process died before the commit. It may also die right after it.
    fn write<T>(&mut self, work: impl FnOnce(&Tx) -> TxResult<T>) -> Option<T> {
        let now = self.world.now();
        if self.died || self.world.strikes("killed before a commit", 300) {
            self.died = true;
            self.db.as_mut().expect("open").die_in(now, work);
            return None;
        }
        self.wrote = true;
        self.died = self.world.strikes("killed after a commit", 300);
        Some(self.db.as_mut().expect("open").write(now, work))
    }

    fn restart(&mut self) {
        self.restarts += 1;
        self.died = false;
        self.connections.clear();
        self.held = None;
        self.repo_jobs.clear();
        self.host_jobs.clear();
        self.clock = Clock::default();
        self.db = None;
        self.db = Some(Direct::open(&self.config).expect("a database"));
    }

    /// Hosts ask to be crawled, in their order: their ids are known then.
    fn request_crawl(&mut self) {
        let Some(next) = self.world.hosts.iter().position(|host| !host.is_requested) else { return };
        let host = self.world.hosts[next].host.clone();
        if let Some(id) = self.write(|tx| tx.accept_host(&host)) {
            assert_eq!(id, self.ids[next]);
            self.world.hosts[next].is_requested = true;
        }
    }

    pub fn request_all(&mut self) {
        for _ in 0..self.world.hosts.len() {
            self.request_crawl();
        }
    }

    pub fn is_idle(&self) -> bool {
        self.repo_jobs.is_empty() && self.host_jobs.is_empty() && self.held.is_none()
    }

    /// One of the tasks moves.
    pub fn step(&mut self) {
        match self.world.rng.u8(0..100) {
            0..45 => {
                let at = self.world.rng.usize(0..self.ids.len());
                self.move_connection(self.ids[at]);
            }
            45..52 => self.move_held(),
            52..58 => self.claim(),
            58..82 if !self.repo_jobs.is_empty() => {
                let at = self.world.rng.usize(0..self.repo_jobs.len());
                self.move_repo_job(at);
            }
            82..92 if !self.host_jobs.is_empty() => {
                let at = self.world.rng.usize(0..self.host_jobs.len());
                self.move_host_job(at);
            }
            92..95 => self.manage(),
            95 if self.world.rng.u8(0..8) == 0 => self.request_crawl(),
            96 => {
                let wait = self.world.rng.u64(1..20_000);
                self.pass_time(Duration::from_millis(wait));
            }
            97 if !self.world.is_calm && self.world.rng.u8(0..20) == 0 => self.pass_time(COMPARE_EVERY),
            98 if self.world.strikes("killed", 40) => self.died = true,
            _ => {}
        }
        self.world.micros += 1000;
        if self.died {
            self.restart();
        }
    }

    /// Moves every task until nothing is left to do at this time. Answers after how many rounds.
    pub fn settle(&mut self) -> Option<usize> {
        for round in 0..400 {
            self.manage();
            for id in self.ids.clone() {
                for _ in 0..100 {
                    if !self.move_connection(id) {
                        break;
                    }
                }
            }
            self.move_held();
            self.move_held();
            self.claim();
            let was_idle = self.is_idle();
            for _ in 0..10 {
                (0..self.repo_jobs.len()).rev().for_each(|at| self.move_repo_job(at));
                (0..self.host_jobs.len()).rev().for_each(|at| self.move_host_job(at));
            }
            self.world.micros += 1_000_000;
            let behind = self.ids.clone().into_iter().any(|id| self.is_behind(id));
            let ready = self.read(|tx| tx.repos_with_ready_events());
            if was_idle && self.is_idle() && !behind && ready.is_empty() {
                return Some(round);
            }
        }
        None
    }

    pub fn pass_time(&mut self, time: Duration) {
        self.world.micros += time.as_micros() as u64;
        let running: Vec<_> = self.repo_jobs.iter().map(|(job, _)| job.job_id).collect();
        let listing = self.host_jobs.iter().map(|(job, _)| job.job_id);
        let running: Vec<_> = running.into_iter().chain(listing).collect();
        self.write(|tx| tx.renew_leases(&running));
    }

    /// As a turn of `crawl::workers`.
    fn claim(&mut self) {
        let now = self.world.now();
        let is_due = self.read(|tx| {
            let host_at = tx.next_host_job_at()?;
            Ok(host_at.is_some_and(|at| at <= now) || !tx.due_repo_jobs()?.hosts.is_empty())
        });
        if !is_due {
            return;
        }
        let claimed = self.write(|tx| {
            let hosts = tx.claim_host_jobs(4)?;
            let mut repos = Vec::new();
            for (host, _) in tx.due_repo_jobs()?.hosts {
                repos.extend(tx.claim_repo_jobs(host, 2)?);
            }
            Ok((hosts, repos))
        });
        let Some((hosts, repos)) = claimed else { return };
        self.host_jobs.extend(hosts.into_iter().map(|job| (job, HostStage::Begun)));
        self.repo_jobs.extend(repos.into_iter().map(|job| (job, RepoStage::Begun)));
    }
}
