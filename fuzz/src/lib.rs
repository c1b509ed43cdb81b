//! What the fuzz targets share: edits of good bytes, and a repo of an account with a known key.
//!
//! Most of the code behind a hash or a signature is never reached by bytes made of nothing. So these targets begin with bytes that
//! are good and let the fuzzer edit them: whatever is accepted then must still be true.

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use bytes::Bytes;
use fake_network::offline::{OfflineRepo, Telling};
use fake_network::{Curve, SigningKey, Write, tid};
use serde_json::json;
use signpost::repo::PublicKey;
use signpost::syntax::Did;

/// One change to bytes; places wrap around their length.
#[derive(Arbitrary, Debug)]
pub enum Edit {
    /// Other bytes in the place of as many.
    Overwrite { at: u16, bytes: Vec<u8> },
    /// More bytes.
    Insert { at: u16, bytes: Vec<u8> },
    /// Fewer bytes.
    Remove { at: u16, len: u8 },
    /// Bytes from elsewhere in the place of as many.
    Copy { from: u16, to: u16, len: u8 },
}

impl Edit {
    /// The bytes after all edits.
    pub fn apply(edits: &[Edit], good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        edits.iter().for_each(|edit| edit.apply_to(&mut bytes));
        bytes
    }

    fn apply_to(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let place = |at: u16| usize::from(at) % (len + 1);
        match self {
            Edit::Overwrite { at, bytes: other } => {
                bytes.iter_mut().skip(place(*at)).zip(other).for_each(|(byte, other)| *byte = *other);
            }
            Edit::Insert { at, bytes: more } => drop(bytes.splice(place(*at)..place(*at), more.iter().copied())),
            Edit::Remove { at, len: count } => {
                drop(bytes.drain(place(*at)..(place(*at) + usize::from(*count)).min(len)));
            }
            Edit::Copy { from, to, len: count } => {
                let from = place(*from);
                let count = usize::from(*count).min(len - from).min(len - place(*to));
                bytes.copy_within(from..from + count, place(*to));
            }
        }
    }
}

/// A repo with some records, as getRepo and the firehose tell it.
pub struct Account {
    pub did: Did,
    pub key: PublicKey,
    /// Every record as (path, CID).
    pub records: Vec<(String, String)>,
    /// The head commit's CID.
    pub head: String,
    /// The CID of the tree.
    pub data: String,
    /// The answer of getRepo.
    pub car: Vec<u8>,
    /// The #commit that led to the repo as it is: a create, an update and a delete.
    pub commit_frame: Bytes,
    /// A #sync about it.
    pub sync_frame: Bytes,
}

/// The same account at every run.
pub static ACCOUNT: LazyLock<Account> = LazyLock::new(|| {
    let did = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    let key = SigningKey::derive(Curve::K256, 1, did);
    let mut repo = OfflineRepo::create(did, &tid(1_700_000_000_000_000), &key);
    let put =
        |collection: &str, n: u32| Write::put(collection, &format!("rkey{n}"), json!({ "$type": collection, "n": n }));
    let tags = (0..24).map(|n| put("io.atcr.tag", n));
    let posts = (0..8).map(|n| put("app.bsky.feed.post", n));
    let _ = repo.apply(tags.chain(posts).collect(), &tid(1_700_000_001_000_000), &key);
    let writes = vec![
        put("io.atcr.tag", 100),
        Write::put("io.atcr.tag", "rkey3", json!({ "n": "other" })),
        Write::delete("io.atcr.tag", "rkey7"),
    ];
    let rev = tid(1_700_000_002_000_000);
    let change = repo.apply(writes, &rev, &key).expect("it changes something");
    Account {
        did: Did::parse(did).expect("valid"),
        key: PublicKey::from_did_key(&key.did_key()).expect("valid"),
        records: repo.records().map(|(path, cid)| (path.to_owned(), cid)).collect(),
        head: repo.head(),
        data: repo.data(),
        car: repo.car(None, &key),
        commit_frame: repo.commit_frame(7, change, Telling::default(), &key).into(),
        sync_frame: repo.sync_frame(8, &rev, &key).into(),
    }
});
