//! Any nodes as a tree: the whole walk, that over a range, the partial tree and inversion tell the same story about it.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use ipld_core::ipld::Ipld;
use libfuzzer_sys::fuzz_target;
use signpost::repo::mst::{Extent, Lookup, MstError, PartialTree, TreeAction, TreeOp, walk};
use signpost::repo::{DagCid, Link, car};
use signpost::syntax::{KeyRange, Nsid};

/// A node that can link only to those before it; the last one is the root.
#[derive(Arbitrary, Debug)]
struct Node {
    is_missing: bool,
    left: Option<u8>,
    entries: Vec<Entry>,
}

#[derive(Arbitrary, Debug)]
struct Entry {
    shared: Option<u8>,
    key: Vec<u8>,
    right: Option<u8>,
}

fuzz_target!(|nodes: Vec<Node>| {
    let mut cids = Vec::new();
    let mut bytes = Vec::new();
    write_section(&mut bytes, &[&encode([("roots", Ipld::List(Vec::new())), ("version", Ipld::Integer(1))])]);
    for node in &nodes {
        let block = node.encode(&cids);
        let cid = DagCid::for_block(&block);
        if !node.is_missing {
            write_section(&mut bytes, &[&cid.to_cid_bytes(), &block]);
        }
        cids.push(cid);
    }
    let Some(root) = cids.last() else { return };
    let car = car::read(&bytes).expect("well formed");

    let mut leaves = Vec::new();
    let whole = walk(&car, root, None, Extent::Whole, |key, link| leaves.push((key.to_vec(), link)));
    let partial = PartialTree::open(&car, root);
    match (whole, partial) {
        (Ok(walked), Ok(tree)) => {
            assert_eq!((walked.keys_estimate, walked.missing), (leaves.len() as u64, Vec::new()));
            check_range(&car, root, &leaves);
            let mut ops = Vec::new();
            for (key, link) in &leaves {
                let Ok(path) = std::str::from_utf8(key) else {
                    return;
                };
                assert_eq!(tree.lookup(path), Lookup::Present(*link));
                ops.push(TreeOp { path, action: TreeAction::Create(*link) });
            }
            let empty = encode([("e", Ipld::List(Vec::new())), ("l", Ipld::Null)]);
            assert_eq!(tree.invert(&ops), Ok(DagCid::for_block(&empty)));
        }
        (Ok(_), Err(error)) => panic!("a whole tree is a partial one, too: {error}"),
        // Of what is missing the partial tree says nothing; a wrong order behind it the walk does not reach.
        (Err(MstError::MissingNode(_) | MstError::KeysTooLarge), _) => {}
        (Err(error), Ok(_)) => panic!("broken, but not seen in the partial tree: {error}"),
        (Err(_), Err(_)) => {}
    }
});

/// Of a sound tree, the middle third of its keys.
fn check_range(car: &car::Car<'_>, root: &DagCid, leaves: &[(Vec<u8>, Link<'_>)]) {
    let text = |at: usize| leaves.get(at).and_then(|(key, _)| std::str::from_utf8(key).ok());
    let (from, to) = (leaves.len() / 3, leaves.len() / 3 * 2);
    let (Some(start), Some(end)) = (text(from), text(to)) else { return };
    let range = KeyRange { start: start.into(), end: end.into(), collection: Nsid::parse("a.b.c").expect("valid") };
    for extent in [Extent::Whole, Extent::Part] {
        let mut found = Vec::new();
        let walked =
            walk(car, root, Some(std::slice::from_ref(&range)), extent, |key, link| found.push((key.to_vec(), link)));
        assert_eq!(found, leaves[from..to]);
        assert_eq!(
            walked.map(|walked| (walked.in_ranges_estimate, walked.missing)),
            Ok(((to - from) as u64, Vec::new()))
        );
    }
}

impl Node {
    fn encode(&self, before: &[DagCid]) -> Vec<u8> {
        let link = |index: &Option<u8>| match index.map(usize::from).and_then(|index| before.iter().rev().nth(index)) {
            Some(cid) => ipld_link(cid),
            None => Ipld::Null,
        };
        let mut previous: &[u8] = &[];
        let mut entries = Vec::new();
        for entry in &self.entries {
            let exact = entry.key.iter().zip(previous).take_while(|(a, b)| a == b).count();
            let shared = entry.shared.map_or(exact, usize::from);
            let suffix = entry.key.get(shared..).unwrap_or(&entry.key).to_vec();
            entries.push(map([
                ("k", Ipld::Bytes(suffix)),
                ("p", Ipld::Integer(shared as i128)),
                ("t", link(&entry.right)),
                ("v", ipld_link(&DagCid::for_block(&entry.key))),
            ]));
            previous = &entry.key;
        }
        encode([("e", Ipld::List(entries)), ("l", link(&self.left))])
    }
}

fn ipld_link(cid: &DagCid) -> Ipld {
    Ipld::Link(cid::Cid::try_from(cid.to_cid_bytes().as_slice()).expect("a CID"))
}

fn map<const N: usize>(fields: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(BTreeMap::from(fields.map(|(name, value)| (name.to_owned(), value))))
}

fn encode<const N: usize>(fields: [(&str, Ipld); N]) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(&map(fields)).expect("encodes")
}

fn write_section(car: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut len = parts.iter().map(|part| part.len()).sum::<usize>();
    while len >= 0x80 {
        car.push(len as u8 | 0x80);
        len >>= 7;
    }
    car.push(len as u8);
    parts.iter().for_each(|part| car.extend(*part));
}
