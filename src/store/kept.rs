//! Statements that a transaction runs for each row: looked up once. The connection's own cache hashes the text of a statement every time,
//! and links it out and in again.

use std::cell::RefCell;

use rusqlite::{CachedStatement, Connection, Params};

use super::TxResult;

/// Those of a transaction.
#[derive(Default)]
pub(super) struct KeptStatements<'db> {
    pub insert_record: Kept<'db>,
    pub insert_content: Kept<'db>,
    pub begin_count: Kept<'db>,
    pub move_count: Kept<'db>,
    pub advance_repo: Kept<'db>,
}

/// One of them, from its first use on.
#[derive(Default)]
pub(super) struct Kept<'db>(RefCell<Option<CachedStatement<'db>>>);

impl<'db> Kept<'db> {
    /// Answers how many rows it changed. `sql` is the same every time.
    pub(super) fn execute(&self, db: &'db Connection, sql: &'static str, params: impl Params) -> TxResult<usize> {
        match &mut *self.0.borrow_mut() {
            Some(statement) => statement.execute(params),
            none => none.insert(db.prepare_cached(sql)?).execute(params),
        }
    }
}
