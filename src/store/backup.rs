//! A copy of the database, made while it is served or not: whole, verified, and under its name only then.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::open::{self, OpenError};
use super::unfinished::{Existing, Unfinished};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The name is taken.
    #[error("{0} exists: give another name, or --force to replace it")]
    Exists(PathBuf),
    /// The copy could not be made.
    #[error("cannot back up to {0}: {1}")]
    Copy(PathBuf, rusqlite::Error),
    /// The copy could not be put in its place.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, io::Error),
    /// The copy is not sound: then neither is the database.
    #[error("the copy is damaged, and so the database must be ({0}): run signpost check")]
    Damaged(String),
}

/// Copies the database to a file, and answers its size in bytes. A snapshot of one moment: the service goes on writing meanwhile.
pub fn backup(database: &Path, to: &Path, existing: Existing) -> Result<u64, BackupError> {
    if existing == Existing::Keep && to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let db = open::open_to_read(database)?;
    let unfinished = Unfinished::beside(to);
    let name = unfinished.path().to_str().ok_or_else(|| {
        BackupError::Write(to.to_owned(), io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8"))
    })?;
    db.execute("VACUUM INTO ?1", [name]).map_err(|error| BackupError::Copy(to.to_owned(), error))?;
    verify(unfinished.path())
        .map_err(|error| BackupError::Copy(to.to_owned(), error))?
        .map_or(Ok(()), |problem| Err(BackupError::Damaged(problem)))?;
    unfinished.become_file(to, existing).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => BackupError::Write(to.to_owned(), error),
    })
}

/// The first problem of the copy, if it has one.
fn verify(copy: &Path) -> rusqlite::Result<Option<String>> {
    let db = Connection::open_with_flags(copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let first: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((first != "ok").then_some(first))
}
