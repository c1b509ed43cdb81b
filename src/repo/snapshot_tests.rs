//! Whole repos, sound and broken in every way that the tree allows.

use ipld_core::ipld::Ipld;
use proptest::prelude::*;

use super::model::{
    self, Blocks, Keys, NOW_MICROS, Repo, SigningKey, build_tree, did, encode, entry, level, link, map, put, write_car,
};
use super::mst::MstError;
use super::*;
use crate::syntax::CollectionFilter;

const KEEP: KeepLimits = KeepLimits { records: 1000, collections: 1000, path_bytes: 100_000 };

fn open(car: Vec<u8>, filter: &str) -> Result<Snapshot, RepoError> {
    let filter = CollectionFilter::parse(filter).expect("a filter");
    open_repo(car.into(), &did(), &SigningKey::k256(1).public().into(), NOW_MICROS, &filter, &KEEP)
}

fn key() -> SigningKey {
    SigningKey::k256(1)
}

fn record(n: usize) -> Vec<u8> {
    encode(map([("n", Ipld::Integer(n as i128))]))
}

fn repo_of(paths: &[&str]) -> Repo {
    Repo::new(paths.iter().enumerate().map(|(n, path)| (path.to_string(), record(n))), &key())
}

/// The error of opening a repo whose tree is made by hand.
fn tree_error(build: impl FnOnce(&mut Blocks) -> DagCid) -> MstError {
    let mut blocks = Blocks::new();
    let data = build(&mut blocks);
    match open(Repo::with_tree(data, blocks, &key()).car(), "*").map(|_| ()) {
        Err(RepoError::Tree(error)) => error,
        other => panic!("expected an error in the tree, not {other:?}"),
    }
}

/// The first path of this level among those that end in a number.
fn path_of_level(wanted: u8, prefix: &str) -> String {
    (0..1_000_000).map(|n| format!("{prefix}{n:06}")).find(|path| level(path.as_bytes()) == wanted).expect("one")
}

fn node(left: Ipld, entries: Vec<Ipld>) -> Vec<u8> {
    encode(map([("l", left), ("e", Ipld::List(entries))]))
}

fn leaf() -> Ipld {
    link(&DagCid::for_block(b"record"))
}

#[test]
fn matching_records_come_in_order_and_the_others_are_counted() {
    let repo = repo_of(&["io.atcr.tag/b", "io.atcr.tag/a", "io.atcrx.tag/a", "io.atcr.hold.captain/self", "a.b.c/d"]);
    let snapshot = open(repo.car(), "io.atcr.*").expect("sound");
    assert_eq!((snapshot.leaf_count, snapshot.commit.data, snapshot.commit.cid), (5, repo.data, repo.commit));
    let records: Vec<_> = snapshot.records().collect();
    let block = |n: usize, cid: DagCid| (cid, record(n));
    let expected = [("io.atcr.hold.captain", "self", 3), ("io.atcr.tag", "a", 1), ("io.atcr.tag", "b", 0)];
    assert_eq!(records.len(), expected.len());
    for ((collection, rkey, found), (want_collection, want_rkey, n)) in records.into_iter().zip(expected) {
        assert_eq!((collection, rkey), (want_collection, want_rkey));
        let (cid, bytes) = block(n, DagCid::for_block(&record(n)));
        assert_eq!(found, SnapshotRecord::Block { cid, bytes: &bytes });
    }
}

