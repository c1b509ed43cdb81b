//! An account gets another signing key: the PDS's own script publishes it, then sends `#identity` and `#sync`.

use serde_json::json;

use crate::index::await_index_equal_to_walk;
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";

fn followed_account() -> (Pds, Account, Signpost) {
    let pds = Pds::start();
    let account = pds.account("rotating");
    account.put(CAPTAIN, "self", json!({ "owner": account.did }));
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&account]);
    (pds, account, signpost)
}

#[test]
fn account_is_followed_when_its_key_was_rotated() {
    let (pds, account, signpost) = followed_account();
    let fetches = signpost.fetches();
    for rotation in ["first", "second"] {
        account.rotate_key();
        account.put(CREW, rotation, json!({ "member": rotation }));
        await_index_equal_to_walk(&signpost, &[&pds]);
    }
    assert_eq!(signpost.listed(CAPTAIN), std::slice::from_ref(&account.did));
    // #identity tells of the key; what was held meanwhile may be signed by the one before, and that is worth a fetch.
    assert!(signpost.fetches() <= fetches + 2, "at most one fetch for each rotation");
}

#[test]
fn key_that_was_rotated_while_signpost_was_away_is_learnt_from_the_replay() {
    let (pds, account, mut signpost) = followed_account();
    signpost.kill_and_restart_after(|| {
        account.put(CREW, "before", json!({ "member": "before" }));
        account.rotate_key();
        account.put(CREW, "after", json!({ "member": "after" }));
    });
    await_index_equal_to_walk(&signpost, &[&pds]);
    account.put(CREW, "later", json!({ "member": "later" }));
    await_index_equal_to_walk(&signpost, &[&pds]);
}
