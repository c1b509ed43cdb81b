//! Processes that end at the wrong moment: the PDS, and signpost itself.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::await_condition::await_condition;
use crate::index::{await_index_equal_to_walk, indexed_count};
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";

fn followed_hold() -> (Pds, Account, Signpost) {
    let pds = Pds::start();
    let hold = pds.did_web_hold("hold");
    hold.put(CAPTAIN, "self", json!({ "owner": hold.did }));
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&hold]);
    (pds, hold, signpost)
}

#[test]
fn restarted_pds_is_followed_again() {
    let (pds, hold, signpost) = followed_hold();
    pds.stop();
    assert_eq!(signpost.listed(CAPTAIN), std::slice::from_ref(&hold.did), "a PDS that is down stays listed");
    pds.restart();
    hold.put(CREW, "one", json!({ "member": "first" }));
    signpost.await_listed(CREW, &[&hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn announcement_survives_a_kill_right_after_its_answer() {
    let pds = Pds::start();
    let hold = pds.account("hold");
    hold.put(CAPTAIN, "self", json!({ "owner": hold.did }));
    let mut signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.kill_and_restart();
    signpost.await_listed(CAPTAIN, &[&hold]);
}

#[test]
fn backfill_goes_on_after_kills() {
    let pds = Pds::start();
    let accounts: Vec<Account> = (0..30).map(|number| pds.account(&format!("account{number}"))).collect();
    for account in &accounts {
        account.create_many("io.atcr.manifest", 0..20);
    }
    let mut signpost = Signpost::start();
    signpost.request_crawl(&pds);
    for step in 1..=4 {
        let enough = step * 100;
        await_condition("the backfill goes on", || match indexed_count(&signpost) {
            count if count >= enough => Ok(()),
            count => Err(format!("at {count} records")),
        });
        signpost.kill_and_restart();
    }
    signpost.await_listed("io.atcr.manifest", &accounts.iter().collect::<Vec<_>>());
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn events_missed_while_killed_arrive_from_the_cursor() {
    let (pds, hold, mut signpost) = followed_hold();
    hold.put(CREW, "one", json!({ "member": "first" }));
    hold.put(CREW, "two", json!({ "member": "second" }));
    signpost.await_listed(CREW, &[&hold]);
    let gone = pds.account("gone");
    gone.put(CAPTAIN, "self", json!({ "owner": gone.did }));
    signpost.await_listed(CAPTAIN, &[&hold, &gone]);

    signpost.kill_and_restart_after(|| {
        hold.put(CREW, "three", json!({ "member": "third" }));
        hold.put(CREW, "two", json!({ "member": "another" }));
        hold.delete(CREW, "one");
        gone.act("deactivate");
        let newcomer = pds.account("newcomer");
        newcomer.put("io.atcr.manifest", "one", json!({ "number": 1 }));
    });
    signpost.await_listed(CAPTAIN, &[&hold]);
    signpost.await_status(&gone, Some("deactivated"));
    gone.act("activate");
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn kills_in_mid_stream_lose_and_double_nothing() {
    let (pds, hold, mut signpost) = followed_hold();
    let account = pds.account("writer");
    let written_enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 0;
            while !written_enough.load(Ordering::Relaxed) {
                let rkey = format!("{}", number % 50);
                hold.put(CREW, &rkey, json!({ "number": number }));
                account.put(CREW, &rkey, json!({ "number": number }));
                if number % 7 == 3 {
                    account.delete(CREW, &rkey);
                }
                number += 1;
            }
        });
        for _ in 0..5 {
            let before = indexed_revision(&signpost, &hold);
            await_condition("the stream goes on", || match indexed_revision(&signpost, &hold) {
                rev if rev != before => Ok(()),
                rev => Err(format!("at {rev}")),
            });
            signpost.kill_and_restart();
        }
        written_enough.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    await_index_equal_to_walk(&signpost, &[&pds]);
}

#[test]
fn terminated_signpost_ends_in_order_and_starts_again() {
    let (pds, hold, mut signpost) = followed_hold();
    let status = signpost.terminate();
    assert!(status.success(), "SIGTERM ended signpost with {status}");
    signpost.kill_and_restart_after(|| hold.put(CREW, "one", json!({ "member": "first" })));
    signpost.await_listed(CREW, &[&hold]);
    await_index_equal_to_walk(&signpost, &[&pds]);
}

fn indexed_revision(signpost: &Signpost, account: &Account) -> String {
    signpost.ask("getLatestCommit", json!({ "did": account.did }))["body"]["rev"].to_string()
}
