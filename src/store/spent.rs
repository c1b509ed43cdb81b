//! How much of a request's time went into the database: for who wants to know why one was slow.

use std::cell::Cell;
use std::time::Duration;

tokio::task_local! {
    static SPENT: Cell<Spent>;
}

/// What a piece of work spent in the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Until a reader was free.
    pub waiting: Duration,
    /// In SQLite.
    pub reading: Duration,
    /// Until the writer had committed, its own turn included.
    pub writing: Duration,
    /// How often it read.
    pub reads: u32,
}

/// Does the work, and says what it spent here.
pub async fn measured<T>(work: impl Future<Output = T>) -> (T, Spent) {
    let work = async {
        let output = work.await;
        (output, SPENT.with(Cell::get))
    };
    SPENT.scope(Cell::default(), work).await
}

/// Adds to what the work that runs has spent, if somebody wants to know.
pub(super) fn note(change: impl FnOnce(&mut Spent)) {
    // It fails where nobody measures.
    let _ = SPENT.try_with(|cell| {
        let mut spent = cell.get();
        change(&mut spent);
        cell.set(spent);
    });
}
