//! Row changes of one repo, with the counts moved once per run of changes in a collection.

use crate::repo::DagCid;
use crate::store::{RepoId, Tx, TxResult};

/// Rows changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RowCounts {
    pub written: u64,
    pub deleted: u64,
}

/// Writes rows of one repo; [`RowWriter::finish`] moves the last count, so it must be called.
pub(super) struct RowWriter<'t, 'db> {
    tx: &'t Tx<'db>,
    repo: RepoId,
    collection: Option<Collection>,
    counts: RowCounts,
}

struct Collection {
    nsid: String,
    id: i64,
    delta: i64,
}

impl<'t, 'db> RowWriter<'t, 'db> {
    pub(super) fn new(tx: &'t Tx<'db>, repo: RepoId) -> Self {
        RowWriter { tx, repo, collection: None, counts: RowCounts::default() }
    }

    /// Inserts or replaces.
    pub(super) fn put(&mut self, nsid: &str, rkey: &str, cid: DagCid, json: &str) -> TxResult<()> {
        let (tx, repo) = (self.tx, self.repo);
        let collection = self.enter(nsid)?;
        collection.delta += tx.put_record(collection.id, repo, rkey, cid, json)?;
        self.counts.written += 1;
        Ok(())
    }

    /// Inserts what is known not to be there.
    pub(super) fn insert(&mut self, nsid: &str, rkey: &str, cid: DagCid, json: &str) -> TxResult<()> {
        let (tx, repo) = (self.tx, self.repo);
        let collection = self.enter(nsid)?;
        tx.insert_record(collection.id, repo, rkey, cid, json)?;
        collection.delta += 1;
        self.counts.written += 1;
        Ok(())
    }

    /// Deletes what may be there.
    pub(super) fn delete(&mut self, nsid: &str, rkey: &str) -> TxResult<()> {
        let (tx, repo) = (self.tx, self.repo);
        let collection = self.enter(nsid)?;
        let change = tx.delete_record(collection.id, repo, rkey)?;
        collection.delta += change;
        self.counts.deleted += change.unsigned_abs();
        Ok(())
    }

    pub(super) fn finish(mut self) -> TxResult<RowCounts> {
        self.leave()?;
        Ok(self.counts)
    }

    fn enter(&mut self, nsid: &str) -> TxResult<&mut Collection> {
        if self.collection.as_ref().is_none_or(|current| current.nsid != nsid) {
            self.leave()?;
        }
        match &mut self.collection {
            Some(current) => Ok(current),
            none => {
                let id = self.tx.collection_id(nsid)?;
                Ok(none.insert(Collection { nsid: nsid.to_owned(), id, delta: 0 }))
            }
        }
    }

    fn leave(&mut self) -> TxResult<()> {
        match self.collection.take() {
            Some(collection) => self.tx.adjust_count(collection.id, self.repo, collection.delta),
            None => Ok(()),
        }
    }
}
