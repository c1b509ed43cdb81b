//! Whole repos: opened as a backfill opens them, and what of it is hashing.

use bytes::Bytes;
use fake_network::Curve;
use signpost::repo::dag_cbor::record_to_json;
use signpost::repo::{DagCid, KeepLimits, SnapshotRecord, Trust, open_repo};
use signpost::syntax::{CollectionFilter, Did};

use crate::corpus::{Corpus, DID, Shape, public_key};
use crate::measure::Bench;

pub fn run(bench: &Bench) {
    if ["open_giant", "count", "read", "hash"].iter().any(|name| bench.wants(name)) || bench.wants("hash") {
        giant(bench);
    }
    if bench.wants("open_collections") {
        open(
            bench,
            "open_collections",
            "100,000 records in 500 collections, 20% matching",
            Shape::Collections(500),
            (100_000, 20_000),
        );
    }
    if bench.wants("open_matching") {
        open(bench, "open_matching", "100,000 records, all matching", Shape::Atcr, (100_000, 100_000));
    }
    if bench.wants("open_tiny") {
        open(bench, "open_tiny", "20 records, 20% matching, signature checked", Shape::Collections(5), (20, 4));
    }
    if bench.wants("json") {
        json(bench);
    }
}

fn giant(bench: &Bench) {
    const RECORDS: usize = 100_000;
    let corpus = Corpus::new(Shape::OnePercent, RECORDS, Curve::K256);
    let car = corpus.car();
    let shape = format!("100,000 records, {:.1} MB, 1% matching", car.len() as f64 / 1e6);
    let blocks = blocks(&car);
    bench.row("hash", &format!("the {} blocks of that repo, alone", blocks.len()), "records", RECORDS, || {
        blocks.iter().fold(0, |sum, block| sum ^ DagCid::for_block(block).digest()[0])
    });
    bench.row("count", &shape, "records", RECORDS, || signpost::repo::car::count_blocks(&car).expect("sound"));
    bench.row("read", &shape, "records", RECORDS, || signpost::repo::car::read(&car).expect("sound").block_count());
    opened(bench, "open_giant", &shape, &corpus, car.into(), (RECORDS, RECORDS / 100));
}

fn open(bench: &Bench, name: &str, text: &str, shape: Shape, (records, matching): (usize, usize)) {
    let corpus = Corpus::new(shape, records, Curve::K256);
    opened(bench, name, text, &corpus, corpus.car().into(), (records, matching));
}

fn opened(bench: &Bench, name: &str, text: &str, corpus: &Corpus, car: Bytes, (records, matching): (usize, usize)) {
    let (did, trust) = (Did::parse(DID).expect("a DID"), Trust::from(public_key(&corpus.key)));
    let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
    let limits = KeepLimits::of_records(200_000);
    bench.row(name, text, "records", records, || {
        let snapshot = open_repo(car.clone(), &did, &trust, u64::MAX, &filter, &limits).expect("a sound repo");
        assert_eq!(snapshot.records().len(), matching);
        snapshot
    });
}

/// The record of an archive that match, to JSON.
fn json(bench: &Bench) {
    let corpus = Corpus::new(Shape::Collections(5), 1_000, Curve::K256);
    let (did, trust) = (Did::parse(DID).expect("a DID"), Trust::from(public_key(&corpus.key)));
    let (everything, limits) = (CollectionFilter::parse("*").expect("a filter"), KeepLimits::of_records(1_000));
    let snapshot = open_repo(corpus.car().into(), &did, &trust, u64::MAX, &everything, &limits).expect("a sound repo");
    let records: Vec<&[u8]> = snapshot.records().map(|(.., record)| block_of(record)).collect();
    let bytes: usize = records.iter().map(|record| record.len()).sum();
    bench.row(
        "json",
        &format!("records of {} bytes on average", bytes / records.len()),
        "records",
        records.len(),
        || records.iter().map(|record| record_to_json(record).expect("a record").json.len()).sum::<usize>(),
    );
}

fn block_of(record: SnapshotRecord<'_>) -> &[u8] {
    match record {
        SnapshotRecord::Block { bytes, .. } => bytes,
        SnapshotRecord::Skipped(reason) => panic!("the corpus has no such record: {reason:?}"),
    }
}

/// The blocks of an archive, which is known to be sound: their lengths are read without a check.
fn blocks(car: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut blocks) = (car, Vec::new());
    while !rest.is_empty() {
        let (mut len, mut shift) = (0, 0);
        while let Some((&byte, after)) = rest.split_first() {
            (len, shift, rest) = (len | usize::from(byte & 0x7f) << shift, shift + 7, after);
            if byte < 0x80 {
                break;
            }
        }
        let (section, after) = rest.split_at(len);
        blocks.push(section);
        rest = after;
    }
    // The first section is the header; the others begin with a CID of 36 bytes.
    blocks.iter().skip(1).map(|section| &section[36..]).collect()
}
