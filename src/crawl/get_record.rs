//! A repo in parts: one call of `com.atproto.sync.getRecord` for each range of the filter shows whether anything matches, and
//! `com.atproto.sync.getBlocks` gives what is missing of it. Everything that does not prove itself leads back to the whole repo.

use std::time::Instant;

use super::Crawler;
use super::get_repo::note_clock;
use super::outcome::Failure;
use super::ways::{Method, Ways, whole_bytes};
use crate::host::{Client, HostError};
use crate::repo::{RepoError, Sight, SparseArchive};
use crate::store::RepoJob;

/// Calls for the blocks of one repo.
const MOST_CALLS: usize = 40;

/// A part of a repo, and what it shows.
pub(super) struct Part {
    pub archive: SparseArchive,
    pub sight: Sight,
}

/// What became of a call.
enum Called {
    Answer(Vec<u8>),
    /// The repo is to be fetched whole.
    Useless,
    /// It moved since the call before.
    Moved,
}

/// Asks what a repo has of the filter's ranges; None: what came proves nothing.
pub(super) async fn probe(crawler: &Crawler, ways: &Ways, job: &RepoJob) -> Result<Option<Part>, Failure> {
    for _ in 0..2 {
        let Called::Answer(answer) = get_record(crawler, ways, job, 0, 0).await? else { return Ok(None) };
        let mut part = match look(crawler, ways, job, SparseArchive::new(answer)) {
            Ok(part) => part,
            Err(error) => return Ok(useless(crawler, ways, job, &error)),
        };
        let mut asked = 0;
        loop {
            let Some(range) = part.sight.undecided else {
                ways.note(job.host_id, whole_bytes(&part.sight), part.sight.has_match);
                return Ok(Some(part));
            };
            if range <= asked {
                break;
            }
            asked = range;
            let size_bytes = part.archive.size_bytes();
            let Called::Answer(answer) = get_record(crawler, ways, job, range, size_bytes).await? else {
                return Ok(None);
            };
            match part.archive.add_proof(&answer, &part.sight) {
                Ok(true) => {}
                // The repo moved meanwhile: once more.
                Ok(false) => break,
                Err(error) => return Ok(useless(crawler, ways, job, &error.into())),
            }
            part = match look(crawler, ways, job, part.archive) {
                Ok(part) => part,
                Err(error) => return Ok(useless(crawler, ways, job, &error)),
            };
        }
    }
    ways.lacks(job.host_id, Method::GetRecord, Instant::now());
    Ok(None)
}

/// Fetches what is missing; None: it cannot be had in parts. A repo that moved meanwhile is begun with once more.
pub(super) async fn complete(
    crawler: &Crawler,
    ways: &Ways,
    job: &RepoJob,
    part: Part,
) -> Result<Option<SparseArchive>, Failure> {
    let head = part.sight.commit.cid;
    let mut next = Some(part);
    for _ in 0..2 {
        let Some(part) = next else { return Ok(None) };
        match fill(crawler, ways, job, part).await? {
            Filled::Whole(archive) => return Ok(Some(archive)),
            Filled::Useless => return Ok(None),
            Filled::Moved => next = probe(crawler, ways, job).await?,
        }
    }
    if next.is_some_and(|part| part.sight.commit.cid == head) {
        // It did not move at all.
        ways.lacks(job.host_id, Method::GetBlocks, Instant::now());
    }
    Ok(None)
}

enum Filled {
    Whole(SparseArchive),
    Useless,
    Moved,
}

