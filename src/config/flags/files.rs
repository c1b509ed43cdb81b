//! The flags of the commands that work on the database's file.

use std::path::PathBuf;

use clap::Args;

/// The flag that `serve`, `backup` and `check` share.
#[derive(Debug, Clone, Default, Args)]
pub struct DatabaseFlag {
    /// The SQLite file that holds the index
    ///
    /// Made by the first serve, with its -wal, -shm and .lock files beside it. One signpost at a time may
    /// serve a file; the sqlite3 shell may read it meanwhile.
    ///
    /// [environment: SIGNPOST_DATABASE_PATH, else DATABASE_PATH] [default: ./signpost.db]
    #[arg(long, value_name = "PATH")]
    pub database_path: Option<String>,
}

/// The flags of `signpost backup`.
#[derive(Debug, Clone, Default, Args)]
pub struct BackupFlags {
    /// The file that the copy is to be
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseFlag,
}