#[test]
fn more_records_than_are_kept_are_verified_and_the_first_ones_kept() {
    let repo = repo_of(&["app.x.y/1", "io.atcr.a/1", "io.atcr.a/2", "io.atcr.b/1", "io.atcr.c/1", "zz.x.y/1"]);
    let open = |limits: KeepLimits| {
        let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
        let car = repo.car();
        let needed = memory_needed(&car, &limits).expect("sound");
        let snapshot =
            open_repo(car.into(), &did(), &key().public().into(), NOW_MICROS, &filter, &limits).expect("sound");
        assert!(snapshot.kept_bytes() <= needed, "{} of {needed}", snapshot.kept_bytes());
        assert_eq!(snapshot.leaf_count, 6, "it was walked to its end");
        (snapshot.records().len(), snapshot.over_limit > 0)
    };
    let enough = KeepLimits { records: 4, collections: 3, path_bytes: 4 * 11 };
    assert_eq!(open(enough), (4, false));
    assert_eq!(open(KeepLimits { records: 3, ..enough }), (3, true));
    assert_eq!(open(KeepLimits { records: 0, ..enough }), (0, true));
    assert_eq!(open(KeepLimits { collections: 2, ..enough }), (3, true));
    assert_eq!(open(KeepLimits { collections: 1, ..enough }), (2, true));
    assert_eq!(open(KeepLimits { path_bytes: 4 * 11 - 1, ..enough }), (3, true));
}

#[test]
fn the_nodes_on_the_way_are_bounded_together() {
    let keys = |level_wanted, count| -> Vec<Ipld> {
        let paths =
            (0..).map(|n| format!("a.b.c/{level_wanted}{n:07}")).filter(|path| level(path.as_bytes()) == level_wanted);
        let mut before = String::new();
        let entries = paths.take(count).map(|path| {
            let shared = before.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
            before = path.clone();
            entry(shared, &path.as_bytes()[shared..], leaf(), Ipld::Null)
        });
        entries.collect()
    };
    let error = tree_error(|blocks| {
        let mut child = Ipld::Null;
        for level in 0..3 {
            child = link(&put(blocks, node(child, keys(level, 7_000))));
        }
        let Ipld::Link(root) = child else { unreachable!() };
        DagCid::from_cid_bytes(&root.to_bytes()).expect("ours")
    });
    assert_eq!(error, MstError::TooManyEntries);
}

#[test]
fn an_empty_repo_is_a_repo() {
    let snapshot = open(repo_of(&[]).car(), "*").expect("sound");
    assert_eq!((snapshot.leaf_count, snapshot.records().len()), (0, 0));
}

#[test]
fn records_that_cannot_be_indexed_are_skipped_with_a_reason() {
    let (raw, good) = (vec![0x01, 0x55, 0x12, 0x20], record(1));
    let mut blocks = Blocks::new();
    let good = put(&mut blocks, good);
    let large = put(&mut blocks, vec![0; 1_000_001]);
    let largest = put(&mut blocks, vec![0; 1_000_000]);
    let missing = DagCid::for_block(b"nowhere");
    let foreign = Ipld::Link(::cid::Cid::try_from([raw.as_slice(), good.digest()].concat().as_slice()).expect("a CID"));
    let values: Vec<(&[u8], Ipld, Option<SkipReason>)> = vec![
        (b"a.b.c/0", foreign, Some(SkipReason::ForeignCid)),
        (b"a.b.c/1", link(&missing), Some(SkipReason::MissingBlock)),
        (b"a.b.c/2", link(&large), Some(SkipReason::TooLarge)),
        (b"a.b.c/4", link(&largest), None),
        (b"a.b.c/5/6", link(&good), Some(SkipReason::InvalidPath)),
        (b"a.b.c/ ", link(&good), Some(SkipReason::InvalidPath)),
        (b"a.b.c/\xff", link(&good), Some(SkipReason::InvalidPath)),
        (b"a.b.c/", link(&good), Some(SkipReason::InvalidPath)),
        (b"a.b.c", link(&good), Some(SkipReason::InvalidPath)),
        (b"a.b/x", link(&good), Some(SkipReason::InvalidPath)),
        (b"\xff.b.c/x", link(&good), Some(SkipReason::InvalidPath)),
        (b"/x", link(&good), Some(SkipReason::InvalidPath)),
    ];
    for (path, value, reason) in values {
        let mut blocks = blocks.clone();
        let mut data = put(&mut blocks, node(Ipld::Null, vec![entry(0, path, value, Ipld::Null)]));
        let level_0 = level(path) == 0;
        let snapshot = open(Repo::with_tree(data, blocks.clone(), &key()).car(), "*").expect("sound");
        let (_, _, found) = snapshot.records().next().expect("one record");
        match reason {
            Some(reason) => assert_eq!(found, SnapshotRecord::Skipped(reason), "{path:?}"),
            None => assert!(matches!(found, SnapshotRecord::Block { .. }), "{path:?}"),
        }
        // Outside the filter nothing of this is judged.
        let snapshot = open(Repo::with_tree(data, blocks.clone(), &key()).car(), "io.atcr.*").expect("sound");
        assert_eq!((snapshot.leaf_count, snapshot.records().len()), (1, 0));
        if level_0 {
            // Never a node below the lowest level.
            let child = put(&mut blocks, node(Ipld::Null, vec![entry(0, b"z.z.z/z", leaf(), Ipld::Null)]));
            data = put(&mut blocks, node(Ipld::Null, vec![entry(0, path, leaf(), link(&child))]));
            let error = open(Repo::with_tree(data, blocks, &key()).car(), "*").map(|_| ());
            assert_eq!(error, Err(RepoError::Tree(MstError::BelowLowestLevel)));
        }
    }
}

