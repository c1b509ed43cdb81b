//! As `crawl::get_repo`: the account's status, identity or repo, in steps.

use std::time::Duration;

use bytes::Bytes;

use super::Process;
use crate::crawl::get_repo::{self, Way};
use crate::crawl::outcome::{Failure, Found};
use crate::host::{HostError, RepoStatus};
use crate::identity::{Identity, IdentityError};
use crate::index::{self, Replaced};
use crate::repo::commit::CommitError;
use crate::repo::{self, KeepLimits, PublicKey, RepoError, Sight, Snapshot, SparseArchive, Trust};
use crate::store::{JobKind, Owner, RepoJob};
use crate::syntax::{Nsid, Rev};

pub(super) enum RepoStage {
    Begun,
    Seen(SparseArchive, Box<Sight>),
    Named(PublicKey, Option<SparseArchive>),
    Fetched(Way, Bytes, PublicKey),
    Opened(Box<Snapshot>, String),
    Found(Found),
    Failed(Failure),
}

impl RepoStage {
    fn name(&self) -> String {
        match self {
            RepoStage::Begun => "begun".to_owned(),
            RepoStage::Seen(_, sight) => format!("seen at {}: {}", sight.commit.rev, sight.has_match),
            RepoStage::Named(..) => "named".to_owned(),
            RepoStage::Fetched(..) => "fetched".to_owned(),
            RepoStage::Opened(snapshot, _) => format!("opened at {} {}", snapshot.commit.rev, snapshot.commit.cid),
            RepoStage::Found(_) => "found".to_owned(),
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
            RepoStage::Begun if self.world.fires("claim given back", 12) => {
                self.write(|tx| tx.give_back(&[job.job_id]));
                None
            }
            RepoStage::Begun if job.kind == JobKind::Status => {
                let answer = self.get_repo_status(&job);
                Some(match get_repo::status_answer(answer) {
                    Ok(found) => RepoStage::Found(found),
                    Err(failure) => RepoStage::Failed(failure),
                })
            }
            RepoStage::Begun if job.kind == JobKind::Repo && self.world.rng.bool() => Some(match self.look(&job) {
                Some((archive, sight)) => RepoStage::Seen(archive, Box::new(sight)),
                None => self.name_owner(&job, None),
            }),
            RepoStage::Begun => Some(self.name_owner(&job, None)),
            RepoStage::Seen(_, sight) if !sight.has_match && job.owner == Owner::Hearsay => {
                self.world.count("repo without a match taken");
                match self.write(|tx| index::take_unmatched(tx, &job, &sight.commit)) {
                    Some(Replaced::Stale) => Some(RepoStage::Failed(Failure::Stale)),
                    _ => None,
                }
            }
            RepoStage::Seen(archive, _) => Some(self.name_owner(&job, Some(archive))),
            RepoStage::Named(key, _) if job.kind == JobKind::Identity => {
                self.write(|tx| index::identity_resolved(tx, &job, &key.to_did_key()));
                None
            }
            RepoStage::Named(key, Some(archive)) => Some(match self.complete(&job, archive) {
                Some(part) => RepoStage::Fetched(Way::Part, part, key),
                None => RepoStage::Named(key, None),
            }),
            RepoStage::Named(key, None) => Some(match self.get_repo(&job) {
                Ok(car) => RepoStage::Fetched(Way::Whole, car, key),
                Err(error) => match get_repo::refusal(&error) {
                    Some(found) => RepoStage::Found(found),
                    None => RepoStage::Failed(error.into()),
                },
            }),
            RepoStage::Fetched(way, car, key) => {
                let did_key = key.to_did_key();
                Some(match self.open(&job, way, car, key) {
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
            RepoStage::Found(found) => {
                self.write(|tx| found.write(tx, &job));
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

    fn name_owner(&mut self, job: &RepoJob, part: Option<SparseArchive>) -> RepoStage {
        match get_repo::signing_key(job, self.resolve(job)) {
            Ok(Some(key)) => RepoStage::Named(key, part),
            Ok(None) => RepoStage::Found(Found::Gone),
            Err(failure) => RepoStage::Failed(failure),
        }
    }

    /// As `crawl::get_record`: what getRecord shows, or nothing that is of use.
    fn look(&mut self, job: &RepoJob) -> Option<(SparseArchive, Sight)> {
        let at = self.served(job).ok()?;
        let filter = self.world.filter.clone();
        let ranges = filter.key_ranges().expect("bounds");
        let damage = self.world.damage("getRecord", 12);
        let (account, person) =
            (&self.world.hosts[at].accounts[job.did.as_str()], &self.world.people[job.did.as_str()]);
        let path = |collection: &Nsid| format!("{collection}/-");
        let mut archive =
            SparseArchive::new(account.repo.record_car(&path(&ranges[0].collection), damage, &person.key));
        for range in &ranges[1..] {
            let sight = archive.look(&job.did, self.clock.judging_micros(), &filter, &ranges).ok()?;
            let answer = account.repo.record_car(&path(&range.collection), None, &person.key);
            archive.add_proof(&answer, &sight).ok().filter(|is_same| *is_same)?;
        }
        let sight = archive.look(&job.did, self.clock.judging_micros(), &filter, &ranges).ok()?;
        Some((archive, sight)).filter(|(_, sight)| sight.undecided.is_none())
    }

    /// Likewise: what getBlocks adds to it; None: the repo moved, or something went wrong.
    fn complete(&mut self, job: &RepoJob, mut archive: SparseArchive) -> Option<Bytes> {
        let filter = self.world.filter.clone();
        let ranges = filter.key_ranges().expect("bounds");
        loop {
            let sight = archive.look(&job.did, self.clock.judging_micros(), &filter, &ranges).ok()?;
            if sight.missing.is_empty() {
                self.world.count("repo fetched in part");
                return Some(archive.into_bytes());
            }
            let at = self.served(job).ok().filter(|_| !self.world.fires("getBlocks failed", 12))?;
            let cids: Vec<String> = sight.missing.iter().map(|cid| cid.to_string()).collect();
            let answer = self.world.hosts[at].accounts[job.did.as_str()].repo.blocks_car(&cids);
            if answer.is_none() {
                self.world.count("repo moved between two parts");
            }
            archive.add(&answer?, &sight.missing).ok().filter(|added| *added == sight.missing.len())?;
        }
    }

    fn open(&mut self, job: &RepoJob, way: Way, car: Bytes, key: PublicKey) -> Result<Snapshot, Failure> {
        let trust = get_repo::first_trust(job, key);
        let (filter, clock, keep) = (self.world.filter.clone(), self.clock.clone(), KeepLimits::of_records(100_000));
        let open = |trust: &Trust| {
            let (car, now_micros) = (car.clone(), clock.judging_micros());
            let opened = match way {
                Way::Whole => repo::open_repo(car, &job.did, trust, now_micros, &filter, &keep),
                Way::Part => {
                    let ranges = filter.key_ranges().expect("bounds");
                    repo::open_sparse(car, &job.did, trust, now_micros, &filter, &ranges, &keep)
                }
            };
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
