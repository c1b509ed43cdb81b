//! `signpost check`: whether the database is sound, and its sums are those of its rows.

use anyhow::anyhow;

use super::{Failure, progress};
use crate::config::{self, DatabaseFlag};
use crate::store;

/// Prints what is wrong, a line each; fails if anything is.
pub fn run(flag: DatabaseFlag) -> Result<(), Failure> {
    let database = config::database_path(flag, |name| std::env::var_os(name))?;
    let spinner = progress::spinner("reading every row");
    let checked = store::check(&database).map_err(anyhow::Error::from)?;
    drop(spinner);
    for problem in &checked.problems {
        println!("{problem}");
    }
    if !checked.problems.is_empty() {
        return Err(anyhow!("{}: {} problems", database.display(), checked.problems.len()).into());
    }
    println!(
        "{}: sound, {} records, every sum is that of its rows; {} collections without a record",
        database.display(),
        checked.records,
        checked.empty_collections,
    );
    Ok(())
}