#[test]
fn the_commit_must_be_there_signed_and_the_accounts() {
    let repo = repo_of(&["a.b.c/d"]);
    let others = |cid: &DagCid| repo.blocks.iter().filter(|(c, _)| *c != cid).collect::<Vec<_>>();
    let error = |car| open(car, "*").map(|_| ()).expect_err("refused");
    assert_eq!(error(write_car(&[repo.commit], others(&repo.commit))), RepoError::MissingCommit(repo.commit));
    assert_eq!(error(write_car(&[], &repo.blocks)), RepoError::NoRoot);
    assert!(matches!(error(write_car(&[repo.data], &repo.blocks)), RepoError::Commit(_)));
    assert_eq!(error(write_car(&[repo.commit], others(&repo.data))), RepoError::Tree(MstError::MissingNode(repo.data)));
    let filter = CollectionFilter::parse("*").expect("a filter");
    let stranger =
        open_repo(repo.car().into(), &did(), &SigningKey::k256(2).public().into(), NOW_MICROS, &filter, &KEEP);
    assert_eq!(stranger.map(|_| ()).expect_err("refused").reason(), "signature_mismatch");
    let open_as = |did: &str, now_micros| {
        let did = crate::syntax::Did::parse(did).expect("valid");
        open_repo(repo.car().into(), &did, &key().public().into(), now_micros, &filter, &KEEP)
            .map(|_| ())
            .expect_err("refused")
    };
    assert_eq!(open_as("did:web:example.com", NOW_MICROS).reason(), "commit_did_other");
    assert_eq!(open_as(did().as_str(), 0).reason(), "commit_rev_future");
    let p256 = SigningKey::p256();
    let repo = Repo::new([("a.b.c/d".to_owned(), record(1))], &p256);
    assert!(open_repo(repo.car().into(), &did(), &p256.public().into(), NOW_MICROS, &filter, &KEEP).is_ok());
}

