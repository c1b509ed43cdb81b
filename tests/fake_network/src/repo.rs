//! A repo: its records, the tree over them, and the signed head commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cid::Cid;
use ipld_core::ipld::Ipld;
use serde_json::Value;

use crate::block::{Block, cid_of, ipld_from_json};
use crate::damage::{Commit, Parts};
use crate::keys::SigningKey;
use crate::mst::Tree;

/// What a leaf of a repo points to.
#[derive(Clone, Debug)]
pub enum Record {
    /// A value that is encoded as canonical DAG-CBOR.
    Value(Ipld),
    /// Bytes that stand in the repo as they are, canonical, decodable or not.
    Raw(Bytes),
    /// A CID whose block the repo does not have.
    Link(Cid),
}

impl Record {
    /// Reads the protocol's JSON; an error says what is wrong with it.
    pub fn parse(json: &str) -> Result<Record, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if !value.is_object() {
            return Err("a record is a JSON object".to_owned());
        }
        Ok(Record::Value(ipld_from_json(&value)?))
    }
}

impl From<Value> for Record {
    /// Reads the protocol's JSON; panics on a malformed `$link` or `$bytes`.
    fn from(json: Value) -> Record {
        Record::Value(ipld_from_json(&json).expect("the test's record is the protocol's JSON"))
    }
}

impl From<Ipld> for Record {
    fn from(value: Ipld) -> Record {
        Record::Value(value)
    }
}

impl Record {
    fn store(self, rev: &str) -> StoredRecord {
        let (cid, bytes) = match self {
            Record::Value(value) => {
                let block = Block::encode(&value);
                (block.cid, Some(block.bytes))
            }
            Record::Raw(bytes) => (cid_of(&bytes), Some(bytes)),
            Record::Link(cid) => (cid, None),
        };
        StoredRecord { cid, bytes, rev: rev.to_owned() }
    }
}

/// One operation of a commit.
#[derive(Clone, Debug)]
pub struct Write {
    path: String,
    record: Option<Record>,
}

impl Write {
    /// Sets a record: a create if there is none at the path, else an update.
    pub fn put(collection: &str, rkey: &str, record: impl Into<Record>) -> Write {
        Write { path: format!("{collection}/{rkey}"), record: Some(record.into()) }
    }

    /// Removes a record.
    pub fn delete(collection: &str, rkey: &str) -> Write {
        Write { path: format!("{collection}/{rkey}"), record: None }
    }
}

#[derive(Clone)]
pub(crate) struct StoredRecord {
    pub(crate) cid: Cid,
    pub(crate) bytes: Option<Bytes>,
    rev: String,
}

impl StoredRecord {
    fn block(&self) -> Option<(String, Block)> {
        let bytes = self.bytes.clone()?;
        Some((self.rev.clone(), Block { cid: self.cid, bytes }))
    }
}

/// An operation as it was applied; `cid` is absent for a delete, `prev` for a create.
pub(crate) struct Op {
    pub(crate) path: String,
    pub(crate) cid: Option<Cid>,
    pub(crate) prev: Option<Cid>,
}

/// What a commit changed, for its event.
pub(crate) struct Change {
    pub(crate) since: String,
    pub(crate) prev_data: Cid,
    pub(crate) ops: Vec<Op>,
    pub(crate) parts: Parts,
}

#[derive(Clone)]
pub(crate) struct Repo {
    tree: Tree,
    records: BTreeMap<String, StoredRecord>,
    head: Commit,
}

impl Repo {
    pub(crate) fn create(did: &str, rev: &str, key: &SigningKey) -> Repo {
        let mut tree = Tree::default();
        let head = Commit::sign(did, rev, tree.root(rev), key);
        Repo { tree, records: BTreeMap::new(), head }
    }

    pub(crate) fn head(&self) -> &Commit {
        &self.head
    }

