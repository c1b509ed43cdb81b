//! Row changes of one repo, within what it and its host may take. Counts are moved once per run of changes in a collection, and what is
//! used once at the end.

use crate::repo::DagCid;
use crate::store::{Collection, RepoId, Room, Tx, TxResult, Usage, UsageChange};

/// Rows changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RowCounts {
    pub written: u64,
    pub deleted: u64,
    /// Records that found no room; one that was indexed before is not any more.
    pub over_limit: u64,
}

/// Writes rows of one repo; [`RowWriter::finish`] moves the last counts, so it must be called.
pub(super) struct RowWriter<'t, 'db> {
    tx: &'t Tx<'db>,
    repo: RepoId,
    /// Whether the repo had no rows.
    was_empty: bool,
    /// Read when it is first needed.
    room: Option<Room>,
    current: Option<Current>,
    change: UsageChange,
    counts: RowCounts,
}

struct Current {
    nsid: String,
    collection: Option<Collection>,
    is_new: bool,
    delta: i64,
}

impl<'t, 'db> RowWriter<'t, 'db> {
    pub(super) fn new(tx: &'t Tx<'db>, repo: RepoId, was_empty: bool) -> Self {
        let (change, counts) = (UsageChange::default(), RowCounts::default());
        RowWriter { tx, repo, was_empty, room: None, current: None, change, counts }
    }

    /// The same where it is known already what the repo takes and may take.
    pub(super) fn within(tx: &'t Tx<'db>, repo: RepoId, used: &Usage, room: Room) -> Self {
        RowWriter { room: Some(room), ..RowWriter::new(tx, repo, used.records == 0) }
    }

    /// Inserts what most likely is not there, or replaces: to try costs less than to look first.
    pub(super) fn put(&mut self, nsid: &str, rkey: &str, cid: DagCid, json: &str) -> TxResult<()> {
        match self.insert_if_room(nsid, rkey, cid, json)? {
            true => Ok(()),
            false => self.update(nsid, rkey, cid, json),
        }
    }

    /// Replaces what most likely is there, or inserts.
    pub(super) fn update(&mut self, nsid: &str, rkey: &str, cid: DagCid, json: &str) -> TxResult<()> {
        let before = match self.enter(nsid)?.collection {
            Some(collection) => self.tx.record_size(collection.id, self.repo, rkey)?,
            None => None,
        };
        match before {
            Some(before) => self.replace(nsid, rkey, cid, json, before),
            None => self.insert(nsid, rkey, cid, json),
        }
    }

    /// Inserts what is known not to be there.
    pub(super) fn insert(&mut self, nsid: &str, rkey: &str, cid: DagCid, json: &str) -> TxResult<()> {
        if !self.insert_if_room(nsid, rkey, cid, json)? {
            self.pass_over();
        }
        Ok(())
    }

    /// Answers whether there is a new row: not where there was one, or no room for it.
    fn insert_if_room(&mut self, nsid: &str, rkey: &str, cid: DagCid, json: &str) -> TxResult<bool> {
        self.enter(nsid)?;
        let room = self.room()?;
        let size_bytes = json.len() as i64;
        if room.records <= 0 || room.bytes < size_bytes || !self.may_enter(room)? {
            return Ok(false);
        }
        let collection = self.collection(nsid, room)?;
        if !self.tx.insert_record(collection.id, self.repo, rkey, cid, json)? {
            return Ok(false);
        }
        self.count(1, size_bytes);
        self.counts.written += 1;
        Ok(true)
    }

    /// Deletes what may be there.
    pub(super) fn delete(&mut self, nsid: &str, rkey: &str) -> TxResult<()> {
        let Some(collection) = self.enter(nsid)?.collection else { return Ok(()) };
        if let Some(size_bytes) = self.tx.delete_record(collection.id, self.repo, rkey)? {
            self.count(-1, -size_bytes);
            self.counts.deleted += 1;
        }
        Ok(())
    }

