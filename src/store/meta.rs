//! `meta`: the filter that was stored, what the index is complete for, and the database's own id.

use std::sync::PoisonError;

use rusqlite::{Connection, OptionalExtension, named_params};

use super::{Durability, Store, StoreError, Tx, TxResult};
use crate::syntax::NsidPattern;

/// What can be said about a collection or pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// The index holds it for every repo that is known.
    Complete,
    /// The filter was widened to cover it, and known repos are still being fetched again.
    Reindexing,
    /// The configured filter does not cover it.
    NotCovered,
}

pub(super) fn get(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = :key")?
        .query_row(named_params! {":key": key}, |row| row.get(0))
        .optional()
}

pub(super) fn set(db: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT DO UPDATE SET value = :value")?
        .execute(named_params! {":key": key, ":value": value})?;
    Ok(())
}

impl Store {
    /// Whether a list for `pattern` would be whole.
    pub fn coverage(&self, pattern: &NsidPattern) -> Coverage {
        if !self.inner.filter.covers(pattern) {
            return Coverage::NotCovered;
        }
        let complete = self.inner.complete_filter.read().unwrap_or_else(PoisonError::into_inner);
        if complete.covers(pattern) { Coverage::Complete } else { Coverage::Reindexing }
    }

    /// Whether the index is complete for the configured filter.
    pub fn is_complete(&self) -> bool {
        *self.inner.complete_filter.read().unwrap_or_else(PoisonError::into_inner) == self.inner.filter
    }

    /// After a wider filter: once every known repo was tried again, the index is complete for it.
    pub async fn note_reindexed(&self) -> Result<(), StoreError> {
        if self.is_complete() {
            return Ok(());
        }
        let filter = self.inner.filter.to_string();
        let done = self
            .write(Durability::Replayable, move |tx| {
                if tx.repos_to_reindex()? > 0 {
                    return Ok(false);
                }
                set(tx.db, "complete_filter", &filter)?;
                Ok(true)
            })
            .await?;
        if done {
            tracing::info!("every known repo was fetched again since the filter grew: all lists are whole");
            *self.inner.complete_filter.write().unwrap_or_else(PoisonError::into_inner) = self.inner.filter.clone();
        }
        Ok(())
    }
}

impl Tx<'_> {
    /// Repos that a wider filter queued and that were not tried yet.
    pub fn repos_to_reindex(&self) -> TxResult<i64> {
        self.db.prepare_cached("SELECT count(*) FROM crawl_queue WHERE reindex = 1")?.query_row([], |row| row.get(0))
    }
}
