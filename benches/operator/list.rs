//! listReposByCollection, pages of 500, with 8 keep-alive connections: from the database with cursors that nobody asked for before, and
//! from the pages that are kept. Beside them what the same bytes cost of a server that does nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use data_encoding::BASE64URL_NOPAD;
use fake_network::Network;
use serde_json::Value;

use crate::database::{self, collection};
use crate::floor::Floor;
use crate::load::{self, Client};
use crate::report;
use crate::signpost::{Signpost, Usage, database_path, directory};

const PAGE: usize = 500;
const CONNECTIONS: usize = 8;
const WARM_UP: usize = 400;
const REQUESTS: usize = 20_000;
/// `SIGNPOST_BENCH_REPOS=10000000` adds a size to these: that one takes some minutes and 5 GB.
const SIZES: [i64; 3] = [10_000, 100_000, 1_000_000];
const LIST: &str = "/xrpc/com.atproto.sync.listReposByCollection";

/// Each size, and for the largest every kind of query.
pub async fn run() {
    let network = Network::start().await;
    let more = std::env::var("SIGNPOST_BENCH_REPOS").ok().map(|repos| repos.parse().expect("a number of repos"));
    let sizes: Vec<i64> = SIZES.into_iter().chain(more).collect();
    for repos in &sizes {
        let directory = directory();
        let path = database_path(&directory);
        database::make(&path, *repos, 0).await;
        let corpus = describe(&path, *repos);
        let signpost = Signpost::start(&path, &network);
        let one = format!("{LIST}?collection={}&limit={PAGE}", collection(1));
        let cursors = cursors(signpost.url(), &one, *repos).await;
        measure(&signpost, &format!("{corpus}, 1 collection, random cursors"), cursors).await;
        if repos == sizes.last().expect("there are some") {
            kinds(&signpost, &corpus, *repos, &one).await;
        }
    }
}

/// From exec to the first answer, with 10 million records.
pub async fn start() {
    const RECORDS: i64 = 10_000_000;
    let network = Network::start().await;
    let directory = directory();
    let path = database_path(&directory);
    database::make(&path, 1_000_000, RECORDS).await;
    for number in ["first", "second"] {
        let began = Instant::now();
        let signpost = Signpost::start(&path, &network);
        let page = format!("{LIST}?collection={}&limit={PAGE}", collection(1));
        Client::connect(signpost.url()).await.get(&page).await;
        let (took, used) = (began.elapsed(), signpost.usage());
        let figures = [
            report::ms("first answer", took),
            report::cpu(&used),
            report::mib("anonymous", used.anonymous_bytes),
            report::mib("resident", used.rss_bytes),
        ];
        report::line("start", &format!("{RECORDS} records of 1000000 repos, {number} start"), &figures);
        signpost.stop();
    }
}

fn describe(path: &Path, repos: i64) -> String {
    let (pairs, bytes) = database::pairs(path);
    let figures = [format!("{:.1} bytes a (DID, collection) pair", bytes as f64 / pairs as f64)];
    report::line(
        "list",
        &format!("{repos} did:plc, {pairs} pairs, with the lists of the collections and the pattern"),
        &figures,
    );
    format!("{repos} DIDs")
}

async fn kinds(signpost: &Signpost, corpus: &str, repos: i64, one: &str) {
    let query = |collections: &str| format!("{LIST}?collection={collections}&limit={PAGE}");
    let ten: Vec<String> = (1..=10).map(collection).collect();
    for (what, path) in [
        ("the filter's pattern over 20 collections", query("io.atcr.*")),
        ("another pattern over 20 collections", query("io.atcr.bench.*")),
        ("union of 10 collections", query(&ten.join("&collection="))),
    ] {
        let cursors = cursors(signpost.url(), &path, repos).await;
        measure(signpost, &format!("{corpus}, {what}, random cursors"), cursors).await;
    }
    let page = Client::connect(signpost.url()).await.get(one).await.len();
    measure(signpost, &format!("{corpus}, 1 collection, one page"), vec![one.to_owned()]).await;
    let floor = Floor::start(page);
    load::run(floor.url(), Arc::new([one.to_owned()]), CONNECTIONS, WARM_UP).await;
    let before = floor.usage();
    let load = load::run(floor.url(), Arc::new([one.to_owned()]), CONNECTIONS, REQUESTS).await;
    tell("hyper alone, the same bytes from memory", &load, &floor.usage().since(&before));
}

async fn measure(signpost: &Signpost, corpus: &str, paths: Vec<String>) {
    let paths: Arc<[String]> = paths.into();
    load::run(signpost.url(), paths.clone(), CONNECTIONS, WARM_UP).await;
    let before = signpost.usage();
    let load = load::run(signpost.url(), paths, CONNECTIONS, REQUESTS).await;
    tell(corpus, &load, &signpost.usage().since(&before));
}

fn tell(corpus: &str, load: &load::Load, used: &Usage) {
    report::line(
        "list",
        &format!("{corpus}, {PAGE} DIDs a page, {CONNECTIONS} connections"),
        &[
            report::rate("requests", load.requests(), load.took),
            report::ms("p50", load.percentile(50)),
            report::ms("p99", load.percentile(99)),
            report::cpu_each("request", used, load.requests()),
            report::mib("anonymous", used.anonymous_bytes),
        ],
    );
}

/// Pages that begin anywhere in the list: its cursors with the last repo's id replaced.
async fn cursors(url: &str, path: &str, repos: i64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(2);
    let answer: Value = serde_json::from_str(Client::connect(url).await.get(path).await).expect("JSON");
    let cursor = answer["cursor"].as_str().expect("there is more than a page");
    let mut bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).expect("base64url");
    let id_at = bytes.len() - 8;
    let mut any = || {
        bytes[id_at..].copy_from_slice(&random.i64(0..repos * 99 / 100).to_be_bytes());
        format!("{path}&cursor={}", BASE64URL_NOPAD.encode(&bytes))
    };
    (0..REQUESTS).map(|_| any()).collect()
}