    /// Whether no further record has room; then what follows need not be looked at.
    pub(super) fn is_full(&mut self) -> TxResult<bool> {
        Ok(self.room()?.records <= 0)
    }

    /// Counts a record that was not even tried.
    pub(super) fn pass_over(&mut self) {
        self.counts.over_limit += 1;
    }

    pub(super) fn finish(mut self) -> TxResult<RowCounts> {
        self.leave()?;
        self.tx.change_usage(self.repo, &self.change)?;
        Ok(self.counts)
    }

    /// Leaves it to the caller to write down what the repo takes now.
    pub(super) fn finish_uncounted(mut self) -> TxResult<(RowCounts, UsageChange)> {
        self.leave()?;
        Ok((self.counts, self.change))
    }

    /// One that has outgrown the room goes: its row would be a record that the repo does not have.
    fn replace(&mut self, nsid: &str, rkey: &str, cid: DagCid, json: &str, before: i64) -> TxResult<()> {
        let room = self.room()?;
        let growth = json.len() as i64 - before;
        if growth > room.bytes.max(0) {
            self.counts.over_limit += 1;
            return self.delete(nsid, rkey);
        }
        let collection = self.collection(nsid, room)?;
        self.tx.replace_record(collection.id, self.repo, rkey, cid, json)?;
        self.count(0, growth);
        self.counts.written += 1;
        Ok(())
    }

    fn room(&mut self) -> TxResult<Room> {
        if let Some(room) = self.room {
            return Ok(room);
        }
        let mut room = self.tx.room(self.repo)?;
        // What has changed since is written down at the end.
        room.records -= self.change.records;
        room.bytes -= self.change.bytes;
        room.collections -= self.change.collections;
        Ok(*self.room.insert(room))
    }

    /// Whether the repo may have a record of the current collection.
    fn may_enter(&self, room: Room) -> TxResult<bool> {
        let Some(current) = &self.current else { return Ok(true) };
        match current.collection {
            None => Ok(room.names > 0 && room.collections > 0),
            Some(_) if room.collections > 0 || current.delta > 0 => Ok(true),
            Some(collection) => self.tx.has_collection(collection.id, self.repo),
        }
    }

    /// The current collection, made if nobody had it.
    fn collection(&mut self, nsid: &str, room: Room) -> TxResult<Collection> {
        let tx = self.tx;
        let current = self.enter(nsid)?;
        if let Some(collection) = current.collection {
            return Ok(collection);
        }
        let collection = tx.new_collection(nsid, room.host_id)?;
        (current.collection, current.is_new) = (Some(collection), true);
        self.room = Some(Room { names: room.names - 1, ..room });
        Ok(collection)
    }

    fn count(&mut self, records: i64, bytes: i64) {
        self.change.records += records;
        self.change.bytes += bytes;
        if let Some(current) = &mut self.current {
            current.delta += records;
        }
        if let Some(room) = &mut self.room {
            room.records -= records;
            room.bytes -= bytes;
        }
    }

    fn enter(&mut self, nsid: &str) -> TxResult<&mut Current> {
        if self.current.as_ref().is_none_or(|current| current.nsid != nsid) {
            self.leave()?;
        }
        match &mut self.current {
            Some(current) => Ok(current),
            none => {
                let collection = self.tx.collection(nsid)?;
                Ok(none.insert(Current { nsid: nsid.to_owned(), collection, is_new: false, delta: 0 }))
            }
        }
    }

    fn leave(&mut self) -> TxResult<()> {
        let Some(Current { collection: Some(collection), is_new, delta, .. }) = self.current.take() else {
            return Ok(());
        };
        if is_new && delta == 0 {
            return self.tx.drop_unused_collection(collection.id);
        }
        let collections = match self.was_empty && delta > 0 {
            true => self.tx.begin_count(collection, self.repo, delta)?,
            false => self.tx.adjust_count(collection, self.repo, delta)?,
        };
        self.change.collections += collections;
        if let Some(room) = &mut self.room {
            room.collections -= collections;
        }
        Ok(())
    }
}
