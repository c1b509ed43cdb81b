//! A model to test against: trees built by their definition, archives, and commits signed with real keys.
//!
//! Test-only, and independent of the code under test: blocks are written by serde_ipld_dagcbor.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use ipld_core::ipld::Ipld;
use multibase::Base;
use sha2::{Digest, Sha256};

use super::{DagCid, PublicKey};
use crate::syntax::Did;

pub type Blocks = BTreeMap<DagCid, Vec<u8>>;
pub type Keys = BTreeMap<Vec<u8>, DagCid>;

pub const REV: &str = "3jzfcijpj2z2a";
pub const NOW_MICROS: u64 = 1_700_000_000_000_000;

pub fn did() -> Did {
    Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").expect("valid")
}

pub fn encode(value: impl Into<Ipld>) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(&value.into()).expect("encodes")
}

pub fn link(cid: &DagCid) -> Ipld {
    Ipld::Link(cid::Cid::try_from(cid.to_cid_bytes().as_slice()).expect("a CID"))
}

pub fn map<const N: usize>(entries: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

pub fn put(blocks: &mut Blocks, block: Vec<u8>) -> DagCid {
    let cid = DagCid::for_block(&block);
    blocks.insert(cid, block);
    cid
}

/// Half the leading zero bits of the key's hash, counted bit by bit.
pub fn level(key: &[u8]) -> u8 {
    let bits = Sha256::digest(key).iter().map(|byte| format!("{byte:08b}")).collect::<String>();
    (bits.bytes().take_while(|bit| *bit == b'0').count() / 2) as u8
}

/// Builds the tree of these keys; gives its root.
pub fn build_tree(keys: &Keys, blocks: &mut Blocks) -> DagCid {
    let keys: Vec<_> = keys.iter().map(|(key, cid)| (key.as_slice(), *cid)).collect();
    let top = keys.iter().map(|(key, _)| level(key)).max().unwrap_or(0);
    build_node(&keys, top, blocks)
}

fn build_node(keys: &[(&[u8], DagCid)], at: u8, blocks: &mut Blocks) -> DagCid {
    let child = |keys: &[(&[u8], DagCid)], blocks: &mut Blocks| match keys {
        [] => Ipld::Null,
        _ => link(&build_node(keys, at - 1, blocks)),
    };
    let mut gaps = keys.split(|(key, _)| level(key) == at);
    let left = child(gaps.next().expect("one part at least"), blocks);
    let mut previous: &[u8] = &[];
    let mut entries = Vec::new();
    for (key, cid) in keys.iter().filter(|(key, _)| level(key) == at) {
        let shared = key.iter().zip(previous).take_while(|(a, b)| a == b).count();
        let right = child(gaps.next().expect("a gap behind each key"), blocks);
        entries.push(entry(shared, &key[shared..], link(cid), right));
        previous = key;
    }
    put(blocks, encode(map([("l", left), ("e", Ipld::List(entries))])))
}

pub fn entry(shared: usize, suffix: &[u8], value: Ipld, right: Ipld) -> Ipld {
    let (p, k) = (Ipld::Integer(shared as i128), Ipld::Bytes(suffix.to_vec()));
    map([("p", p), ("k", k), ("v", value), ("t", right)])
}

pub fn write_car<'b>(roots: &[DagCid], blocks: impl IntoIterator<Item = (&'b DagCid, &'b Vec<u8>)>) -> Vec<u8> {
    let roots = Ipld::List(roots.iter().map(link).collect());
    let mut car = Vec::new();
    write_section(&mut car, &[&encode(map([("version", Ipld::Integer(1)), ("roots", roots)]))]);
    for (cid, block) in blocks {
        write_section(&mut car, &[&cid.to_cid_bytes(), block]);
    }
    car
}

pub fn write_section(car: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut len = parts.iter().map(|part| part.len()).sum::<usize>();
    while len >= 0x80 {
        car.push(len as u8 | 0x80);
        len >>= 7;
    }
    car.push(len as u8);
    parts.iter().for_each(|part| car.extend(*part));
}

pub enum SigningKey {
    K256(secp256k1::SecretKey),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    pub fn k256(seed: u8) -> SigningKey {
        SigningKey::K256(secp256k1::SecretKey::from_secret_bytes([seed; 32]).expect("a scalar"))
    }

    pub fn p256() -> SigningKey {
        SigningKey::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    pub fn public(&self) -> PublicKey {
        let multikey =
            |prefix: [u8; 2], point: &[u8]| format!("z{}", Base::Base58Btc.encode([prefix.as_slice(), point].concat()));
        let text = match self {
            SigningKey::K256(key) => multikey([0xe7, 0x01], &key.public_key().serialize()),
            SigningKey::P256(pair) => {
                let point = pair.public_key().as_ref();
                multikey([0x80, 0x24], &[&[2 | point[64] & 1], &point[1..33]].concat())
            }
        };
        PublicKey::from_multikey(&text).expect("a key")
    }

    /// A low-S signature: P-256 is asked until it gives one.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            SigningKey::K256(key) => {
                let digest = secp256k1::Message::from_digest(Sha256::digest(message).into());
                key.sign_ecdsa(digest).serialize_compact().to_vec()
            }
            SigningKey::P256(pair) => loop {
                let signature = pair.sign(&SystemRandom::new(), message).expect("signs").as_ref().to_vec();
                if signature[32] < 0x7f {
                    return signature;
                }
            },
        }
    }
}

/// A repo with one signed commit.
pub struct Repo {
    pub commit: DagCid,
    pub data: DagCid,
    pub blocks: Blocks,
}

impl Repo {
    /// A repo of these records, each a path and a block.
    pub fn new(records: impl IntoIterator<Item = (String, Vec<u8>)>, key: &SigningKey) -> Repo {
        let mut blocks = Blocks::new();
        let keys = records.into_iter().map(|(path, block)| (path.into_bytes(), put(&mut blocks, block))).collect();
        let data = build_tree(&keys, &mut blocks);
        Repo::with_tree(data, blocks, key)
    }

    /// A repo of a tree that was made by hand.
    pub fn with_tree(data: DagCid, mut blocks: Blocks, key: &SigningKey) -> Repo {
        let commit = put(&mut blocks, sign_commit(commit_fields(&data), key));
        Repo { commit, data, blocks }
    }

    pub fn car(&self) -> Vec<u8> {
        write_car(&[self.commit], &self.blocks)
    }
}

pub fn commit_fields(data: &DagCid) -> BTreeMap<String, Ipld> {
    let text = |text: &str| Ipld::String(text.to_owned());
    let fields = map([
        ("did", text(did().as_str())),
        ("rev", text(REV)),
        ("data", link(data)),
        ("prev", Ipld::Null),
        ("version", Ipld::Integer(3)),
    ]);
    let Ipld::Map(fields) = fields else { unreachable!() };
    fields
}

pub fn sign_commit(mut fields: BTreeMap<String, Ipld>, key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&encode(Ipld::Map(fields.clone())));
    fields.insert("sig".to_owned(), Ipld::Bytes(signature));
    encode(Ipld::Map(fields))
}
