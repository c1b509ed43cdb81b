//! A PDS of before #sync and `prevData`: what its commits replaced is known from our own rows, where they are inside the filter.

use serde_json::json;

use crate::index::{await_index_equal_to_walk, make_comparison_due};
use crate::pds::{Account, Pds, Write};
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";
const MANIFEST: &str = "io.atcr.manifest";
/// Outside the filter.
const NOTE: &str = "com.example.note";

/// A legacy PDS with a did:plc account and a did:web hold, both listed, with records inside and outside the filter.
fn followed() -> (Pds, Account, Account, Signpost) {
    let pds = Pds::start_legacy();
    let account = pds.account("writer");
    let hold = pds.did_web_hold("hold");
    for writer in [&account, &hold] {
        writer.put(CAPTAIN, "self", json!({ "owner": writer.did }));
        writer.put(NOTE, "one", json!({ "text": "not for signpost" }));
        writer.put(NOTE, "two", json!({ "text": "not for signpost" }));
    }
    account.create_many(MANIFEST, 0..100);
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&account, &hold]);
    signpost.await_listed(MANIFEST, &[&account]);
    await_index_equal_to_walk(&signpost, &[&pds]);
    (pds, account, hold, signpost)
}

#[test]
fn commits_inside_the_filter_are_proven_without_a_fetch() {
    let (pds, account, hold, signpost) = followed();
    let fetches = signpost.fetches();
    for writer in [&account, &hold] {
        writer.put(CREW, "one", json!({ "member": "first" }));
        writer.put(CREW, "one", json!({ "member": "another" }));
        writer.put(CREW, "two", json!({ "member": "second" }));
        writer.delete(CREW, "one");
        writer.put(NOTE, "three", json!({ "text": "a new one replaces nothing" }));
        writer.write_at_once(&[
            Write::Create(CREW, "three", json!({ "member": "third" })),
            Write::Update(CREW, "two", json!({ "member": "another second" })),
            Write::Delete(CAPTAIN, "self"),
            Write::Create(NOTE, "four", json!({ "text": "a new one replaces nothing" })),
        ]);
        writer.put(CAPTAIN, "self", json!({ "owner": "another" }));
    }
    signpost.await_commits("applied", 14);
    await_index_equal_to_walk(&signpost, &[&pds]);
    signpost.await_listed(CREW, &[&account, &hold]);
    assert_eq!(signpost.fetches(), fetches, "nothing was fetched for them");
    assert_eq!(signpost.commits("applied_unproven"), 0);
}

#[test]
fn trees_of_any_shape_are_proven_without_a_fetch() {
    let (pds, account, _hold, signpost) = followed();
    let fetches = signpost.fetches();
    let mut commits = 0;
    for round in 0..8 {
        let rkeys: Vec<String> = (0..12).map(|number| format!("{}", (number * 37 + round * 11) % 100)).collect();
        let deletes: Vec<Write> = rkeys.iter().map(|rkey| Write::Delete(MANIFEST, rkey)).collect();
        account.write_at_once(&deletes);
        let create = |rkey| Write::Create(MANIFEST, rkey, json!({ "round": round }));
        account.write_at_once(&rkeys.iter().map(|rkey| create(rkey.as_str())).collect::<Vec<_>>());
        account.delete(MANIFEST, &rkeys[0]);
        account.put(MANIFEST, &rkeys[0], json!({ "round": round }));
        account.put(MANIFEST, &rkeys[1], json!({ "round": "updated" }));
        commits += 5;
    }
    signpost.await_commits("applied", commits);
    await_index_equal_to_walk(&signpost, &[&pds]);
    assert_eq!(signpost.fetches(), fetches, "nothing was fetched for them");
}

#[test]
fn op_outside_the_filter_leaves_its_repo_unproven_until_the_next_comparison() {
    let (pds, account, hold, mut signpost) = followed();
    let fetches = signpost.fetches();
    account.put(NOTE, "one", json!({ "text": "what it replaces is not known" }));
    account.delete(NOTE, "two");
    account.write_at_once(&[
        Write::Update(NOTE, "one", json!({ "text": "what it replaces is not known" })),
        Write::Create(CREW, "one", json!({ "member": "first" })),
        Write::Update(CAPTAIN, "self", json!({ "owner": "another" })),
        Write::Delete(MANIFEST, "7"),
    ]);
    hold.put(CREW, "one", json!({ "member": "first" }));
    signpost.await_commits("applied_unproven", 3);
    signpost.await_commits("applied", 1);
    await_index_equal_to_walk(&signpost, &[&pds]);
    assert_eq!(signpost.fetches(), fetches, "nothing is fetched before the comparison");

    // Unproven is what is indexed, not what comes: the next commit is proven against it.
    account.put(CREW, "two", json!({ "member": "second" }));
    signpost.await_commits("applied", 2);

    for (fetched, when) in [(1, "the one repo in doubt"), (0, "nothing is in doubt any more")] {
        let database = signpost.database_path();
        signpost.kill_and_restart_after(|| make_comparison_due(&database));
        signpost.await_compared();
        signpost.await_idle();
        assert_eq!(signpost.fetches(), fetched, "{when}");
        await_index_equal_to_walk(&signpost, &[&pds]);
    }
}

#[test]
fn legacy_accounts_come_and_go() {
    let (pds, account, hold, signpost) = followed();
    hold.act("deactivate");
    signpost.await_listed(CAPTAIN, &[&account]);
    signpost.await_status(&hold, Some("deactivated"));
    hold.act("activate");
    signpost.await_listed(CAPTAIN, &[&account, &hold]);

    account.act("takedown");
    signpost.await_status(&account, Some("takendown"));
    account.act("untakedown");
    signpost.await_status(&account, None);
    account.rename("renamed.test");
    account.put(CREW, "one", json!({ "member": "first" }));
    hold.put(CREW, "one", json!({ "member": "first" }));
    signpost.await_listed(CREW, &[&account, &hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);

    let later = pds.account("later");
    later.put(CAPTAIN, "self", json!({ "owner": later.did }));
    let later_hold = pds.did_web_hold("laterhold");
    later_hold.put(CAPTAIN, "self", json!({ "owner": later.did }));
    signpost.await_listed(CAPTAIN, &[&account, &hold, &later, &later_hold]);
    account.act("deleteAccount");
    signpost.await_status(&account, Some("deleted"));
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn restarted_legacy_pds_is_followed_again() {
    let (pds, account, hold, mut signpost) = followed();
    account.put(CREW, "zero", json!({ "member": "what was heard once has a cursor" }));
    signpost.await_commits("applied", 1);
    pds.stop();
    pds.restart();
    account.put(CREW, "one", json!({ "member": "first" }));
    signpost.await_listed(CREW, &[&account]);
    signpost.kill_and_restart_after(|| {
        hold.put(CREW, "one", json!({ "member": "first" }));
        hold.put(NOTE, "one", json!({ "text": "what it replaces is not known" }));
        account.delete(CREW, "zero");
        account.delete(CREW, "one");
        account.delete(CAPTAIN, "self");
    });
    signpost.await_listed(CREW, &[&hold]);
    signpost.await_listed(CAPTAIN, &[&hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
    assert_eq!(signpost.fetches(), 0, "the replay is proven like the live events");
}
