//! What is counted: each case once, on a corpus that is small, since valgrind is fifty times slower.

use std::hint::black_box;

use bytes::Bytes;
use fake_network::Curve;
use signpost::repo::dag_cbor::record_to_json;
use signpost::repo::mst::{PartialTree, TreeAction, TreeOp};
use signpost::repo::{KeepLimits, Snapshot, SnapshotRecord, Trust, car, commit, open_repo};
use signpost::syntax::{CollectionFilter, Did};

use crate::corpus::{Corpus, DID, Shape};
use crate::told::{Told, told};

/// The names of the cases.
pub const NAMES: [&str; 5] = ["open_giant", "open_collections", "open_tiny", "commit", "json"];

/// Runs a case, whose work is one call of `measured`.
pub fn run(name: &str) {
    match name {
        "open_giant" => open(Shape::OnePercent, 3_000, 1),
        "open_collections" => open(Shape::Collections(50), 3_000, 1),
        "open_tiny" => open(Shape::Collections(5), 20, 50),
        "commit" => commits(50),
        "json" => json(500),
        unknown => panic!("no case is called {unknown}"),
    }
}

/// Valgrind counts from the beginning to the end of this function. It is found by its name.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn open(shape: Shape, records: usize, times: usize) {
    let cars: Vec<(Bytes, Trust)> = std::iter::repeat_n(corpus_car(shape, records), times).collect();
    let (did, filter, limits) = (did(), filter("io.atcr.*"), KeepLimits::of_records(records));
    measured(|| {
        cars.iter().map(|(car, trust)| opened(car, &did, trust, &filter, &limits).records().len()).sum::<usize>()
    });
}

fn opened(car: &Bytes, did: &Did, trust: &Trust, filter: &CollectionFilter, limits: &KeepLimits) -> Snapshot {
    open_repo(car.clone(), did, trust, u64::MAX, filter, limits).expect("a sound repo")
}

/// A repo, trusted for its tree: signatures are not ours to count.
fn corpus_car(shape: Shape, records: usize) -> (Bytes, Trust) {
    let corpus = Corpus::new(shape, records, Curve::K256);
    let data = corpus.repo.data().parse().expect("a CID");
    (corpus.car().into(), Trust { keys: Vec::new(), data: Some(data) })
}

/// A live commit, but for its signature.
fn commits(count: usize) {
    let mut corpus = Corpus::new(Shape::OnePercent, 2_000, Curve::K256);
    let frames: Vec<Vec<u8>> = (0..count).map(|_| corpus.next_frame()).collect();
    measured(|| frames.iter().map(|frame| told(frame)).for_each(|event| undo(&event)));
}

fn undo(event: &Told<'_>) {
    let car = car::read(event.blocks).expect("a sound archive");
    let head = commit::parse(event.head, car.get(&event.head).expect("it is there")).expect("a commit");
    let tree = PartialTree::open(&car, &head.claims().data).expect("a tree");
    let op = TreeOp { path: event.path, action: TreeAction::Create(event.cid) };
    assert_eq!(tree.invert(&[op]), Ok(event.prev_data));
}

fn json(records: usize) {
    let (car, trust) = corpus_car(Shape::OnePercent, records);
    let snapshot = opened(&car, &did(), &trust, &filter("*"), &KeepLimits::of_records(records));
    let blocks: Vec<&[u8]> = snapshot
        .records()
        .map(|(.., record)| match record {
            SnapshotRecord::Block { bytes, .. } => bytes,
            SnapshotRecord::Skipped(reason) => panic!("the corpus has no such record: {reason:?}"),
        })
        .collect();
    measured(|| blocks.iter().map(|block| record_to_json(block).expect("a record").json.len()).sum::<usize>());
}

fn did() -> Did {
    Did::parse(DID).expect("a DID")
}

fn filter(text: &str) -> CollectionFilter {
    CollectionFilter::parse(text).expect("a filter")
}
