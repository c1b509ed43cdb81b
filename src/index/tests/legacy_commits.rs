//! Commits without `prevData` and without `ops[].prev`, proven with what is indexed.

use super::super::legacy::{LegacyOp, LegacyProof, prove};
use super::*;
use crate::repo::car;
use crate::repo::model::{Blocks, Keys, build_tree, write_car};

const HELD: [&str; 2] = ["io.atcr.a/one", "io.atcr.a/two"];
const OUTSIDE: &str = "app.bsky.feed.post/one";

/// A tree of these paths, each with the record of the number beside it.
fn keys(paths: &[(&str, u8)]) -> Keys {
    paths.iter().map(|(path, n)| (path.as_bytes().to_vec(), cid(*n))).collect()
}

fn op(path: &str, cid: Option<DagCid>, is_create: bool) -> LegacyOp {
    LegacyOp { path: path.to_owned(), cid, prev: None, is_create, is_indexed: path.starts_with("io.atcr.") }
}

/// What is proven of `ops` that led from `before` to `after`, when `indexed` are the rows.
async fn proof(before: Keys, after: Keys, ops: Vec<LegacyOp>, indexed: &'static [(&'static str, u8)]) -> LegacyProof {
    let index = Index::new().await;
    let changes: Vec<RecordChange> = indexed
        .iter()
        .map(|(path, n)| {
            let (collection, rkey) = path.split_once('/').expect("a path");
            let (collection, rkey) = (collection.to_owned(), rkey.to_owned());
            RecordChange::Put { collection, rkey, cid: cid(*n), json: "{}".to_owned(), is_update: false }
        })
        .collect();
    index.take_in(HERE, vec![commit(4, changes)]).await;
    let from = build_tree(&before, &mut Blocks::new());
    let mut blocks = Blocks::new();
    let to = build_tree(&after, &mut blocks);
    let bytes = write_car(&[to], &blocks);
    index
        .write(move |tx| {
            let car = car::read(&bytes).expect("a CAR");
            prove(tx, RepoId(1), &car, &to, &ops, &from)
        })
        .await
}

#[tokio::test]
async fn our_own_rows_tell_what_an_old_hosts_ops_replaced() {
    let before = keys(&[(HELD[0], 1), (HELD[1], 2), (OUTSIDE, 3)]);
    let after = keys(&[(HELD[0], 9), (OUTSIDE, 3), ("io.atcr.b/new", 5)]);
    let ops = vec![op(HELD[0], Some(cid(9)), false), op(HELD[1], None, false), op("io.atcr.b/new", Some(cid(5)), true)];
    assert_eq!(proof(before, after, ops, &[(HELD[0], 1), (HELD[1], 2)]).await, LegacyProof::Whole);
}

#[tokio::test]
async fn an_op_that_was_left_out_is_noticed() {
    let before = keys(&[(HELD[0], 1), (HELD[1], 2)]);
    let after = keys(&[(HELD[0], 9)]);
    let ops = vec![op(HELD[0], Some(cid(9)), false)];
    assert_eq!(proof(before, after, ops, &[(HELD[0], 1), (HELD[1], 2)]).await, LegacyProof::None);
}

#[tokio::test]
async fn a_create_outside_the_filter_is_proven_too() {
    let before = keys(&[(HELD[0], 1)]);
    let after = keys(&[(HELD[0], 1), (OUTSIDE, 3)]);
    let ops = vec![op(OUTSIDE, Some(cid(3)), true)];
    assert_eq!(proof(before, after, ops, &[(HELD[0], 1)]).await, LegacyProof::Whole);
}

#[tokio::test]
async fn an_update_outside_the_filter_leaves_the_ops_inside_it_true_and_no_more() {
    let before = keys(&[(HELD[0], 1), (OUTSIDE, 3)]);
    let after = keys(&[(HELD[0], 9), (OUTSIDE, 4)]);
    let ops = vec![op(OUTSIDE, Some(cid(4)), false), op(HELD[0], Some(cid(9)), false)];
    assert_eq!(proof(before.clone(), after.clone(), ops, &[(HELD[0], 1)]).await, LegacyProof::OpsOnly);
    let lies = [op(HELD[0], Some(cid(8)), false), op(HELD[0], None, false), op(HELD[1], Some(cid(9)), true)];
    for lie in lies {
        let ops = vec![op(OUTSIDE, Some(cid(4)), false), lie];
        assert_eq!(proof(before.clone(), after.clone(), ops, &[(HELD[0], 1)]).await, LegacyProof::None);
    }
}

#[tokio::test]
async fn what_the_host_says_of_a_replaced_record_is_taken_before_our_row() {
    let before = keys(&[(OUTSIDE, 3)]);
    let after = keys(&[(OUTSIDE, 4)]);
    let told = LegacyOp { prev: Some(cid(3)), ..op(OUTSIDE, Some(cid(4)), false) };
    assert_eq!(proof(before, after, vec![told], &[]).await, LegacyProof::Whole);
}

#[tokio::test]
async fn a_tree_that_is_not_in_the_event_proves_nothing() {
    let index = Index::new().await;
    let proof = index
        .write(|tx| {
            let bytes = write_car(&[cid(1)], &Blocks::new());
            let car = car::read(&bytes).expect("a CAR");
            prove(tx, RepoId(1), &car, &cid(1), &[], &cid(1))
        })
        .await;
    assert_eq!(proof, LegacyProof::None);
}