#[test]
fn a_truncated_repo_is_never_opened() {
    let bytes = repo_of(&["a.b.c/d", "a.b.c/e", "a.b.d/f"]).car();
    let whole = open(bytes.clone(), "*").expect("sound");
    for end in 0..bytes.len() {
        if let Ok(snapshot) = open(bytes[..end].to_vec(), "*") {
            // The last block may be a record, whose absence only that record suffers from.
            let missing =
                |(_, _, r): &(_, _, SnapshotRecord<'_>)| *r == SnapshotRecord::Skipped(SkipReason::MissingBlock);
            assert_eq!(snapshot.leaf_count, whole.leaf_count);
            assert!(snapshot.records().any(|record| missing(&record)));
        }
    }
}

#[test]
fn keys_out_of_order_or_wrongly_compressed_are_refused() {
    let low = |prefix: &str| path_of_level(0, prefix);
    let (a, b) = (low("a.b.c/"), low("a.b.d/"));
    let pair = |first: Ipld, second: Ipld| tree_error(|blocks| put(blocks, node(Ipld::Null, vec![first, second])));
    let whole = |key: &str| entry(0, key.as_bytes(), leaf(), Ipld::Null);
    let after = |shared: usize, key: &str| entry(shared, &key.as_bytes()[shared..], leaf(), Ipld::Null);
    assert_eq!(pair(whole(&b), after(4, &a)), MstError::KeyOrder);
    assert_eq!(pair(whole(&a), after(a.len(), &a)), MstError::KeyOrder);
    assert_eq!(pair(whole(&a), whole(&b)), MstError::PrefixLength);
    assert_eq!(pair(whole(&a), after(3, &b)), MstError::PrefixLength);
    assert_eq!(pair(whole(&a), after(5, &b)), MstError::PrefixLength);
    assert_eq!(pair(after(1, &a), after(4, &b)), MstError::PrefixLength);
    assert_eq!(pair(whole(""), whole(&b)), MstError::KeyLength);
}

#[test]
fn keys_across_nodes_must_ascend() {
    let (low_a, high, low_z) = (path_of_level(0, "a.b.a/"), path_of_level(1, "a.b.m/"), path_of_level(0, "a.b.z/"));
    let child = |key: &str, blocks: &mut Blocks| {
        link(&put(blocks, node(Ipld::Null, vec![entry(0, key.as_bytes(), leaf(), Ipld::Null)])))
    };
    let root = |left: Ipld, right: Ipld| node(left, vec![entry(0, high.as_bytes(), leaf(), right)]);
    let error = |left: &str, right: &str| {
        tree_error(|blocks| {
            let (left, right) = (child(left, blocks), child(right, blocks));
            put(blocks, root(left, right))
        })
    };
    assert_eq!(error(&low_z, &low_a), MstError::KeyOrder);
    assert_eq!(error(&low_a, &low_a), MstError::KeyOrder, "a node in two places");
    let sound = |blocks: &mut Blocks| {
        let (left, right) = (child(&low_a, blocks), child(&low_z, blocks));
        put(blocks, root(left, right))
    };
    let mut blocks = Blocks::new();
    let data = sound(&mut blocks);
    assert_eq!(open(Repo::with_tree(data, blocks, &key()).car(), "*").expect("sound").leaf_count, 3);
}

#[test]
fn keys_stand_at_the_level_of_their_hash() {
    let (low, high) = (path_of_level(0, "a.b.a/"), path_of_level(2, "a.b.m/"));
    let wrong_in_one_node = tree_error(|blocks| {
        let entries =
            vec![entry(0, low.as_bytes(), leaf(), Ipld::Null), entry(4, &high.as_bytes()[4..], leaf(), Ipld::Null)];
        put(blocks, node(Ipld::Null, entries))
    });
    assert_eq!(wrong_in_one_node, MstError::KeyLevel);
    // Two levels below, without the node in between.
    let skipping = tree_error(|blocks| {
        let child = put(blocks, node(Ipld::Null, vec![entry(0, low.as_bytes(), leaf(), Ipld::Null)]));
        put(blocks, node(link(&child), vec![entry(0, high.as_bytes(), leaf(), Ipld::Null)]))
    });
    assert_eq!(skipping, MstError::KeyLevel);
    // With it, the tree is sound.
    let mut blocks = Blocks::new();
    let child = put(&mut blocks, node(Ipld::Null, vec![entry(0, low.as_bytes(), leaf(), Ipld::Null)]));
    let between = put(&mut blocks, node(link(&child), Vec::new()));
    let data = put(&mut blocks, node(link(&between), vec![entry(0, high.as_bytes(), leaf(), Ipld::Null)]));
    assert_eq!(open(Repo::with_tree(data, blocks, &key()).car(), "*").expect("sound").leaf_count, 2);
}

#[test]
fn nodes_without_keys_are_refused_where_the_tree_has_no_place_for_them() {
    let (low, high) = (path_of_level(0, "a.b.a/"), path_of_level(1, "a.b.m/"));
    let empty_child = tree_error(|blocks| {
        let child = put(blocks, node(Ipld::Null, Vec::new()));
        put(blocks, node(link(&child), vec![entry(0, high.as_bytes(), leaf(), Ipld::Null)]))
    });
    assert_eq!(empty_child, MstError::EmptyNode);
    let bare_root = tree_error(|blocks| {
        let child = put(blocks, node(Ipld::Null, vec![entry(0, low.as_bytes(), leaf(), Ipld::Null)]));
        put(blocks, node(link(&child), Vec::new()))
    });
    assert_eq!(bare_root, MstError::BareRoot);
}

#[test]
fn what_no_range_meets_is_not_decoded_and_must_be_there() {
    let (outside, inside) = (path_of_level(1, "app.b.m/"), path_of_level(0, "io.atcr.a/"));
    let node_of = |key: &str, value: &DagCid| node(Ipld::Null, vec![entry(0, key.as_bytes(), link(value), Ipld::Null)]);
    let repo = |left: &[u8], right: &[u8]| {
        let mut blocks = Blocks::new();
        put(&mut blocks, record(1));
        let (left, right) = (put(&mut blocks, left.to_vec()), put(&mut blocks, right.to_vec()));
        let root = node(link(&left), vec![entry(0, outside.as_bytes(), leaf(), link(&right))]);
        let data = put(&mut blocks, root);
        (Repo::with_tree(data, blocks, &key()), left, right)
    };
    let error = |repo: &Repo, filter: &str| open(repo.car(), filter).map(|_| ()).expect_err("refused");
    let good = node_of(&inside, &DagCid::for_block(&record(1)));
    let (mut half_broken, left, _) = repo(b"no node", &good);
    assert!(matches!(error(&half_broken, "*"), RepoError::Tree(MstError::Decode(_))));
    let snapshot = open(half_broken.car(), "io.atcr.*").expect("nothing is wrong with what matches");
    assert_eq!(snapshot.records().map(|(_, rkey, _)| rkey).collect::<Vec<_>>(), [&inside["io.atcr.a/".len()..]]);
    half_broken.blocks.remove(&left);
    assert_eq!(error(&half_broken, "io.atcr.*"), RepoError::Tree(MstError::MissingNode(left)));
    // Broken where a match could be.
    let (broken, ..) = repo(&node_of(&path_of_level(0, "app.b.a/"), &left), b"no node");
    assert!(matches!(error(&broken, "io.atcr.*"), RepoError::Tree(MstError::Decode(_))));
    assert!(matches!(error(&broken, "zz.y.*"), RepoError::Tree(MstError::Decode(_))));
    assert!(open(broken.car(), "aa.y.*").is_ok());
    // A key that matches, where none may be: a filter that meets the place finds it out of order.
    let (hiding, ..) = repo(&good, &node_of(&path_of_level(0, "zz.y.x/"), &left));
    assert_eq!(open(hiding.car(), "io.atcr.*").expect("no match is proven").records().len(), 0);
    assert_eq!(error(&hiding, "app.a.*"), RepoError::Tree(MstError::KeyOrder));
}

#[test]
fn nodes_have_exactly_their_fields_in_canonical_form() {
    let path = path_of_level(0, "a.b.a/");
    let fields = |extra: &[(&str, Ipld)]| {
        let Ipld::Map(mut entry) = entry(0, path.as_bytes(), leaf(), Ipld::Null) else { unreachable!() };
        entry.extend(extra.iter().map(|(name, value)| (name.to_string(), value.clone())));
        encode(map([("l", Ipld::Null), ("e", Ipld::List(vec![Ipld::Map(entry)]))]))
    };
    let blob =
        Ipld::Link(::cid::Cid::try_from("bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity").expect("a CID"));
    assert!(matches!(tree_error(|blocks| put(blocks, fields(&[("x", Ipld::Null)]))), MstError::Decode(_)));
    assert!(matches!(tree_error(|blocks| put(blocks, fields(&[("p", Ipld::Null)]))), MstError::Decode(_)));
    assert!(matches!(tree_error(|blocks| put(blocks, fields(&[("v", Ipld::Null)]))), MstError::Decode(_)));
    assert_eq!(tree_error(|blocks| put(blocks, fields(&[("t", blob)]))), MstError::ForeignNodeLink);
    let no_left = encode(map([("e", Ipld::List(Vec::new()))]));
    assert!(matches!(tree_error(|blocks| put(blocks, no_left)), MstError::Decode(_)));
    let sound = fields(&[]);
    for end in 0..sound.len() {
        assert!(matches!(tree_error(|blocks| put(blocks, sound[..end].to_vec())), MstError::Decode(_)), "{end}");
    }
}

#[test]
fn entries_of_a_node_are_bounded() {
    let paths = (0..).map(|n| format!("a.b.c/{n:07}")).filter(|path| level(path.as_bytes()) == 0);
    let mut blocks = Blocks::new();
    let keys: Keys = paths.take(10_001).map(|path| (path.into_bytes(), DagCid::for_block(b""))).collect();
    let data = build_tree(&keys, &mut blocks);
    let error = open(Repo::with_tree(data, blocks, &key()).car(), "*").map(|_| ());
    assert_eq!(error, Err(RepoError::Tree(MstError::TooManyEntries)));
}

#[test]
fn keys_that_unpack_to_far_more_than_their_archive_are_refused() {
    let prefix = format!("a.b.c/{}", "x".repeat(1000));
    let paths = (0..).map(|n| format!("{prefix}{n:07}")).filter(|path| level(path.as_bytes()) == 0);
    let mut blocks = Blocks::new();
    let keys: Keys = paths.take(9_000).map(|path| (path.into_bytes(), DagCid::for_block(b""))).collect();
    let data = build_tree(&keys, &mut blocks);
    let error = open(Repo::with_tree(data, blocks, &key()).car(), "*").map(|_| ());
    assert_eq!(error, Err(RepoError::Tree(MstError::KeysTooLarge)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_repo_opens_to_what_it_holds(paths in prop::collection::btree_set("(io\\.atcr|app\\.bsky)\\.[a-c]/[a-z0-9]{1,8}", 0..200)) {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let repo = repo_of(&paths);
        let snapshot = open(repo.car(), "io.atcr.*").expect("sound");
        prop_assert_eq!(open(repo.car(), "*").expect("sound").leaf_count, paths.len() as u64);
        let found: Vec<String> = snapshot.records().map(|(collection, rkey, _)| format!("{collection}/{rkey}")).collect();
        let wanted: Vec<&str> = paths.iter().copied().filter(|path| path.starts_with("io.atcr.")).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn hostile_repos_are_refused_or_opened_but_never_panic(at in 0..3000_usize, with in any::<[u8; 2]>()) {
        let mut bytes = repo_of(&["a.b.c/d", "a.b.c/e", "a.b.d/f", "a.b.d/g", "io.atcr.tag/x"]).car();
        bytes.iter_mut().skip(at).zip(with).for_each(|(byte, new)| *byte = new);
        if let Ok(snapshot) = open(bytes, "*") {
            prop_assert_eq!(snapshot.records().count(), 5);
        }
    }
}

#[test]
fn model_and_reference_agree_on_the_empty_tree() {
    let mut blocks = model::Blocks::new();
    let root = build_tree(&Keys::new(), &mut blocks);
    assert_eq!(root.to_string(), "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
}
