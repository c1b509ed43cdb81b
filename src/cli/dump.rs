//! `signpost dump` and `signpost restore`: everything that signpost knows, as a file for another machine, version or storage backend.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, progress};
use crate::config::{self, BackupFlags, DatabaseFlag};
use crate::store::{self, DumpCounts, Existing};

/// The flags of `signpost restore`.
#[derive(Debug, Args)]
pub struct RestoreFlags {
    /// The dump
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseFlag,
}

/// Writes a dump, and says what is in it.
pub fn dump(flags: BackupFlags) -> Result<(), Failure> {
    let database = config::database_path(flags.database, |name| std::env::var_os(name))?;
    let existing = if flags.force { Existing::Replace } else { Existing::Keep };
    let mut bar = progress::bar("dumping");
    let counts = store::dump(&database, &flags.file, existing, &mut bar).map_err(anyhow::Error::from)?;
    drop(bar);
    println!("{}: {}", flags.file.display(), words(counts));
    Ok(())
}

/// Makes a database out of a dump, and says what is in it.
pub fn restore(flags: RestoreFlags) -> Result<(), Failure> {
    let database = config::database_path(flags.database, |name| std::env::var_os(name))?;
    let mut bar = progress::bar("restoring");
    let counts = store::restore(&flags.file, &database, &mut bar).map_err(anyhow::Error::from)?;
    drop(bar);
    println!("{}: {}, checked; signpost serve goes on from here", database.display(), words(counts));
    Ok(())
}

fn words(counts: DumpCounts) -> String {
    let [hosts, repos, records] = [(counts.hosts, "host"), (counts.repos, "account"), (counts.records, "record")]
        .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }));
    format!("{hosts}, {repos}, {records}")
}
