//! Live commits by themselves, and signatures.

use fake_network::Curve;
use signpost::repo::cid::Link;
use signpost::repo::dag_cbor::Reader;
use signpost::repo::mst::{PartialTree, TreeAction, TreeOp};
use signpost::repo::{DagCid, car, commit};

use crate::corpus::{Corpus, Shape, public_key};
use crate::measure::Bench;

const EVENTS: usize = 200;
const RECORDS: usize = 2_000;

pub fn run(bench: &Bench) {
    if bench.wants("commit") {
        commits(bench);
    }
    for (name, curve) in [("signature_k256", Curve::K256), ("signature_p256", Curve::P256)] {
        if bench.wants(name) {
            signature(bench, name, curve);
        }
    }
}

/// What an event says, as far as its tree needs it.
struct Told<'f> {
    head: DagCid,
    prev_data: DagCid,
    blocks: &'f [u8],
    path: &'f str,
    cid: Link<'f>,
}

fn commits(bench: &Bench) {
    let mut corpus = Corpus::new(Shape::OnePercent, RECORDS, Curve::K256);
    let frames: Vec<Vec<u8>> = (0..EVENTS).map(|_| corpus.next_frame()).collect();
    let told: Vec<Told<'_>> = frames.iter().map(|frame| told(frame)).collect();
    let bytes: usize = told.iter().map(|event| event.blocks.len()).sum();
    let text = format!("one new record in a repo of {RECORDS}, {} bytes of blocks", bytes / EVENTS);
    bench.row("commit_car", &text, "commits", EVENTS, || {
        told.iter().map(|event| car::read(event.blocks).expect("sound").block_count()).sum::<usize>()
    });
    let cars: Vec<_> = told.iter().map(|event| car::read(event.blocks).expect("sound")).collect();
    bench.row("commit_parse", &text, "commits", EVENTS, || {
        let parsed = |(car, event): (&car::Car<'_>, &Told<'_>)| {
            let block = car.get(&event.head).expect("the head is there");
            commit::parse(event.head, block).expect("a commit").into_commit().rev
        };
        cars.iter().zip(&told).map(parsed).max()
    });
    let roots: Vec<DagCid> = cars
        .iter()
        .zip(&told)
        .map(|(car, event)| {
            let block = car.get(&event.head).expect("the head is there");
            commit::parse(event.head, block).expect("a commit").into_commit().data
        })
        .collect();
    bench.row("commit_inversion", &text, "commits", EVENTS, || {
        for ((car, event), root) in cars.iter().zip(&told).zip(&roots) {
            let tree = PartialTree::open(car, root).expect("a tree");
            let op = TreeOp { path: event.path, action: TreeAction::Create(event.cid) };
            assert_eq!(tree.invert(&[op]), Ok(event.prev_data));
        }
    });
}

fn told(frame: &[u8]) -> Told<'_> {
    let mut header = Reader::strict(frame);
    header.skip().expect("a header");
    let mut body = Reader::strict(&frame[header.position()..]);
    let (mut head, mut prev_data, mut blocks, mut path, mut cid) = (None, None, None, None, None);
    for _ in 0..body.map().expect("a map") {
        match body.text().expect("a key") {
            "commit" => head = body.link().expect("a link").dag(),
            "prevData" => prev_data = body.link().expect("a link").dag(),
            "blocks" => blocks = Some(body.bytes().expect("bytes")),
            "ops" => {
                assert_eq!(body.list(), Ok(1));
                for _ in 0..body.map().expect("an op") {
                    match body.text().expect("a key") {
                        "path" => path = Some(body.text().expect("a path")),
                        "cid" => cid = Some(body.link().expect("a link")),
                        _ => body.skip().expect("a value"),
                    }
                }
            }
            _ => body.skip().expect("a value"),
        }
    }
    let told = || Some(Told { head: head?, prev_data: prev_data?, blocks: blocks?, path: path?, cid: cid? });
    told().expect("a #commit has all of them")
}

fn signature(bench: &Bench, name: &str, curve: Curve) {
    let corpus = Corpus::new(Shape::Atcr, 1, curve);
    let (message, public) = ([7; 180], public_key(&corpus.key));
    let signature = corpus.key.sign(&message);
    bench.row(name, "a commit's 180 bytes", "signatures", 1, || public.verify(&message, &signature).expect("it holds"));
}
