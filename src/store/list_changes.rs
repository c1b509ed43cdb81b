//! What a transaction changes in `lists`, kept until its end and then written list by list: a row of a list that takes in sixty repos is
//! read and written once.
//! Invariant: all of it is written before the commit, and what was said last of a repo in a list holds.

use rusqlite::{OptionalExtension, named_params};

use super::chunk::{self, Change};
use super::lists::List;
use super::{RepoId, Tx, TxResult};

/// A row that grows beyond it is split. Four of them fill a page of the database.
pub(super) const MOST_BYTES: usize = 1000;
/// So many are not kept: they are written before the transaction's end.
const MOST_KEPT: usize = 10_000;

/// Whether a repo belongs on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// As long as it is shown.
    Listed,
    Unlisted,
}

/// The last word on a repo in a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListChange {
    list: List,
    repo: RepoId,
    belongs: Belongs,
}

/// A row of a list after its changes.
struct Changed {
    /// Where it lies, if it is there.
    key: Option<i64>,
    /// How many of the changes were its own.
    taken: usize,
    merged: Option<chunk::Merged>,
}

impl Tx<'_> {
    /// Notes whether a repo belongs on a list.
    pub(super) fn change_list(&self, list: List, repo: RepoId, belongs: Belongs) -> TxResult<()> {
        let mut changes = self.state.list_changes.take();
        changes.push(ListChange { list, repo, belongs });
        let is_enough = changes.len() >= MOST_KEPT;
        self.state.list_changes.set(changes);
        if is_enough { self.write_lists() } else { Ok(()) }
    }

    /// Writes what was noted; to be called before the commit.
    pub(super) fn write_lists(&self) -> TxResult<()> {
        let mut changes = self.state.list_changes.take();
        // The last word comes first, and stays.
        changes.reverse();
        changes.sort_by_key(|change| (change.list, change.repo));
        changes.dedup_by_key(|change| (change.list, change.repo));
        let dids = self.shown_dids(&changes)?;
        for of_list in changes.chunk_by(|one, other| one.list == other.list) {
            let named: Vec<Change> = of_list.iter().map(|change| change.with_did(&dids)).collect();
            self.write_list(of_list[0].list, &named)?;
        }
        Ok(())
    }

    /// The DIDs of those that are shown, by repo.
    fn shown_dids(&self, changes: &[ListChange]) -> TxResult<Vec<(RepoId, Option<String>)>> {
        let listed = changes.iter().filter(|change| change.belongs == Belongs::Listed);
        let mut repos: Vec<RepoId> = listed.map(|change| change.repo).collect();
        repos.sort_unstable();
        repos.dedup();
        repos.into_iter().map(|repo| Ok((repo, self.shown_did(repo)?))).collect()
    }

    fn write_list(&self, list: List, mut changes: &[Change]) -> TxResult<()> {
        while let Some(first) = changes.first() {
            let Changed { key, taken, merged } = self.changed_row(list, first.repo, changes)?;
            changes = &changes[taken..];
            let Some(merged) = merged else { continue };
            self.state.lists_changed.set(true);
            let at = key.unwrap_or(list.end());
            // Repos come roughly in the order of their ids: what is split off the end is hardly added to.
            let enough_bytes = match merged.bytes.len() {
                ..=MOST_BYTES => MOST_BYTES,
                _ if merged.only_grew && at == list.end() => MOST_BYTES,
                _ if at == list.end() => MOST_BYTES * 3 / 4,
                total => total.div_ceil(total / MOST_BYTES + 1),
            };
            let mut pieces = chunk::cut(&merged.bytes, enough_bytes, MOST_BYTES)?;
            let last = pieces.pop();
            for piece in pieces {
                self.insert_row(list.key(piece.last), &piece.bytes)?;
            }
            match (last, key) {
                (Some(last), Some(key)) => self.update_row(key, &last.bytes)?,
                (Some(last), None) => self.insert_row(at, &last.bytes)?,
                (None, _) => self.delete_row(at)?,
            }
        }
        Ok(())
    }

    /// The row that a repo is in, or would be, with what changes in it.
    fn changed_row(&self, list: List, repo: i64, changes: &[Change]) -> TxResult<Changed> {
        let row = self
            .db
            .prepare_cached("SELECT up_to, repos FROM lists WHERE up_to BETWEEN :from AND :end ORDER BY up_to LIMIT 1")?
            .query_row(named_params! {":from": list.key(repo), ":end": list.end()}, |row| {
                let key = row.get(0)?;
                let taken = changes.partition_point(|change| change.repo <= List::last_repo(key));
                let merged = chunk::merge(row.get_ref(1)?.as_blob()?, &changes[..taken])?;
                Ok(Changed { key: Some(key), taken, merged })
            })
            .optional()?;
        match row {
            Some(row) => Ok(row),
            None => Ok(Changed { key: None, taken: changes.len(), merged: chunk::merge(&[], changes)? }),
        }
    }

    fn insert_row(&self, key: i64, row: &[u8]) -> TxResult<()> {
        self.db.prepare_cached("INSERT INTO lists (up_to, repos) VALUES (?1, ?2)")?.execute((key, row))?;
        Ok(())
    }

    fn update_row(&self, key: i64, row: &[u8]) -> TxResult<()> {
        self.db.prepare_cached("UPDATE lists SET repos = ?2 WHERE up_to = ?1")?.execute((key, row))?;
        Ok(())
    }

    fn delete_row(&self, key: i64) -> TxResult<()> {
        self.db.prepare_cached("DELETE FROM lists WHERE up_to = ?1")?.execute([key])?;
        Ok(())
    }
}

impl ListChange {
    fn with_did<'d>(&self, dids: &'d [(RepoId, Option<String>)]) -> Change<'d> {
        let did = match self.belongs {
            Belongs::Listed => dids.binary_search_by_key(&self.repo, |(repo, _)| *repo).ok(),
            Belongs::Unlisted => None,
        };
        Change { repo: self.repo.0, listed: did.and_then(|at| dids[at].1.as_deref()) }
    }
}
