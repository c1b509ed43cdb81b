//! Repos fetched in part, against the same repos fetched whole; and what a host can leave out or forge.

use std::collections::BTreeSet;

use ipld_core::ipld::Ipld;
use proptest::prelude::*;

use super::commit::CommitError;
use super::model::{self, Blocks, NOW_MICROS, Repo, SigningKey, did, encode, level, link, map, put, write_car};
use super::mst::MstError;
use super::*;
use crate::syntax::{CollectionFilter, KeyRange};

const KEEP: KeepLimits = KeepLimits { records: 1000, collections: 1000, path_bytes: 100_000 };

fn key() -> SigningKey {
    SigningKey::k256(1)
}

fn record(n: usize) -> Vec<u8> {
    encode(map([("n", Ipld::Integer(n as i128))]))
}

fn repo_of<P: AsRef<str>>(paths: &[P]) -> Repo {
    Repo::new(paths.iter().enumerate().map(|(n, path)| (path.as_ref().to_owned(), record(n))), &key())
}

fn filter_of(text: &str) -> (CollectionFilter, Vec<KeyRange>) {
    let filter = CollectionFilter::parse(text).expect("a filter");
    let ranges = filter.key_ranges().expect("bounds");
    (filter, ranges)
}

/// A repo as its host holds it; the tree's nodes by what they say, to walk as a host does.
struct Host {
    repo: Repo,
}

impl Host {
    /// The nodes on the way to a key, as getRecord gives them: none that only its neighbours need.
    fn way(&self, wanted: &str) -> Vec<DagCid> {
        let (mut way, mut next) = (Vec::new(), Some(self.repo.data));
        while let Some(cid) = next {
            way.push(cid);
            let node: Ipld = serde_ipld_dagcbor::from_slice(&self.repo.blocks[&cid]).expect("a node");
            let field = |of: &Ipld, name: &str| match of {
                Ipld::Map(fields) => fields[name].clone(),
                _ => unreachable!("nodes and entries are maps"),
            };
            let cid_of = |link: Ipld| match link {
                Ipld::Link(cid) => Some(DagCid::from_cid_bytes(&cid.to_bytes()).expect("ours")),
                _ => None,
            };
            let Ipld::List(entries) = field(&node, "e") else { unreachable!("a list") };
            let (mut before, mut gap) = (Vec::new(), cid_of(field(&node, "l")));
            let mut is_here = false;
            for entry in entries {
                let (Ipld::Integer(shared), Ipld::Bytes(rest)) = (field(&entry, "p"), field(&entry, "k")) else {
                    unreachable!("a number and bytes")
                };
                before.truncate(shared as usize);
                before.extend(rest);
                if before.as_slice() >= wanted.as_bytes() {
                    is_here = before.as_slice() == wanted.as_bytes();
                    break;
                }
                gap = cid_of(field(&entry, "t"));
            }
            next = gap.filter(|_| !is_here);
        }
        way
    }

    fn get_record(&self, range: &KeyRange) -> Vec<u8> {
        let key = format!("{}/-", range.collection);
        let blocks: Vec<DagCid> = [self.repo.commit].into_iter().chain(self.way(&key)).collect();
        self.car(&[self.repo.commit], &blocks)
    }

    fn get_blocks(&self, cids: &[DagCid]) -> Vec<u8> {
        self.car(&[], cids)
    }

    fn car(&self, roots: &[DagCid], cids: &[DagCid]) -> Vec<u8> {
        write_car(roots, cids.iter().map(|cid| (cid, &self.repo.blocks[cid])))
    }

