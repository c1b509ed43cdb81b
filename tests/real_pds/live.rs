//! What arrives over the firehose of a PDS that is followed.

use serde_json::json;

use crate::index::await_index_equal_to_walk;
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";

/// A PDS with a did:plc account and a did:web hold, both listed.
fn followed() -> (Pds, Account, Account, Signpost) {
    let pds = Pds::start();
    let account = pds.account("writer");
    let hold = pds.did_web_hold("hold");
    for captain in [&account, &hold] {
        captain.put(CAPTAIN, "self", json!({ "owner": captain.did }));
    }
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&account, &hold]);
    (pds, account, hold, signpost)
}

#[test]
fn creates_updates_and_deletes_reach_the_index() {
    let (pds, account, hold, signpost) = followed();
    for writer in [&account, &hold] {
        writer.put(CREW, "one", json!({ "member": "first" }));
        writer.put(CREW, "two", json!({ "member": "second" }));
        writer.put(CAPTAIN, "self", json!({ "owner": "another" }));
        writer.delete(CREW, "one");
        writer.put("com.example.note", "self", json!({ "text": "not for signpost" }));
    }
    signpost.await_listed(CREW, &[&account, &hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn repo_is_unlisted_when_the_last_record_of_the_collection_is_deleted() {
    let (pds, account, hold, signpost) = followed();
    hold.put(CREW, "one", json!({ "member": "first" }));
    hold.put(CREW, "two", json!({ "member": "second" }));
    signpost.await_listed(CREW, &[&hold]);

    hold.delete(CREW, "one");
    await_index_equal_to_walk(&signpost, &[&pds]);
    assert_eq!(signpost.listed(CREW), std::slice::from_ref(&hold.did), "one record is left");

    hold.delete(CREW, "two");
    signpost.await_listed(CREW, &[]);
    signpost.await_listed(CAPTAIN, &[&account, &hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn commit_of_many_records_reaches_the_index() {
    let (pds, account, _hold, signpost) = followed();
    account.create_many("io.atcr.manifest", 0..200);
    account.create_many("io.atcr.manifest", 200..300);
    signpost.await_listed("io.atcr.manifest", &[&account]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn account_made_on_a_followed_pds_is_listed() {
    let (pds, account, hold, signpost) = followed();
    let later = pds.account("later");
    later.put(CAPTAIN, "self", json!({ "owner": later.did }));
    let later_hold = pds.did_web_hold("laterhold");
    later_hold.put(CAPTAIN, "self", json!({ "owner": later.did }));
    signpost.await_listed(CAPTAIN, &[&account, &hold, &later, &later_hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}
