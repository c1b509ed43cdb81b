//! The bytes of a repo while they come: in memory as long as they are few and there is room, then in an unlinked file.
//!
//! The file lies beside the database, not in /tmp, which may be memory. It has no name, so it goes with the process, however that
//! ends. Invariant: all such files together stay within their limit, and a full disk is an error of this repo alone.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::repo_memory::{RepoMemory, Reservation, SMALL_REPO_BYTES};
use super::{HostError, Limits, RepoCar, mapped};
use crate::syntax::printable;

/// Reservations of memory and of disk grow by this.
const STEP_BYTES: usize = 1 << 20;
/// So much is collected before it is written.
const WRITE_BYTES: usize = 256 << 10;

/// Where the files are made, and what they may take together.
pub(super) struct Spools {
    directory: Arc<PathBuf>,
    limit_bytes: usize,
    /// In steps of `STEP_BYTES`.
    free: Arc<Semaphore>,
}

/// A file, and its part of the disk.
struct SpoolFile {
    file: File,
    written_bytes: usize,
    place: Option<OwnedSemaphorePermit>,
}

/// A repo that comes in.
pub(super) struct Spool<'c> {
    memory: &'c RepoMemory,
    spools: &'c Spools,
    limits: &'c Limits,
    /// All that came, or what is not written yet.
    buffer: Vec<u8>,
    reserved: Reservation,
    /// What the buffer may grow to.
    room_bytes: usize,
    file: Option<SpoolFile>,
}

impl Spools {
    pub fn new(directory: PathBuf, limit_bytes: usize) -> Spools {
        let free = Arc::new(Semaphore::new(limit_bytes / STEP_BYTES));
        Spools { directory: Arc::new(directory), limit_bytes, free }
    }

    #[cfg(test)]
    pub fn free_bytes(&self) -> usize {
        self.free.available_permits() * STEP_BYTES
    }

    async fn create(&self) -> Result<SpoolFile, HostError> {
        let directory = self.directory.clone();
        let file = blocking(move || tempfile::tempfile_in(directory.as_path())).await?;
        Ok(SpoolFile { file, written_bytes: 0, place: None })
    }

    /// Moves a repo that lies in memory to disk.
    pub async fn spill(&self, bytes: Bytes) -> Result<RepoCar, HostError> {
        let file = self.create().await?;
        let (file, _) = self.append(file, bytes).await?;
        file.into_car().await
    }

    /// Writes at the end, and gives back what was written.
    async fn append<B>(&self, spool: SpoolFile, bytes: B) -> Result<(SpoolFile, B), HostError>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let SpoolFile { mut file, written_bytes, mut place } = spool;
        let written_bytes = written_bytes + bytes.as_ref().len();
        let held_steps = place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing_steps = written_bytes.div_ceil(STEP_BYTES).saturating_sub(held_steps);
        let more = self.free.clone().try_acquire_many_owned(u32::try_from(missing_steps).unwrap_or(u32::MAX));
        let more = more.map_err(|_| HostError::NoPlace(format!("repos take {} bytes already", self.limit_bytes)))?;
        match &mut place {
            Some(place) => place.merge(more),
            none => *none = Some(more),
        }
        let (file, bytes) = blocking(move || file.write_all(bytes.as_ref()).map(|()| (file, bytes))).await?;
        Ok((SpoolFile { file, written_bytes, place }, bytes))
    }
}

impl SpoolFile {
    async fn into_car(self) -> Result<RepoCar, HostError> {
        let SpoolFile { file, place, .. } = self;
        let (bytes, mapped) = blocking(move || mapped::map(file)).await?;
        let (_memory, known) = Default::default();
        Ok(RepoCar { bytes, downloaded_in: Duration::ZERO, _memory, known, place, mapped: Some(mapped) })
    }
}

impl<'c> Spool<'c> {
    pub fn new(memory: &'c RepoMemory, spools: &'c Spools, limits: &'c Limits) -> Spool<'c> {
        let room_bytes = SMALL_REPO_BYTES.min(limits.spool_above_bytes);
        let (buffer, reserved) = (Vec::new(), Reservation::default());
        Spool { memory, spools, limits, buffer, reserved, room_bytes, file: None }
    }

    /// How many bytes came.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len() + self.file.as_ref().map_or(0, |file| file.written_bytes)
    }

    /// Takes the next bytes.
    pub async fn push(&mut self, chunk: &[u8]) -> Result<(), HostError> {
        if self.file.is_none() && !self.grow(self.buffer.len() + chunk.len()) {
            self.file = Some(self.spools.create().await?);
        }
        self.buffer.extend_from_slice(chunk);
        if self.file.is_some() && self.buffer.len() >= WRITE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// The repo as it came.
    pub async fn finish(mut self) -> Result<RepoCar, HostError> {
        if self.file.is_some() {
            self.flush().await?;
        }
        match self.file {
            None => {
                let (bytes, known) = (self.buffer.into(), Reservation::default());
                let _memory = self.reserved;
                Ok(RepoCar { bytes, downloaded_in: Duration::ZERO, _memory, known, place: None, mapped: None })
            }
            Some(file) => file.into_car().await,
        }
    }

    /// Whether so many bytes may lie in memory; makes room for them if so.
    fn grow(&mut self, needed_bytes: usize) -> bool {
        if needed_bytes > self.limits.spool_above_bytes {
            return false;
        }
        if needed_bytes > self.room_bytes {
            let step = (needed_bytes - self.room_bytes).next_multiple_of(STEP_BYTES);
            if !self.memory.try_extend(&mut self.reserved, step) {
                return false;
            }
            self.room_bytes += step;
            self.buffer.reserve_exact(self.room_bytes - self.buffer.len());
        }
        true
    }

    async fn flush(&mut self) -> Result<(), HostError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let (file, mut buffer) = self.spools.append(file, std::mem::take(&mut self.buffer)).await?;
        self.file = Some(file);
        buffer.clear();
        // The first one written is all that lay in memory before there was a file.
        buffer.shrink_to(2 * WRITE_BYTES);
        self.buffer = buffer;
        self.reserved = Reservation::default();
        Ok(())
    }
}

/// Files are written where blocking harms nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, HostError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    done.map_err(|error| HostError::NoPlace(printable(&error.to_string(), 200)))
}
