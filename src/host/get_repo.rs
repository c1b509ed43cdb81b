//! `com.atproto.sync.getRepo`: a whole repo as a CAR.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::body::{self, Pace};
use super::mapped::Mapped;
use super::repo_memory::Reservation;
use super::spool::Spool;
use super::{Client, HostError};
use crate::syntax::{Did, Host};

/// A repo's CAR, unverified; what it takes of the limits that all repos share is given back when it is dropped.
#[derive(Debug)]
pub struct RepoCar {
    /// The CAR file, in memory or mapped.
    pub bytes: Bytes,
    /// How long they took to come, once the host had begun to answer.
    pub downloaded_in: Duration,
    /// For the bytes, when they lie in memory and are many.
    pub(super) _memory: Reservation,
    /// For what is known of them.
    pub(super) known: Reservation,
    /// Its place on disk, when it lies there.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Its mapping then.
    pub(super) mapped: Option<Mapped>,
}

impl Client {
    /// Fetches a repo, for as long as it keeps coming at some pace.
    pub async fn get_repo(&self, host: &Host, did: &Did) -> Result<RepoCar, HostError> {
        let url = self.xrpc(host, "com.atproto.sync.getRepo", &[("did", did.as_str())])?;
        let mut answer = self.get(host, url, None).await?;
        let began = Instant::now();
        let limits = &self.limits;
        let too_large = HostError::TooLarge { limit_bytes: limits.repo_bytes };
        if answer.response.content_length().is_some_and(|declared| declared > limits.repo_bytes as u64) {
            return Err(too_large);
        }
        let mut pace = Pace::new(limits.pace_bytes_per_second, limits.pace_window);
        let mut spool = Spool::new(&self.repo_memory, &self.spools, limits);
        loop {
            let waits_since = Instant::now();
            let Some(chunk) = body::next_chunk(&mut answer.response, &answer.deadline).await? else {
                return Ok(RepoCar { downloaded_in: began.elapsed(), ..spool.finish().await? });
            };
            pace.note(chunk.len(), waits_since.elapsed())?;
            if spool.size_bytes() + chunk.len() > limits.repo_bytes {
                return Err(too_large);
            }
            spool.push(&chunk).await?;
        }
    }

    /// Waits until there is memory for what is about to be known of a repo, so many bytes beside its own. A repo that would keep
    /// memory from others meanwhile waits on disk.
    pub async fn make_room(&self, mut car: RepoCar, needed_bytes: usize) -> Result<RepoCar, HostError> {
        car.known = match self.repo_memory.reserve_if_soon(needed_bytes).await {
            Some(reservation) => reservation,
            None => {
                if !car.is_on_disk() {
                    car = self.spools.spill(car.bytes).await?;
                }
                self.repo_memory.reserve_large(needed_bytes).await
            }
        };
        Ok(car)
    }
}

impl RepoCar {
    /// A part of a repo that was fetched bit by bit, of `Client::PART_BYTES` at most.
    pub fn part(bytes: Bytes) -> RepoCar {
        let (_memory, known) = Default::default();
        RepoCar { bytes, downloaded_in: Duration::ZERO, _memory, known, place: None, mapped: None }
    }

    /// Whether it was too large for memory, or there was no room in it.
    pub fn is_on_disk(&self) -> bool {
        self.place.is_some()
    }

    /// When it lies on disk: what releases the memory that shows it. Its bytes come back as they are looked at.
    pub fn releaser(&self) -> Option<impl Fn() + Send + Sync + 'static> {
        let mapped = self.mapped.clone()?;
        // Where a kernel refuses, it has the pages for longer: no harm.
        Some(move || drop(mapped.release()))
    }

    /// Gives memory back: only so many bytes are known from now on.
    pub fn know_only(&mut self, bytes: usize) {
        self.known.shrink_to(bytes);
    }
}
