//! The disk under the database: whether it has room, and what SQLite's errors say of it.
//! Invariant: while it is full nothing is written, and nobody who wanted to write is told that it was.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{ErrorCode, ffi};
use tokio::sync::watch;

/// Above the floor by at least so much, writes begin again: not at every file that somebody deletes.
const LEAST_RELIEF_BYTES: u64 = 1 << 20;

/// What an error of SQLite means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// There was no room: the transaction is rolled back, and the file is as sound as before.
    Full,
    /// The file or the disk cannot be believed any more.
    Damage,
    /// Anything else.
    Other,
}

pub(super) struct Disk {
    directory: PathBuf,
    least_free_bytes: u64,
    full: watch::Sender<bool>,
    wal_bytes: AtomicU64,
    queries_cut: AtomicU64,
}

impl Disk {
    pub(super) fn under(database: &Path, least_free_bytes: u64) -> Disk {
        let directory = match database.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        Disk {
            directory: directory.to_owned(),
            least_free_bytes,
            full: watch::Sender::new(false),
            wal_bytes: AtomicU64::new(0),
            queries_cut: AtomicU64::new(0),
        }
    }

    /// Looks whether there is room to write, and notes when that changed.
    pub(super) fn has_room(&self) -> bool {
        let Some(free) = self.free_bytes() else { return true };
        let was_full = self.is_full();
        let relief = if was_full { (self.least_free_bytes / 4).max(LEAST_RELIEF_BYTES) } else { 0 };
        if free >= self.least_free_bytes + relief {
            if was_full {
                tracing::info!(free_mib = free >> 20, "the disk has room again: going on");
                self.full.send_replace(false);
            }
            return true;
        }
        self.note_full();
        false
    }

    /// Notes that a write found no room.
    pub(super) fn note_full(&self) {
        if !self.full.send_replace(true) {
            let free_mib = self.free_bytes().unwrap_or(0) >> 20;
            tracing::error!(
                free_mib,
                "the disk of the database is full: nothing is taken in until somebody makes room"
            );
        }
    }

    pub(super) fn is_full(&self) -> bool {
        *self.full.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.full.subscribe()
    }

    /// None where the system does not say: then SQLite will.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.directory).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    pub(super) fn meaning(&self, error: &rusqlite::Error) -> Meaning {
        let Some(error) = error.sqlite_error() else { return Meaning::Other };
        match error.code {
            ErrorCode::DiskFull => Meaning::Full,
            // A quota says so by an error of its own, and so does the shared memory file: it is grown by hand.
            ErrorCode::SystemIoFailure if is_growth(error.extended_code) && self.is_short() => Meaning::Full,
            ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Meaning::Damage,
            _ => Meaning::Other,
        }
    }

    fn is_short(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < self.least_free_bytes.max(LEAST_RELIEF_BYTES))
    }

    pub(super) fn note_wal(&self, bytes: u64) {
        self.wal_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn note_query_cut(&self) {
        self.queries_cut.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn queries_cut(&self) -> u64 {
        self.queries_cut.load(Ordering::Relaxed)
    }
}

fn is_growth(extended_code: i32) -> bool {
    [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_TRUNCATE].contains(&extended_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(disk: &Disk, code: i32) -> Meaning {
        disk.meaning(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn a_full_disk_a_broken_one_and_anything_else_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let roomy = Disk::under(&directory.path().join("signpost.db"), 0);
        let short = Disk::under(&directory.path().join("signpost.db"), u64::MAX);
        for disk in [&roomy, &short] {
            assert_eq!(meaning(disk, ffi::SQLITE_FULL), Meaning::Full);
            for code in [
                ffi::SQLITE_IOERR_FSYNC,
                ffi::SQLITE_IOERR_READ,
                ffi::SQLITE_CORRUPT,
                ffi::SQLITE_CORRUPT_INDEX,
                ffi::SQLITE_NOTADB,
            ] {
                assert_eq!(meaning(disk, code), Meaning::Damage, "{code}");
            }
            assert_eq!(meaning(disk, ffi::SQLITE_CONSTRAINT), Meaning::Other);
        }
        assert_eq!(meaning(&roomy, ffi::SQLITE_IOERR_WRITE), Meaning::Damage, "there was room");
        assert_eq!(meaning(&short, ffi::SQLITE_IOERR_WRITE), Meaning::Full);
    }

    #[test]
    fn room_is_measured_where_the_file_is() {
        let disk = Disk::under(Path::new("signpost.db"), u64::MAX / 2);
        assert!(!disk.has_room() && disk.is_full());
        let disk = Disk::under(Path::new("/tmp/signpost.db"), 1);
        disk.note_full();
        assert!(disk.has_room() && !disk.is_full(), "there is more than the relief here");
    }
}
