//! A CAR before it is bytes, and what a broken or hostile host can do to it.

use cid::Cid;
use serde::Serialize;
use serde_bytes::ByteBuf;

use crate::block::{Block, write_car};
use crate::keys::{SForm, SigningKey};
use crate::tid::{now_micros, tid};

/// One thing that is wrong with a CAR, in a getRepo answer or in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// The commit is signed by a key that no DID document names.
    WrongKey,
    /// The signature is valid, but its s is the high one.
    HighS,
    /// The commit names another DID (and is signed properly).
    WrongDid,
    /// The commit's rev is an hour ahead (and it is signed properly).
    FutureRev,
    /// One bit of a block that is not the commit is not what its CID says (of the commit if it is the only block).
    FlippedBit,
    /// The first record's block is left out.
    MissingRecord,
    /// Every record's block is left out.
    MissingRecords,
    /// One MST node is left out (the root if it is the only one).
    MissingNode,
    /// The commit's block is left out, and the CAR's root still names it.
    MissingCommit,
    /// The last bytes of the CAR are cut off.
    Truncated,
    /// The CAR ends in the middle of a length.
    TruncatedLength,
    /// The CAR has no blocks.
    NoBlocks,
    /// Every block comes twice, which is legal.
    DuplicateBlocks,
    /// A block that belongs to nothing comes along, which is legal.
    ExtraBlock,
}

/// A signed commit.
#[derive(Clone)]
pub(crate) struct Commit {
    pub(crate) did: String,
    pub(crate) rev: String,
    pub(crate) data: Cid,
    sig: Vec<u8>,
}

#[derive(Serialize)]
struct CommitData<'a> {
    did: &'a str,
    rev: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<ByteBuf>,
    data: Cid,
    prev: Option<Cid>,
    version: u8,
}

impl Commit {
    pub(crate) fn sign(did: &str, rev: &str, data: Cid, key: &SigningKey) -> Commit {
        Commit { did: did.to_owned(), rev: rev.to_owned(), data, sig: Vec::new() }.signed(key, SForm::Low)
    }

    pub(crate) fn block(&self) -> Block {
        Block::encode(&self.as_data(Some(ByteBuf::from(self.sig.clone()))))
    }

    fn signed(mut self, key: &SigningKey, form: SForm) -> Commit {
        self.sig = key.sign_as(&Block::encode(&self.as_data(None)).bytes, form);
        self
    }

    fn as_data(&self, sig: Option<ByteBuf>) -> CommitData<'_> {
        CommitData { did: &self.did, rev: &self.rev, sig, data: self.data, prev: None, version: 3 }
    }
}

/// The parts of a CAR; each block with the rev of the commit that brought it.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) commit: Commit,
    pub(crate) nodes: Vec<(String, Block)>,
    pub(crate) records: Vec<(String, Block)>,
}

impl Parts {
    /// The CAR of these parts with this damage, and its commit's block.
    ///
    /// The blocks stand as the reference PDS gives them: rev descending, then CID descending; so the commit is
    /// usually not the first.
    pub(crate) fn write(mut self, damage: Option<Damage>, key: &SigningKey) -> (Block, Vec<u8>) {
        self.commit = match damage {
            Some(Damage::WrongKey) => {
                let stranger = SigningKey::derive(key.curve(), u64::MAX, "a key that no document names");
                self.commit.signed(&stranger, SForm::Low)
            }
            Some(Damage::HighS) => self.commit.signed(key, SForm::High),
            Some(Damage::WrongDid) => {
                let did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".to_owned();
                Commit { did, ..self.commit }.signed(key, SForm::Low)
            }
            Some(Damage::FutureRev) => {
                let rev = tid(now_micros() + 3_600_000_000);
                Commit { rev, ..self.commit }.signed(key, SForm::Low)
            }
            _ => self.commit,
        };
        match damage {
            Some(Damage::MissingRecord) if !self.records.is_empty() => drop(self.records.remove(0)),
            Some(Damage::MissingRecords) => self.records.clear(),
            Some(Damage::MissingNode) => {
                let root = self.commit.data;
                let other = self.nodes.iter().find(|(_, node)| node.cid != root);
                // More than one op's proof may have brought it along.
                if let Some(victim) = other.or(self.nodes.first()).map(|(_, node)| node.cid) {
                    self.nodes.retain(|(_, node)| node.cid != victim);
                }
            }
            _ => {}
        }
        let commit = self.commit.block();
        let mut blocks = [self.nodes, self.records, vec![(self.commit.rev, commit.clone())]].concat();
        blocks.sort_by_cached_key(|(rev, block)| std::cmp::Reverse((rev.clone(), block.cid.to_string())));
        blocks.dedup();
        let mut blocks: Vec<Block> = blocks.into_iter().map(|(_, block)| block).collect();
        match damage {
            Some(Damage::FlippedBit) => flip_bit(&mut blocks, commit.cid),
            Some(Damage::MissingCommit) => blocks.retain(|block| block.cid != commit.cid),
            Some(Damage::NoBlocks) => blocks.clear(),
            Some(Damage::DuplicateBlocks) => blocks.extend_from_within(..),
            Some(Damage::ExtraBlock) => blocks.push(Block::encode(&"belongs to nothing")),
            _ => {}
        }
        let mut car = write_car(vec![commit.cid], &blocks);
        match damage {
            Some(Damage::Truncated) => car.truncate(car.len() - 7),
            Some(Damage::TruncatedLength) => car.push(0x80),
            _ => {}
        }
        (commit, car)
    }
}

/// The CAR of these blocks, without a root, as getBlocks answers; of the damages, those that concern blocks.
pub(crate) fn damaged_blocks(mut blocks: Vec<Block>, damage: Option<Damage>) -> Vec<u8> {
    match damage {
        Some(Damage::FlippedBit) => flip_bit(&mut blocks, Block::encode(&"none of them").cid),
        Some(Damage::MissingNode) => drop(blocks.pop()),
        Some(Damage::NoBlocks) => blocks.clear(),
        Some(Damage::DuplicateBlocks) => blocks.extend_from_within(..),
        Some(Damage::ExtraBlock) => blocks.push(Block::encode(&"belongs to nothing")),
        _ => {}
    }
    let mut car = write_car(Vec::new(), &blocks);
    if damage == Some(Damage::Truncated) {
        car.truncate(car.len() - 7);
    }
    car
}

fn flip_bit(blocks: &mut [Block], commit: Cid) {
    let victim = blocks.iter().position(|block| block.cid != commit).unwrap_or(0);
    let mut bytes = blocks[victim].bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    blocks[victim].bytes = bytes.into();
}
