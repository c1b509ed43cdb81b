//! Records like those of ATCR, about 280 bytes of DAG-CBOR, and others that the filter does not concern; no two the same.

use fake_network::Write;
use serde_json::{Value, json};

const MANIFEST: &str = "io.atcr.manifest";
/// Outside the filter.
const POST: &str = "app.bsky.feed.post";

/// The writes that fill a repo with so many records.
pub fn manifests(owner: &str, numbers: std::ops::Range<usize>) -> impl Iterator<Item = Write> {
    numbers.map(move |number| put(owner, number))
}

/// One write of a new record.
pub fn one_manifest(owner: &str, number: usize) -> Vec<Write> {
    vec![put(owner, number)]
}

/// The write of a new record outside the filter.
pub fn post(number: usize) -> Write {
    let text = format!(
        "This is post {number}. There is nothing more to be said, and that takes about as long as it usually does."
    );
    let post = json!({ "$type": POST, "text": text, "langs": ["en"], "createdAt": "2026-03-01T12:00:00.000Z" });
    Write::put(POST, &rkey(number), post)
}

fn put(owner: &str, number: usize) -> Write {
    Write::put(MANIFEST, &rkey(number), manifest(owner, number))
}

/// Keys as ATCR has them, hex digests: new records land anywhere in the tree.
fn rkey(number: usize) -> String {
    let mut mixed = fastrand::Rng::with_seed(number as u64);
    format!("{:032x}", mixed.u128(..))
}

fn manifest(owner: &str, number: usize) -> Value {
    json!({
        "$type": MANIFEST,
        "repository": format!("project-{}", number % 17),
        "digest": format!("sha256:{}", rkey(number)),
        "holdDid": "did:web:hold01.example.com",
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "schemaVersion": 2,
        "size": 10_000 + number,
        "owner": owner,
        "createdAt": "2026-03-01T12:00:00.000Z",
    })
}
