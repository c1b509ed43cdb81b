//! A host's bytes without a host: repos whose CARs and event frames are made on the spot, with no socket, clock or chance of their own.
//! For a simulation that decides itself when and whether anything arrives.

use crate::block::{Block, write_car};
use crate::damage::Damage;
use crate::frame::{self, CommitBody};
use crate::keys::SigningKey;
use crate::repo::{Change, Repo, Write};
use crate::tid::tid;

/// A repo as it is at one moment; a clone of it is a backup.
#[derive(Clone)]
pub struct OfflineRepo(Repo);

/// What a commit changed, to be told in a frame.
pub struct OfflineChange(Change);

/// What a host gets wrong, or leaves out, when it tells of a commit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    /// As old hosts do: no prevData, no ops[].prev.
    pub legacy: bool,
    /// tooBig, and nothing but the commit.
    pub too_big: bool,
    /// The first op is left out.
    pub missing_op: bool,
    /// Another since.
    pub wrong_since: bool,
    /// Another prevData.
    pub wrong_prev_data: bool,
    /// The CAR is damaged.
    pub damage: Option<Damage>,
}

impl OfflineRepo {
    /// An empty repo with its first commit.
    pub fn create(did: &str, rev: &str, key: &SigningKey) -> OfflineRepo {
        OfflineRepo(Repo::create(did, rev, key))
    }

    /// Sets many records in one commit.
    pub fn load(&mut self, writes: impl IntoIterator<Item = Write>, rev: &str, key: &SigningKey) {
        self.0.load(writes, rev, key);
    }

    /// Makes one commit of the writes that change something; `None` if none does.
    pub fn apply(&mut self, writes: Vec<Write>, rev: &str, key: &SigningKey) -> Option<OfflineChange> {
        self.0.apply(writes, rev, key).map(OfflineChange)
    }

    /// The CID of the head commit.
    pub fn head(&self) -> String {
        self.0.head().block().cid.to_string()
    }

    /// The CID of the tree's root.
    pub fn data(&self) -> String {
        self.0.head().data.to_string()
    }

    /// The rev of the head commit.
    pub fn rev(&self) -> &str {
        &self.0.head().rev
    }

    /// Every record as (path, CID), in the order of the paths.
    pub fn records(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.records().iter().map(|(path, record)| (path.as_str(), record.cid.to_string()))
    }

    /// The answer of getRepo.
    pub fn car(&self, damage: Option<Damage>, key: &SigningKey) -> Vec<u8> {
        self.0.parts().write(damage, key).1
    }

    /// The answer of getRecord.
    pub fn record_car(&self, path: &str, damage: Option<Damage>, key: &SigningKey) -> Vec<u8> {
        self.0.record_parts(path).write(damage, key).1
    }

    /// The answer of getBlocks; None: it does not have all of them.
    pub fn blocks_car(&self, cids: &[String]) -> Option<Vec<u8>> {
        self.0.blocks(cids).ok().map(|blocks| write_car(Vec::new(), &blocks))
    }

    /// The #commit of a new repo: no ops, since null, no prevData.
    pub fn first_commit_frame(&self, seq: i64, key: &SigningKey) -> Vec<u8> {
        let (commit, blocks) = self.0.parts().write(None, key);
        let body = CommitBody::first(commit.cid, self.rev(), blocks);
        frame::commit(&self.0.head().did, seq, body)
    }

    /// The #commit of the change that led to the repo as it is now.
    pub fn commit_frame(&self, seq: i64, change: OfflineChange, telling: Telling, key: &SigningKey) -> Vec<u8> {
        let OfflineChange(change) = change;
        let skipped = usize::from(telling.missing_op);
        let ops = change.ops[skipped..].iter().map(|op| frame::op(op, telling.legacy)).collect();
        let parts = if telling.too_big { self.0.commit_parts() } else { change.parts };
        let (commit, blocks) = parts.write(telling.damage, key);
        let since = if telling.wrong_since { tid(1) } else { change.since };
        let prev_data = if telling.wrong_prev_data { Block::encode(&"wrong").cid } else { change.prev_data };
        let body = CommitBody {
            commit: commit.cid,
            rev: self.rev(),
            since: Some(&since),
            prev_data: Some(prev_data).filter(|_| !telling.legacy),
            ops: if telling.too_big { Vec::new() } else { ops },
            blocks,
            too_big: telling.too_big,
            size: None,
        };
        frame::commit(&self.0.head().did, seq, body)
    }

    /// The #sync that says that the repo is at its head; `rev` as the host tells it.
    pub fn sync_frame(&self, seq: i64, rev: &str, key: &SigningKey) -> Vec<u8> {
        let blocks = self.0.commit_parts().write(None, key).1;
        frame::sync(&self.0.head().did, seq, rev, blocks)
    }
}

/// An #account.
pub fn account_frame(did: &str, seq: i64, active: bool, status: Option<&str>) -> Vec<u8> {
    frame::account(did, seq, active, status)
}

/// An #identity.
pub fn identity_frame(did: &str, seq: i64, handle: Option<&str>) -> Vec<u8> {
    frame::identity(did, seq, handle)
}

/// An #info.
pub fn info_frame(name: &str) -> Vec<u8> {
    frame::info(name)
}

/// An error frame.
pub fn error_frame(name: &str) -> Vec<u8> {
    frame::error(name)
}

/// An event of a type that nobody knows.
pub fn unknown_frame(seq: i64) -> Vec<u8> {
    frame::unknown_type(seq)
}
