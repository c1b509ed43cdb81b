//! What becomes of an account: hidden, back, gone, renamed.

use serde_json::json;

use crate::index::await_index_equal_to_walk;
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";

/// A PDS with a hold, and a neighbour that stays listed whatever happens to the hold.
fn hold_and_neighbour() -> (Pds, Account, Account, Signpost) {
    let pds = Pds::start();
    let hold = pds.did_web_hold("hold");
    let neighbour = pds.account("neighbour");
    for captain in [&hold, &neighbour] {
        captain.put(CAPTAIN, "self", json!({ "owner": captain.did }));
    }
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&hold, &neighbour]);
    (pds, hold, neighbour, signpost)
}

#[test]
fn deactivated_account_is_hidden_and_comes_back_when_activated() {
    let (pds, hold, neighbour, signpost) = hold_and_neighbour();
    hold.act("deactivate");
    signpost.await_listed(CAPTAIN, &[&neighbour]);
    signpost.await_status(&hold, Some("deactivated"));

    hold.act("activate");
    signpost.await_listed(CAPTAIN, &[&hold, &neighbour]);
    signpost.await_status(&hold, None);
    hold.put(CREW, "one", json!({ "member": neighbour.did }));
    signpost.await_listed(CREW, &[&hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn account_taken_down_is_hidden_until_the_takedown_is_reversed() {
    let (pds, hold, neighbour, signpost) = hold_and_neighbour();
    neighbour.act("takedown");
    signpost.await_listed(CAPTAIN, &[&hold]);
    signpost.await_status(&neighbour, Some("takendown"));

    neighbour.act("untakedown");
    signpost.await_listed(CAPTAIN, &[&hold, &neighbour]);
    signpost.await_status(&neighbour, None);
    neighbour.put(CREW, "one", json!({ "member": hold.did }));
    signpost.await_listed(CREW, &[&neighbour]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn deleted_account_is_gone_and_known_as_deleted() {
    let (pds, hold, neighbour, signpost) = hold_and_neighbour();
    neighbour.act("deleteAccount");
    signpost.await_listed(CAPTAIN, &[&hold]);
    signpost.await_status(&neighbour, Some("deleted"));
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn account_that_was_inactive_at_the_crawl_is_listed_once_it_is_active() {
    let pds = Pds::start();
    let sleeper = pds.account("sleeper");
    sleeper.put(CAPTAIN, "self", json!({ "owner": sleeper.did }));
    let neighbour = pds.account("neighbour");
    neighbour.put(CAPTAIN, "self", json!({ "owner": neighbour.did }));
    sleeper.act("deactivate");

    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&neighbour]);
    signpost.await_status(&sleeper, Some("deactivated"));
    sleeper.act("activate");
    signpost.await_listed(CAPTAIN, &[&neighbour, &sleeper]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn account_with_a_new_handle_is_still_followed() {
    let (pds, hold, neighbour, signpost) = hold_and_neighbour();
    neighbour.rename("renamed.test");
    neighbour.put(CREW, "one", json!({ "member": hold.did }));
    signpost.await_listed(CREW, &[&neighbour]);
    signpost.await_listed(CAPTAIN, &[&hold, &neighbour]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}