    /// Fetches what a filter matches, in part; None: nothing does. Also, how many calls it took.
    fn fetch(&self, filter: &CollectionFilter, ranges: &[KeyRange]) -> (Option<Snapshot>, usize) {
        let (mut archive, mut calls) = (SparseArchive::new(self.get_record(&ranges[0])), 1);
        loop {
            let sight = archive.look(&did(), NOW_MICROS, filter, ranges).expect("sound");
            if let Some(range) = sight.undecided {
                assert_ne!(range, 0, "one answer decides its range");
                let answer = self.get_record(&ranges[range]);
                assert!(archive.add_proof(&answer, &sight).expect("sound"));
            } else if !sight.has_match {
                return (None, calls);
            } else if sight.missing.is_empty() {
                break;
            } else {
                let answer = self.get_blocks(&sight.missing);
                assert_eq!(archive.add(&answer, &sight.missing), Ok(sight.missing.len()));
            }
            calls += 1;
        }
        let trust = key().public().into();
        let opened = open_sparse(archive.into_bytes(), &did(), &trust, NOW_MICROS, filter, ranges, &KEEP);
        (Some(opened.expect("sound")), calls)
    }
}

fn rows(snapshot: &Snapshot) -> Vec<(String, String, String)> {
    let row = |(collection, rkey, record): (&str, &str, SnapshotRecord<'_>)| {
        (collection.to_owned(), rkey.to_owned(), format!("{record:?}"))
    };
    snapshot.records().map(row).collect()
}

fn whole(repo: &Repo, filter: &CollectionFilter) -> Snapshot {
    open_repo(repo.car().into(), &did(), &key().public().into(), NOW_MICROS, filter, &KEEP).expect("sound")
}

