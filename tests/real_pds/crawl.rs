//! What is found by crawling: everything that was written before the announcement.

use serde_json::json;

use crate::index::await_index_equal_to_walk;
use crate::pds::Pds;
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";

#[test]
fn records_written_before_the_crawl_are_listed_and_indexed() {
    let pds = Pds::start();
    let alice = pds.account("alice");
    let bob = pds.account("bob");
    let hold = pds.did_web_hold("hold");
    hold.put(CAPTAIN, "self", json!({ "owner": alice.did, "public": true }));
    hold.put(CREW, "with:colons", json!({ "member": bob.did, "role": null, "name": "Böb \"B\"" }));
    alice.put(
        CAPTAIN,
        "self",
        json!({ "digest": { "$bytes": "AQID" },
        "manifest": { "$link": "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454" } }),
    );
    alice.create_many("io.atcr.manifest", 0..150);
    alice.put("com.example.note", "self", json!({ "text": "not for signpost" }));
    bob.put("io.atcrx.neighbour", "self", json!({ "text": "not for signpost" }));

    let signpost = Signpost::start();
    signpost.request_crawl(&pds);

    signpost.await_listed(CAPTAIN, &[&alice, &hold]);
    signpost.await_listed(CREW, &[&hold]);
    signpost.await_listed("io.atcr.manifest", &[&alice]);
    signpost.await_listed("io.atcr.hold.*", &[&alice, &hold]);
    signpost.await_listed("io.atcr.*", &[&alice, &hold]);
    signpost.await_listed("io.atcr.never.written", &[]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn second_pds_joins_the_same_instance() {
    let (first, second) = (Pds::start(), Pds::start());
    let here = first.account("here");
    here.put(CAPTAIN, "self", json!({ "owner": here.did }));
    let there = second.account("there");
    there.put(CAPTAIN, "self", json!({ "owner": there.did }));

    let signpost = Signpost::start();
    signpost.request_crawl(&first);
    signpost.await_listed(CAPTAIN, &[&here]);
    signpost.request_crawl(&second);
    signpost.await_listed(CAPTAIN, &[&here, &there]);

    here.put(CREW, "one", json!({ "member": there.did }));
    there.put(CREW, "one", json!({ "member": here.did }));
    signpost.await_listed(CREW, &[&here, &there]);
    await_index_equal_to_walk(&signpost, &[&first, &second]);
}

#[test]
fn announcing_a_known_pds_again_changes_nothing() {
    let pds = Pds::start();
    let hold = pds.account("hold");
    hold.put(CAPTAIN, "self", json!({ "owner": hold.did }));
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&hold]);
    signpost.request_crawl(&pds);
    signpost.request_crawl(&pds);
    hold.put(CREW, "one", json!({ "member": hold.did }));
    signpost.await_listed(CREW, &[&hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}
