//! As `crawl::get_repo`: the account's status, identity or repo, in steps.

use std::time::Duration;

use bytes::Bytes;

use super::Process;
use crate::crawl::get_repo::{self, StatusAsked};
use crate::crawl::outcome::{Failure, Found};
use crate::host::{HostError, RepoStatus};
use crate::identity::{Identity, IdentityError};
use crate::index::{self, Replaced};
use crate::repo::commit::CommitError;
use crate::repo::{self, KeepLimits, PublicKey, RepoError, Snapshot, Trust};
use crate::store::{JobKind, RepoJob};
use crate::syntax::Rev;

pub(super) enum RepoStage {
    Begun,
    Named(PublicKey),
    Fetched(Bytes, PublicKey),
    Opened(Box<Snapshot>, String),
    Asked(StatusAsked),
    Found(Found),
    Failed(Failure),
}

impl RepoStage {
    fn name(&self) -> String {
        match self {
            RepoStage::Begun => "begun".to_owned(),
            RepoStage::Named(_) => "named".to_owned(),
            RepoStage::Fetched(..) => "fetched".to_owned(),
            RepoStage::Opened(snapshot, _) => format!("opened at {} {}", snapshot.commit.rev, snapshot.commit.cid),
            RepoStage::Asked(_) => "asked".to_owned(),
            RepoStage::Found(found) => format!("found {}", found.label()),
            RepoStage::Failed(failure) => format!("failed: {failure}"),
        }
    }
}

impl Process {
    /// As `crawl::get_repo`.
    pub(super) fn move_repo_job(&mut self, at: usize) {
        let (job, stage) = self.repo_jobs.swap_remove(at);
        self.world.tell(|| format!("{:?} job of {} at {}: {}", job.kind, job.did, job.host.as_str(), stage.name()));
        let next = match stage {
            RepoStage::Begun if job.kind == JobKind::Status => {
                let answer = self.get_repo_status(&job);
                Some(match get_repo::status_answer(answer) {
                    Ok(asked) => RepoStage::Asked(asked),
                    Err(Ok(found)) => RepoStage::Found(found),
                    Err(Err(failure)) => RepoStage::Failed(failure),
                })
            }
            RepoStage::Begun => Some(match get_repo::signing_key(&job, self.resolve(&job)) {
                Ok(Some(key)) => RepoStage::Named(key),
                Ok(None) => RepoStage::Found(Found::Gone),
                Err(failure) => RepoStage::Failed(failure),
            }),
            RepoStage::Named(key) if job.kind == JobKind::Identity => {
                self.write(|tx| index::identity_resolved(tx, &job, &key.to_did_key()));
                None
            }
            RepoStage::Named(key) => Some(match self.get_repo(&job) {
                Ok(car) => RepoStage::Fetched(car, key),
                Err(error) => match get_repo::refusal(&error) {
                    Some(found) => RepoStage::Found(found),
                    None => RepoStage::Failed(error.into()),
                },
            }),
            RepoStage::Fetched(car, key) => {
                let did_key = key.to_did_key();
                Some(match self.open(&job, car, key) {
                    Ok(snapshot) => RepoStage::Opened(Box::new(snapshot), did_key),
                    Err(failure) => RepoStage::Failed(failure),
                })
            }
            RepoStage::Opened(snapshot, did_key) => {
                // A backfill that finds nothing inside the filter may do without the identity.
                let is_without = snapshot.records().next().is_none() && self.world.rng.bool();
                let replaced = self.write(|tx| {
                    let replaced = index::replace_repo(tx, &job, &snapshot, &did_key)?;
                    if is_without && matches!(replaced, Replaced::Done(_)) {
                        tx.forget_identity(job.repo_id)?;
                    }
                    Ok(replaced)
                });
                match replaced {
                    Some(Replaced::Stale) => {
                        self.world.count("stale answer seen");
                        Some(RepoStage::Failed(Failure::Stale))
                    }
                    Some(Replaced::Done(_)) => {
                        self.world.count("repo replaced");
                        None
                    }
                    Some(Replaced::NoRoom) => unreachable!("no host of the world has so many accounts"),
                    Some(Replaced::Overtaken) => {
                        self.world.count("fetch overtaken");
                        None
                    }
                    None => None,
                }
            }
            RepoStage::Asked(asked) => {
                self.write(|tx| asked.write(tx, &job));
                None
            }
            RepoStage::Found(found) => {
                match found {
                    Found::Gone => drop(self.write(|tx| index::fetched_gone(tx, &job))),
                    Found::Inactive(status) => drop(self.write(|tx| index::fetched_inactive(tx, &job, status))),
                    _ => {}
                }
                None
            }
            RepoStage::Failed(failure) => {
                let retry_in = Duration::from_millis(self.world.rng.u64(100..60_000));
                self.write(|tx| failure.write(tx, &job, retry_in));
                None
            }
        };
        if let Some(stage) = next {
            self.repo_jobs.push((job, stage));
        }
    }

