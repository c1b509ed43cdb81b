//! Repos of several shapes, signed and whole, built by the fake network: no code of ours has a part in them.

use fake_network::offline::{OfflineRepo, Telling};
use fake_network::{Curve, SigningKey, Write, tid};
use serde_json::{Value, json};

pub const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
/// The year 2024, in microseconds.
const BASE_MICROS: u64 = 1_704_067_200_000_000;
/// One record a minute.
const PACE_MICROS: u64 = 60_000_000;

/// What a repo holds.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Posts and likes as people write them, and of a hundred records one of ATCR.
    OnePercent,
    /// Records of ATCR alone.
    Atcr,
    /// So many collections, in turn; 20 of each 100 are of ATCR.
    Collections(usize),
}

/// A repo, its key, and what it looks like to whoever fetches it.
pub struct Corpus {
    pub repo: OfflineRepo,
    pub key: SigningKey,
    pub shape: Shape,
    pub records: usize,
}

impl Corpus {
    /// A repo of so many records.
    pub fn new(shape: Shape, records: usize, curve: Curve) -> Corpus {
        let key = SigningKey::derive(curve, 6, "pure");
        let mut repo = OfflineRepo::create(DID, &tid(BASE_MICROS), &key);
        repo.load((0..records).map(|number| write(shape, number)), &rev(records), &key);
        Corpus { repo, key, shape, records }
    }

    /// The answer of getRepo, its blocks as the reference PDS orders them: all are of one commit, so by their hashes.
    pub fn car(&self) -> Vec<u8> {
        self.repo.car(None, &self.key)
    }

    /// The frame of a commit that makes one more record.
    pub fn next_frame(&mut self) -> Vec<u8> {
        let number = self.records;
        self.records += 1;
        let change = self.repo.apply(vec![write(self.shape, number)], &rev(self.records), &self.key);
        let change = change.expect("a new record changes the repo");
        self.repo.commit_frame(number as i64, change, Telling::default(), &self.key)
    }
}

/// The key as DID documents have it.
pub fn public_key(key: &SigningKey) -> signpost::repo::PublicKey {
    signpost::repo::PublicKey::from_did_key(&key.did_key()).expect("a key of the protocol")
}

fn rev(records: usize) -> String {
    tid(BASE_MICROS + (records as u64 + 1) * PACE_MICROS)
}

fn write(shape: Shape, number: usize) -> Write {
    match shape {
        Shape::OnePercent if number.is_multiple_of(100) => manifest("io.atcr.manifest", number),
        Shape::OnePercent if number.is_multiple_of(3) => post("app.bsky.feed.post", number),
        Shape::OnePercent => like(number),
        Shape::Atcr => manifest("io.atcr.manifest", number),
        Shape::Collections(count) => match number % count {
            at if at * 5 < count => manifest(&format!("io.atcr.kind{at}"), number),
            at => post(&format!("com.example.kind{at}"), number),
        },
    }
}

/// Keys as time gives them.
fn rkey(number: usize) -> String {
    tid(BASE_MICROS + number as u64 * PACE_MICROS)
}

/// Digests as keys: new records land anywhere.
fn manifest(collection: &str, number: usize) -> Write {
    let digest = format!("{:032x}", fastrand::Rng::with_seed(number as u64).u128(..));
    let record = json!({
        "$type": collection,
        "repository": format!("project-{}", number % 17),
        "digest": format!("sha256:{digest}"),
        "holdDid": "did:web:hold01.example.com",
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "schemaVersion": 2,
        "size": 10_000 + number,
        "createdAt": "2026-03-01T12:00:00.000Z",
    });
    Write::put(collection, &digest, record)
}

fn post(collection: &str, number: usize) -> Write {
    const WORDS: [&str; 8] = ["harbour", "evening", "of", "the", "lanterns", "quietly", "bread", "north"];
    let mut random = fastrand::Rng::with_seed(number as u64);
    let text: Vec<&str> = (0..random.usize(3..30)).filter_map(|_| random.choice(WORDS)).collect();
    let record = json!({
        "$type": collection,
        "text": text.join(" "),
        "langs": ["en"],
        "reply": random.bool().then(|| reply(&mut random)),
        "createdAt": "2026-03-01T12:00:00.000Z",
    });
    Write::put(collection, &rkey(number), record)
}

fn like(number: usize) -> Write {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let record = json!({
        "$type": "app.bsky.feed.like",
        "subject": strong_ref(&mut random),
        "createdAt": "2026-03-01T12:00:00.000Z",
    });
    Write::put("app.bsky.feed.like", &rkey(number), record)
}

fn reply(random: &mut fastrand::Rng) -> Value {
    json!({ "root": strong_ref(random), "parent": strong_ref(random) })
}

fn strong_ref(random: &mut fastrand::Rng) -> Value {
    let cid = fake_network::block::cid_of(&random.u64(..).to_be_bytes());
    let rkey = tid(BASE_MICROS + random.u64(..1 << 50));
    json!({ "cid": cid.to_string(), "uri": format!("at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/{rkey}") })
}
