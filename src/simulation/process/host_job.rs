//! As `crawl::list_repos`: a host is listed and compared, in steps.

use std::collections::HashSet;
use std::time::Duration;

use super::{COMPARE_EVERY, Process};
use crate::crawl::list_repos::Walk;
use crate::host::{HostError, ListReposPage, ListedRepo};
use crate::index::{self, Suspect};
use crate::repo::DagCid;
use crate::store::{HostJob, RepoId};
use crate::syntax::{Did, Rev};

pub(super) enum HostStage {
    Begun,
    Reached,
    Listing(Walk),
    Differ(Walk, Vec<Suspect>),
    Missing(HashSet<RepoId>, RepoId),
    Listed,
}

impl Process {
    /// As `crawl::list_repos`.
    pub(super) fn move_host_job(&mut self, at: usize) {
        let (job, stage) = self.host_jobs.swap_remove(at);
        let (host_id, job_id) = (job.host_id, job.job_id);
        let host = self.host_of(host_id);
        let next = match stage {
            HostStage::Begun if !self.world.hosts[host].up => {
                self.fail_host(&job);
                None
            }
            HostStage::Begun => self.write(|tx| tx.host_reached(host_id)).map(|()| HostStage::Reached),
            HostStage::Reached => {
                let connected = self.read(|tx| tx.is_connected(host_id));
                if !connected && self.world.rng.u8(0..4) > 0 {
                    Some(HostStage::Reached)
                } else {
                    let begun = if connected { Some(()) } else { self.write(|tx| tx.relist_on_connect(host_id)) };
                    begun.map(|()| HostStage::Listing(Walk::from(self.read(|tx| tx.page_cursor(job_id)))))
                }
            }
            HostStage::Listing(mut walk) => match self.list_repos(host, walk.page_cursor()) {
                Err(_) => {
                    self.fail_host(&job);
                    None
                }
                Ok(page) => {
                    let repos = walk.pass(page);
                    let saved = walk.page_cursor().map(str::to_owned);
                    for repo in &repos {
                        self.world.tell(|| {
                            format!("host {host} lists {} {:?} {:?} {:?}", repo.did, repo.rev, repo.head, repo.status)
                        });
                    }
                    let listed = self.write(|tx| index::list_page(tx, host_id, job_id, &repos, saved.as_deref()));
                    listed.map(|listed| {
                        walk.note(&listed.own);
                        match listed.suspects {
                            suspects if suspects.is_empty() => after_page(walk),
                            suspects => HostStage::Differ(walk, suspects),
                        }
                    })
                }
            },
            HostStage::Differ(walk, suspects) => {
                let missed = self.write(|tx| index::settle_suspects(tx, host_id, &suspects));
                if missed.is_some_and(|missed| missed > 0) {
                    self.world.count("missed commit found by comparison");
                }
                missed.map(|_| after_page(walk))
            }
            HostStage::Missing(seen, after) => {
                let next = self.write(|tx| index::ask_after_missing(tx, host_id, after, |repo| seen.contains(&repo)));
                next.map(|next| next.map_or(HostStage::Listed, |after| HostStage::Missing(seen, after)))
            }
            HostStage::Listed => {
                self.world.count("comparison");
                self.write(|tx| tx.finish_host_job(job_id, COMPARE_EVERY));
                None
            }
        };
        if let Some(stage) = next {
            self.host_jobs.push((job, stage));
        }
    }

    fn fail_host(&mut self, job: &HostJob) {
        let retry_in = Duration::from_millis(self.world.rng.u64(100..60_000));
        self.write(|tx| {
            tx.host_unreachable(job.host_id)?;
            tx.fail_job(job.job_id, "no answer", retry_in)
        });
    }

    fn list_repos(&mut self, host: usize, cursor: Option<&str>) -> Result<ListReposPage, HostError> {
        if !self.world.hosts[host].up || self.world.fires("listRepos failed", 12) {
            return Err(HostError::Status(500));
        }
        let skipped = usize::from(self.world.fires("nonsense row", 20));
        let place = &self.world.hosts[host];
        let rest = place.accounts.iter().filter(|(did, _)| cursor.is_none_or(|cursor| did.as_str() > cursor));
        let page: Vec<_> = rest.take(place.page_size).collect();
        let cursor = page.last().filter(|_| page.len() == place.page_size).map(|(did, _)| (*did).clone());
        let repos = page.into_iter().map(|(did, account)| ListedRepo {
            did: Did::parse(did).expect("a DID"),
            head: DagCid::parse(&account.repo.head()).ok(),
            rev: Rev::parse(&account.told_rev).ok(),
            active: account.status.is_none(),
            status: account.status.map(str::to_owned),
        });
        Ok(ListReposPage { repos: repos.collect(), skipped, cursor })
    }
}

fn after_page(walk: Walk) -> HostStage {
    if walk.page_cursor().is_some() {
        return HostStage::Listing(walk);
    }
    match walk.whole() {
        Some(seen) => HostStage::Missing(seen, RepoId(0)),
        None => HostStage::Listed,
    }
}
