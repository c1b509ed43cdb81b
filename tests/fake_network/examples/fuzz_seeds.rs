//! Writes what the fuzzer begins with, from the protocol's test vectors and the fake network, into `fuzz/target/found/<target>`:
//! `cargo run -p fake_network --example fuzz_seeds`. `fuzz/run` goes on from there, `fuzz/run --keep` takes it into the corpus.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use fake_network::offline::{OfflineRepo, Telling, account_frame};
use fake_network::{Curve, SigningKey, Write, block, tid};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";

const HOSTS: &str = "pds.example.com
https://pds.example.com
HTTPS://PDS.Example.Com./
http://localhost:2583
[::1]:2583
127.0.0.1
10.1.2.3:8080
0x7f000001
0177.0.0.1
127.1
1.2.3.4.5
xn--bcher-kva.example.com
pds.example.com:443
user:password@pds.example.com
pds.example.com/path
pds.example.com?query
pds.example.com#fragment
a_b.example.com
-a.example.com
pds.test
hold.internal
ftp://pds.example.com
https:pds.example.com
a..b.com
[fe80::1]
fe80::1
pds.example.com:0
pds.example.com:65536";

const PATTERNS: &str = "*
io.atcr.*
io.atcr.hold.captain
io.atcr.*, app.bsky.feed.post
io.atcr.*,io.atcr.hold.*,io.atcr.tag
io.*.atcr
*,io.atcr.tag
io.atcr.**";

const QUERIES: &str = "collection=io.atcr.hold.captain&limit=500
collection=io.atcr.*&collection=app.bsky.feed.post&cursor=
did=did%3Aplc%3A7iza6de2dwap2sbkpav7c6c6
did=did:web:localhost%253A2601
limit=+5
limit=1000&limit=1
%63ollection=a+b%2Bc
did=%ff&did=%zz%4
&&collection&=&limit=0#did=x";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (seeds, vectors) = (Seeds(root.join("fuzz/target/found")), root.join("tests/interop"));
    for file in fs::read_dir(vectors.join("syntax")).expect("readable") {
        seeds.lines("identifier", &fs::read_to_string(file.expect("readable").path()).expect("readable"));
    }
    seeds.lines("host", HOSTS);
    seeds.lines("query", QUERIES);
    for pattern in PATTERNS.lines() {
        for collection in ["io.atcr.tag", "io.atcrx.tag", "io.atcr.hold.captain", "io.atcr"] {
            seeds.write("collection_pattern", format!("{pattern}\n{collection}"));
        }
    }
    for id in [0, 1, 500, 1 << 40, i64::MAX] {
        seeds.write("list_cursor", list_cursor(id));
    }
    data_model(&seeds, &fs::read_to_string(vectors.join("data-model/data-model-fixtures.json")).expect("readable"));
    documents(&seeds);
    frames(&seeds);
}

struct Seeds(PathBuf);

impl Seeds {
    fn write(&self, target: &str, bytes: impl AsRef<[u8]>) {
        let directory = self.0.join(target);
        fs::create_dir_all(&directory).expect("writable");
        let name = block::cid_of(bytes.as_ref()).to_string();
        fs::write(directory.join(name), bytes).expect("writable");
    }

    fn lines(&self, target: &str, lines: &str) {
        lines.lines().filter(|line| !line.starts_with("# ")).for_each(|line| self.write(target, line));
    }
}

/// As the target's list writes it: a version, a tag of the list, an id.
fn list_cursor(last_id: i64) -> String {
    let tag = Sha256::digest(b"instancelistReposByCollection\0io.atcr.*\0");
    BASE64URL_NOPAD.encode(&[&[1], &tag[..8], &last_id.to_be_bytes()].concat())
}

fn data_model(seeds: &Seeds, fixtures: &str) {
    let fixtures: Vec<Value> = serde_json::from_str(fixtures).expect("JSON");
    for fixture in fixtures {
        let ipld = block::ipld_from_json(&fixture["json"]).expect("the protocol's JSON");
        seeds.write("dag_cbor", block::Block::encode(&ipld).bytes);
    }
}

fn documents(seeds: &Seeds) {
    for curve in [Curve::K256, Curve::P256] {
        let key = SigningKey::derive(curve, 1, DID);
        let (kind, multibase) = key.legacy_form();
        let service = json!([{ "id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example.com" }]);
        let document = |method: Value| {
            json!({
                "id": DID, "alsoKnownAs": ["at://Alice.example.com"], "verificationMethod": [method], "service": service,
            })
        };
        let modern = json!({ "id": format!("{DID}#atproto"), "type": "Multikey", "controller": DID, "publicKeyMultibase": key.multikey() });
        let legacy = json!({ "id": "#atproto", "type": kind, "controller": DID, "publicKeyMultibase": multibase });
        seeds.write("did_document", document(modern).to_string());
        seeds.write("did_document", document(legacy).to_string());
        let log = json!([
            { "nullified": false, "operation": { "type": "create", "signingKey": key.did_key() } },
            { "nullified": true, "operation": { "verificationMethods": { "atproto": key.did_key() } } },
            { "operation": { "verificationMethods": { "atproto": key.did_key() } } },
        ]);
        seeds.write("did_document", log.to_string());
    }
}

fn frames(seeds: &Seeds) {
    let key = SigningKey::derive(Curve::P256, 1, DID);
    let mut repo = OfflineRepo::create(DID, &tid(1), &key);
    seeds.write("frame", repo.first_commit_frame(1, &key));
    seeds.write("car", repo.car(None, &key));
    let tellings = [
        Telling::default(),
        Telling { legacy: true, ..Telling::default() },
        Telling { too_big: true, ..Telling::default() },
    ];
    for (n, telling) in tellings.into_iter().enumerate() {
        let writes =
            vec![Write::put("io.atcr.tag", &n.to_string(), json!({ "n": n })), Write::delete("io.atcr.tag", "0")];
        let change = repo.apply(writes, &tid(n as u64 + 2), &key).expect("it changes something");
        seeds.write("frame", repo.commit_frame(n as i64 + 2, change, telling, &key));
        seeds.write("car", repo.car(None, &key));
    }
    seeds.write("frame", repo.sync_frame(9, &tid(9), &key));
    seeds.write("frame", account_frame(DID, 10, true, None));
    seeds.write("frame", account_frame(DID, 11, false, Some("takendown")));
}