fn path() -> impl Strategy<Value = String> {
    let collection = prop_oneof![
        4 => Just("app.bsky.feed.post".to_owned()),
        1 => "io[.-]?atcr[x]?(\\.[a-c]){1,3}",
        1 => Just("io.atcr.hold".to_owned()),
        1 => "[a-z]\\.[a-z]\\.[a-z]",
        1 => Just("zz.y.x".to_owned()),
    ];
    (collection, "[a-z0-9]{1,6}").prop_map(|(collection, rkey)| format!("{collection}/{rkey}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_part_gives_the_rows_of_the_whole_and_what_is_not_decoded_has_none(
        paths in prop::collection::btree_set(path(), 0..300),
        filter in prop::sample::select(vec![
            "io.atcr.*", "io.atcr.hold", "io.*", "io.atcr.*,a.b.c", "io.atcr.a.*,io.atcr.hold,zz.*,app.bsky.feed.like", "zz.y.x",
            "app.bsky.*",
        ]),
    ) {
        let (filter, ranges) = filter_of(filter);
        let paths: Vec<String> = paths.into_iter().collect();
        let host = Host { repo: repo_of(&paths) };
        let everything = whole(&host.repo, &CollectionFilter::parse("*").expect("a filter"));
        let matching: Vec<_> = rows(&everything).into_iter().filter(|(collection, ..)| filter.matches(collection)).collect();
        let whole = whole(&host.repo, &filter);
        prop_assert_eq!(rows(&whole), matching);
        let (part, calls) = host.fetch(&filter, &ranges);
        match part {
            None => {
                prop_assert_eq!(whole.records().len(), 0);
                prop_assert!(calls <= ranges.len());
            }
            Some(part) => {
                prop_assert!(whole.records().len() > 0);
                prop_assert_eq!(rows(&part), rows(&whole));
                prop_assert_eq!((part.over_limit, &part.commit), (whole.over_limit, &whole.commit));
            }
        }
    }
}

#[test]
fn one_answer_shows_that_nothing_matches() {
    let paths: Vec<String> = (0..2000).map(|n| format!("app.bsky.feed.post/3k{n:06}")).collect();
    let mut all: Vec<&str> = paths.iter().map(String::as_str).collect();
    all.extend(["io.atcs.x/y", "zz.y.x/w"]);
    let host = Host { repo: repo_of(&all) };
    let (filter, ranges) = filter_of("io.atcr.*");
    let (part, calls) = host.fetch(&filter, &ranges);
    assert!(part.is_none());
    assert_eq!(calls, 1);
    let sight =
        SparseArchive::new(host.get_record(&ranges[0])).look(&did(), NOW_MICROS, &filter, &ranges).expect("sound");
    assert!((500..8000).contains(&sight.records_estimate), "{}", sight.records_estimate);
    assert_eq!((sight.matching_estimate, sight.commit.data), (0, host.repo.data));
}

#[test]
fn a_few_records_of_many_cost_a_few_blocks() {
    let posts = (0..20_000).map(|n| format!("app.bsky.feed.post/3k{n:06}"));
    let later = (0..5_000).map(|n| format!("zz.y.x/{n:06}"));
    let matching = (0..10).map(|n| format!("io.atcr.manifest/{n:06}"));
    let paths: Vec<String> = posts.chain(later).chain(matching).collect();
    let host = Host { repo: repo_of(&paths) };
    let (filter, ranges) = filter_of("io.atcr.*");
    let (part, calls) = host.fetch(&filter, &ranges);
    let part = part.expect("ten");
    assert_eq!(part.records().len(), 10);
    assert!(calls <= 4, "{calls}");
    let whole = whole(&host.repo, &filter);
    assert_eq!(rows(&part), rows(&whole));
    assert!(part.archive_bytes() * 100 < host.repo.car().len(), "{}", part.archive_bytes());
}

#[test]
fn limits_keep_the_same_records() {
    let host = Host { repo: repo_of(&["io.atcr.a/1", "io.atcr.a/2", "io.atcr.b/1", "io.atcr.c/1", "zz.x.y/1"]) };
    let (filter, ranges) = filter_of("io.atcr.*");
    let trust = key().public().into();
    for limits in [KeepLimits { records: 3, ..KEEP }, KeepLimits { collections: 2, ..KEEP }] {
        let car = bytes::Bytes::from(host.repo.car());
        let part = open_sparse(car.clone(), &did(), &trust, NOW_MICROS, &filter, &ranges, &limits).expect("sound");
        let whole = open_repo(car, &did(), &trust, NOW_MICROS, &filter, &limits).expect("sound");
        assert_eq!((rows(&part), part.over_limit), (rows(&whole), whole.over_limit));
        assert_eq!(part.over_limit, 1);
    }
}

/// Paths whose tree has its only node above level 0 on the left of the range, and nodes below it on both sides.
fn paths_around(filter_prefix: &str) -> Vec<String> {
    let low = (0..).map(|n| format!("app.b.c/{n}")).filter(|path| level(path.as_bytes()) == 0).take(3);
    let high = (0..).map(|n| format!("app.b.d/{n}")).filter(|path| level(path.as_bytes()) == 2).take(1);
    let inside = (0..).map(|n| format!("{filter_prefix}{n}")).filter(|path| level(path.as_bytes()) == 0).take(2);
    low.chain(high).chain(inside).collect()
}

#[test]
fn what_is_left_out_proves_nothing() {
    let host = Host { repo: repo_of(&paths_around("zz.b.c/")) };
    let (filter, ranges) = filter_of("io.atcr.*");
    let way = host.way(&format!("{}/-", ranges[0].collection));
    assert!(way.len() > 1);
    for end in 1..way.len() {
        let blocks: Vec<DagCid> = [host.repo.commit].into_iter().chain(way[..end].iter().copied()).collect();
        let archive = SparseArchive::new(host.car(&[host.repo.commit], &blocks));
        let sight = archive.look(&did(), NOW_MICROS, &filter, &ranges).expect("sound as far as it goes");
        assert_eq!((sight.undecided, sight.has_match), (Some(0), false), "{end} nodes");
        let trust = key().public().into();
        let opened = open_sparse(archive.into_bytes(), &did(), &trust, NOW_MICROS, &filter, &ranges, &KEEP);
        assert!(matches!(opened.err(), Some(RepoError::Tree(MstError::MissingNode(_)))));
    }
    let commit_only = SparseArchive::new(host.car(&[host.repo.commit], &[host.repo.commit]));
    let error = commit_only.look(&did(), NOW_MICROS, &filter, &ranges).err();
    assert_eq!(error, Some(RepoError::Tree(MstError::MissingNode(host.repo.data))));
}

#[test]
fn a_forged_answer_is_an_error() {
    let host = Host { repo: repo_of(&paths_around("zz.b.c/")) };
    let (filter, ranges) = filter_of("io.atcr.*");
    let good = host.get_record(&ranges[0]);
    let look = |car: Vec<u8>| SparseArchive::new(car).look(&did(), NOW_MICROS, &filter, &ranges);
    assert!(!look(good.clone()).expect("sound").has_match);
    for at in (60..good.len()).step_by(7) {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        assert!(look(flipped).is_err(), "bit at {at}");
    }
    assert!(look(good[..good.len() - 3].to_vec()).is_err());
    let of_another = crate::syntax::Did::parse("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").expect("valid");
    let error = SparseArchive::new(good.clone()).look(&of_another, NOW_MICROS, &filter, &ranges).err();
    assert_eq!(error, Some(RepoError::Commit(CommitError::OtherDid(did()))));
    let early = SparseArchive::new(good).look(&did(), 0, &filter, &ranges).err();
    assert!(matches!(early, Some(RepoError::Commit(CommitError::FutureRev(_)))));
    let archive = SparseArchive::new(host.repo.car());
    let trust = SigningKey::k256(2).public().into();
    let opened = open_sparse(archive.into_bytes(), &did(), &trust, NOW_MICROS, &filter, &ranges, &KEEP);
    assert!(matches!(opened.err(), Some(RepoError::Commit(CommitError::Signature(_)))));
}

/// A tree in which a child's keys are not between those around it hides nothing: it is no tree.
#[test]
fn a_child_with_keys_from_elsewhere_is_an_error() {
    let (filter, ranges) = filter_of("io.atcr.*");
    let path_of = |wanted: u8, prefix: &str| {
        (0..1_000_000).map(|n| format!("{prefix}{n}")).find(|path| level(path.as_bytes()) == wanted).expect("one")
    };
    let (root, before, behind) = (path_of(1, "app.x.y/"), path_of(0, "aaa.x.y/"), path_of(0, "zz.x.y/"));
    let tree = |left: &str, right: &str, blocks: &mut Blocks| {
        let leaf = |blocks: &mut Blocks| link(&put(blocks, record(0)));
        let node = |key: &str, blocks: &mut Blocks| {
            let entry = model::entry(0, key.as_bytes(), leaf(blocks), Ipld::Null);
            link(&put(blocks, encode(map([("l", Ipld::Null), ("e", Ipld::List(vec![entry]))]))))
        };
        let (left, right) = (node(left, blocks), node(right, blocks));
        let entry = model::entry(0, root.as_bytes(), leaf(blocks), right);
        put(blocks, encode(map([("l", left), ("e", Ipld::List(vec![entry]))])))
    };
    let look = |left: &str, right: &str| {
        let mut blocks = Blocks::new();
        let data = tree(left, right, &mut blocks);
        let repo = Repo::with_tree(data, blocks, &key());
        SparseArchive::new(repo.car()).look(&did(), NOW_MICROS, &filter, &ranges).map(|sight| sight.has_match)
    };
    assert_eq!(look(&before, &behind), Ok(false));
    assert_eq!(look(&before, &path_of(0, "io.atcr.y/")), Ok(true));
    assert_eq!(look(&before, &before), Err(RepoError::Tree(MstError::KeyOrder)));
    assert_eq!(look(&before, &path_of(2, "zz.x.y/")), Err(RepoError::Tree(MstError::KeyLevel)));
}

#[test]
fn records_of_two_paths_with_one_block_are_fetched_once() {
    let mut blocks = Blocks::new();
    let same = put(&mut blocks, record(7));
    let keys = ["io.atcr.a/1", "io.atcr.a/2", "io.atcr.b/3"].map(|path| (path.as_bytes().to_vec(), same));
    let data = model::build_tree(&keys.into_iter().collect(), &mut blocks);
    let host = Host { repo: Repo::with_tree(data, blocks, &key()) };
    let (filter, ranges) = filter_of("io.atcr.*");
    let sight =
        SparseArchive::new(host.get_record(&ranges[0])).look(&did(), NOW_MICROS, &filter, &ranges).expect("sound");
    assert_eq!(sight.missing.iter().collect::<BTreeSet<_>>().len(), sight.missing.len());
    let (part, _) = host.fetch(&filter, &ranges);
    assert_eq!(rows(&part.expect("three")), rows(&whole(&host.repo, &filter)));
}