    fn open(&mut self, job: &RepoJob, car: Bytes, key: PublicKey) -> Result<Snapshot, Failure> {
        let trust = get_repo::first_trust(job, key);
        let (filter, clock, keep) = (self.world.filter.clone(), self.clock.clone(), KeepLimits::of_records(100_000));
        let open = |trust: &Trust| {
            let opened = repo::open_repo(car.clone(), &job.did, trust, clock.judging_micros(), &filter, &keep);
            get_repo::note_clock(&clock, job.host_id, opened.as_ref().map(|snapshot| &snapshot.commit.rev));
            opened
        };
        let refused = match open(&trust) {
            Err(error @ RepoError::Commit(CommitError::Signature(_))) => error,
            opened => return Ok(opened?),
        };
        let trust = get_repo::second_trust(refused, self.earlier_keys(job))?;
        self.world.count("earlier keys tried");
        Ok(open(&trust)?)
    }

    fn resolve(&mut self, job: &RepoJob) -> Result<Identity, IdentityError> {
        if self.world.fires("identity look-up failed", 12) {
            return Err(IdentityError::Fetch(HostError::Status(500)));
        }
        let Some(person) = self.world.people.get(job.did.as_str()).filter(|person| !person.tombstone) else {
            return Err(IdentityError::NotFound);
        };
        Ok(Identity {
            did: job.did.clone(),
            pds: Some(self.world.hosts[person.pds].host.clone()),
            signing_key: Some(PublicKey::from_did_key(&person.key.did_key()).expect("a key")),
            handle: None,
        })
    }

    fn earlier_keys(&mut self, job: &RepoJob) -> Result<Vec<PublicKey>, IdentityError> {
        if job.did.as_str().starts_with("did:web") {
            return Ok(Vec::new());
        }
        let keys = self.world.people[job.did.as_str()].earlier.iter();
        Ok(keys.map(|key| PublicKey::from_did_key(&key.did_key()).expect("a key")).collect())
    }

    /// The account as its host answers for it, or how it refuses.
    fn served(&mut self, job: &RepoJob) -> Result<usize, HostError> {
        let at = self.host_of(job.host_id);
        if !self.world.hosts[at].up {
            return Err(HostError::Connect("refused".to_owned()));
        }
        let refuse =
            |error: &str| Err(HostError::Xrpc { status: 400, error: error.to_owned(), message: String::new() });
        match self.world.hosts[at].accounts.get(job.did.as_str()).map(|account| account.status) {
            None => refuse("RepoNotFound"),
            Some(Some("takendown")) => refuse("RepoTakendown"),
            Some(Some("suspended")) => refuse("RepoSuspended"),
            Some(Some(_)) => refuse("RepoDeactivated"),
            Some(None) => Ok(at),
        }
    }

    fn get_repo(&mut self, job: &RepoJob) -> Result<Bytes, HostError> {
        if self.world.fires("getRepo failed", 12) {
            return Err(HostError::Status(500));
        }
        if self.world.fires("getRepo limited", 40) {
            return Err(HostError::RateLimited { retry_after: Some(Duration::from_secs(7)) });
        }
        let at = self.served(job)?;
        Ok(Bytes::from(self.world.car(at, job.did.as_str())))
    }

    fn get_repo_status(&mut self, job: &RepoJob) -> Result<RepoStatus, HostError> {
        if self.world.fires("getRepoStatus not known", 6) {
            return Err(HostError::Status(501));
        }
        let at = self.host_of(job.host_id);
        if !self.world.hosts[at].up {
            return Err(HostError::Connect("refused".to_owned()));
        }
        let Some(account) = self.world.hosts[at].accounts.get(job.did.as_str()) else {
            self.served(job)?;
            return Err(HostError::Status(500));
        };
        let rev = Rev::parse(&account.told_rev).ok();
        let status = account.status.map(str::to_owned);
        Ok(RepoStatus { active: status.is_none(), status, rev })
    }
}
