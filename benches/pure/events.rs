//! Live commits by themselves, and signatures.

use fake_network::Curve;
use signpost::repo::mst::{PartialTree, TreeAction, TreeOp};
use signpost::repo::{DagCid, car, commit};

use crate::corpus::{Corpus, Shape, public_key};
use crate::measure::Bench;
use crate::told::{Told, told};

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

fn signature(bench: &Bench, name: &str, curve: Curve) {
    let corpus = Corpus::new(Shape::Atcr, 1, curve);
    let (message, public) = ([7; 180], public_key(&corpus.key));
    let signature = corpus.key.sign(&message);
    bench.row(name, "a commit's 180 bytes", "signatures", 1, || public.verify(&message, &signature).expect("it holds"));
}