    pub(crate) fn records(&self) -> &BTreeMap<String, StoredRecord> {
        &self.records
    }

    /// Makes one commit of the writes that change something; `None` if none does.
    pub(crate) fn apply(&mut self, writes: Vec<Write>, rev: &str, key: &SigningKey) -> Option<Change> {
        let ops: Vec<Op> = writes.into_iter().filter_map(|write| self.apply_one(write, rev)).collect();
        if ops.is_empty() {
            return None;
        }
        let (since, prev_data) = (self.head.rev.clone(), self.head.data);
        self.head = Commit::sign(&self.head.did, rev, self.tree.root(rev), key);
        let nodes = ops.iter().flat_map(|op| self.tree.proof(&op.path));
        let records = ops.iter().filter(|op| op.cid.is_some()).filter_map(|op| self.records.get(&op.path));
        let parts = Parts {
            commit: self.head.clone(),
            nodes: nodes.map(|block| (rev.to_owned(), block)).collect(),
            records: records.filter_map(StoredRecord::block).collect(),
        };
        Some(Change { since, prev_data, ops, parts })
    }

    /// Sets many records in one commit.
    pub(crate) fn load(&mut self, writes: impl IntoIterator<Item = Write>, rev: &str, key: &SigningKey) {
        let mut leaves = Vec::new();
        for write in writes {
            let record = write.record.expect("a bulk load only puts").store(rev);
            leaves.push((write.path.clone(), record.cid));
            self.records.insert(write.path, record);
        }
        self.tree.extend(leaves);
        self.head = Commit::sign(&self.head.did, rev, self.tree.root(rev), key);
    }

    /// The whole repo.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            commit: self.head.clone(),
            nodes: self.tree.nodes().map(|node| (node.rev.clone(), node.block.clone())).collect(),
            records: self.records.values().filter_map(StoredRecord::block).collect(),
        }
    }

    /// The proof that there is, or is not, a record at the path.
    pub(crate) fn record_parts(&self, path: &str) -> Parts {
        let nodes = self.tree.way(path).into_iter();
        Parts {
            commit: self.head.clone(),
            nodes: nodes.map(|block| (self.head.rev.clone(), block)).collect(),
            records: self.records.get(path).and_then(StoredRecord::block).into_iter().collect(),
        }
    }

    /// The blocks with these CIDs, or the CIDs of those that are not there.
    pub(crate) fn blocks(&self, cids: &[String]) -> Result<Vec<Block>, Vec<String>> {
        let wanted: BTreeSet<&str> = cids.iter().map(String::as_str).collect();
        let nodes = self.tree.nodes().map(|node| node.block.clone());
        let records = self.records.values().filter_map(StoredRecord::block).map(|(_, block)| block);
        let all = nodes.chain(records).chain([self.head.block()]);
        let found: BTreeMap<String, Block> =
            all.map(|block| (block.cid.to_string(), block)).filter(|(cid, _)| wanted.contains(cid.as_str())).collect();
        let missing: Vec<String> = cids.iter().filter(|cid| !found.contains_key(*cid)).cloned().collect();
        if missing.is_empty() { Ok(found.into_values().collect()) } else { Err(missing) }
    }

    /// The head commit alone, as a #sync event carries it.
    pub(crate) fn commit_parts(&self) -> Parts {
        Parts { commit: self.head.clone(), nodes: Vec::new(), records: Vec::new() }
    }

    fn apply_one(&mut self, write: Write, rev: &str) -> Option<Op> {
        let prev = self.records.get(&write.path).map(|record| record.cid);
        let record = write.record.map(|record| record.store(rev));
        let cid = record.as_ref().map(|record| record.cid);
        if cid == prev {
            return None;
        }
        self.tree.set(&write.path, cid);
        match record {
            Some(record) => self.records.insert(write.path.clone(), record),
            None => self.records.remove(&write.path),
        };
        Some(Op { path: write.path, cid, prev })
    }
}
