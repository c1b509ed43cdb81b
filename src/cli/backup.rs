//! `signpost backup FILE`: a verified copy of the database, beside a running service or without one.

use super::{Failure, progress};
use crate::config::{self, BackupFlags};
use crate::store::{self, Existing};

/// Makes the copy, and says so in one line.
pub fn run(flags: BackupFlags) -> Result<(), Failure> {
    let database = config::database_path(flags.database, |name| std::env::var_os(name))?;
    let existing = if flags.force { Existing::Replace } else { Existing::Keep };
    let spinner = progress::spinner("copying and checking");
    let size_bytes = store::backup(&database, &flags.file, existing).map_err(anyhow::Error::from)?;
    drop(spinner);
    println!("{}: {} KiB, verified", flags.file.display(), size_bytes.div_ceil(1024));
    Ok(())
}
