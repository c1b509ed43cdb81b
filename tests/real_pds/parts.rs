//! Repos that are fetched in parts: what the reference PDS answers to getRecord and getBlocks.

use serde_json::json;

use crate::await_condition::await_condition;
use crate::index::await_index_equal_to_walk;
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

const CREW: &str = "io.atcr.hold.crew";

fn calls(signpost: &Signpost, call: &str) -> u64 {
    signpost.counter("signpost_repo_calls_total", &[&format!("call=\"{call}\"")])
}

fn taken(signpost: &Signpost, way: &str) -> u64 {
    signpost.counter("signpost_repos_taken_total", &[&format!("way=\"{way}\"")])
}

/// Records on both sides of the filter's range.
fn fill(account: &Account, records: usize) {
    for start in (0..records).step_by(200) {
        account.create_many("com.example.note", start..start + 100);
        account.create_many("zz.example.note", start..start + 100);
    }
}

#[test]
fn sparse_repos_come_in_parts_and_repos_without_a_match_in_one_call() {
    let pds = Pds::start();
    let (few, some, empty) = (pds.account("sparse-one"), pds.account("sparse-two"), pds.account("posts-only"));
    fill(&few, 2_000);
    fill(&some, 4_000);
    fill(&empty, 600);
    few.create_many(CREW, 0..10);
    // More records than blocks are asked for at once.
    some.create_many("io.atcr.manifest", 0..130);
    let blank = pds.account("unwritten");

    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CREW, &[&few]);
    signpost.await_listed("io.atcr.*", &[&few, &some]);
    await_index_equal_to_walk(&signpost, &[&pds]);
    await_condition("the others are taken too", || match taken(&signpost, "unmatched") {
        2 => Ok(()),
        others => Err(format!("{others}")),
    });
    assert_eq!((taken(&signpost, "part"), taken(&signpost, "whole"), calls(&signpost, "getRepo")), (2, 0, 0));
    assert_eq!(calls(&signpost, "getRecord"), 4);

    empty.put(CREW, "first", json!({ "member": blank.did }));
    blank.put(CREW, "first", json!({ "member": empty.did }));
    signpost.await_listed(CREW, &[&few, &empty, &blank]);
    few.delete(CREW, "3");
    await_index_equal_to_walk(&signpost, &[&pds]);
    assert_eq!(calls(&signpost, "getRepo"), 0, "what is live continues the parts");
}

#[test]
fn sparse_repos_of_an_old_pds_come_in_parts() {
    let pds = Pds::start_legacy();
    let (few, empty) = (pds.account("sparse-one"), pds.account("posts-only"));
    fill(&few, 2_000);
    few.create_many(CREW, 0..10);
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed("io.atcr.*", &[&few]);
    signpost.await_idle();
    await_index_equal_to_walk(&signpost, &[&pds]);
    assert_eq!((taken(&signpost, "part"), taken(&signpost, "unmatched")), (1, 1), "{}", empty.did);
}