async fn fill(crawler: &Crawler, ways: &Ways, job: &RepoJob, part: Part) -> Result<Filled, Failure> {
    let Part { mut archive, mut sight } = part;
    let mut calls = 0;
    while !sight.missing.is_empty() {
        for wanted in sight.missing.chunks(Client::BLOCKS_AT_ONCE) {
            calls += 1;
            let room = Client::PART_BYTES.saturating_sub(archive.size_bytes());
            if calls > MOST_CALLS || room == 0 {
                return Ok(Filled::Useless);
            }
            let answer = crawler.client.get_blocks(&job.host, &job.did, wanted, room).await;
            let answer = match called(crawler, ways, job, Method::GetBlocks, answer)? {
                Called::Answer(answer) => answer,
                Called::Useless => return Ok(Filled::Useless),
                Called::Moved => return Ok(Filled::Moved),
            };
            match archive.add(&answer, wanted) {
                Ok(added) if added == wanted.len() => {}
                Ok(_) => return Ok(Filled::Moved),
                Err(error) => {
                    crawler.metrics.repo_rejected(error.reason());
                    ways.lacks(job.host_id, Method::GetBlocks, Instant::now());
                    return Ok(Filled::Useless);
                }
            }
        }
        match look(crawler, ways, job, archive) {
            Ok(part) => (archive, sight) = (part.archive, part.sight),
            Err(error) => {
                crawler.metrics.repo_rejected(error.reason());
                return Ok(Filled::Useless);
            }
        }
    }
    Ok(Filled::Whole(archive))
}

fn look(crawler: &Crawler, ways: &Ways, job: &RepoJob, archive: SparseArchive) -> Result<Part, RepoError> {
    let now_micros = crawler.clock.judging_micros();
    let looked = archive.look(&job.did, now_micros, crawler.store.filter(), &ways.ranges);
    note_clock(&crawler.clock, job.host_id, looked.as_ref().map(|sight| &sight.commit.rev));
    looked.map(|sight| Part { archive, sight })
}

async fn get_record(
    crawler: &Crawler,
    ways: &Ways,
    job: &RepoJob,
    range: usize,
    size_bytes: usize,
) -> Result<Called, Failure> {
    let Some(range) = ways.ranges.get(range) else { return Ok(Called::Useless) };
    let room = Client::PART_BYTES.saturating_sub(size_bytes);
    let answer = crawler.client.get_record(&job.host, &job.did, range, room).await;
    called(crawler, ways, job, Method::GetRecord, answer)
}

/// An error says nothing of what the repo holds. One of the host as a whole is that of the job; after any other the whole repo is
/// asked for, and the method not for a while.
fn called(
    crawler: &Crawler,
    ways: &Ways,
    job: &RepoJob,
    method: Method,
    answer: Result<Vec<u8>, HostError>,
) -> Result<Called, Failure> {
    let name = match method {
        Method::GetRecord => "getRecord",
        Method::GetBlocks => "getBlocks",
    };
    crawler.metrics.repo_call(name, answer.as_ref().map_or(0, |answer| answer.len() as u64));
    let error = match answer {
        Ok(answer) => return Ok(Called::Answer(answer)),
        Err(error) => error,
    };
    match &error {
        HostError::RateLimited { .. } | HostError::Connect(_) | HostError::Resolve(_) | HostError::Forbidden(_) => {
            return Err(error.into());
        }
        HostError::Xrpc { status: 400, .. } if method == Method::GetBlocks => return Ok(Called::Moved),
        // It is larger than a part may be; another repo need not be.
        HostError::TooLarge { .. } => {}
        HostError::Xrpc { status: 502..=504, .. } | HostError::Status(502..=504) => {}
        _ if error.repo_refusal().is_some() => {}
        _ => ways.lacks(job.host_id, method, Instant::now()),
    }
    tracing::debug!(did = %job.did, host = %job.host, %error, name, "the repo is asked for whole");
    Ok(Called::Useless)
}

/// What came is not to be believed.
fn useless(crawler: &Crawler, ways: &Ways, job: &RepoJob, error: &RepoError) -> Option<Part> {
    tracing::debug!(did = %job.did, host = %job.host, %error, "getRecord proves nothing");
    crawler.metrics.repo_rejected(error.reason());
    ways.lacks(job.host_id, Method::GetRecord, Instant::now());
    None
}
