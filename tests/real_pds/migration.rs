//! Accounts that move from one real PDS to another. Until the first write on the new one, their head is still signed by the old key.

use std::sync::mpsc::{self, TryRecvError};

use serde_json::json;

use crate::index::{await_host, await_index_equal_to_walk, await_record, forget_cursor};
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";

/// On the old PDS a did:plc account and a did:web hold that are going to move.
fn movers(old: &Pds) -> [Account; 2] {
    let movers = [old.account("mover"), old.did_web_hold("hold")];
    for mover in &movers {
        mover.put(CAPTAIN, "self", json!({ "owner": mover.did }));
        mover.create_many("io.atcr.manifest", 0..20);
        mover.put("com.example.note", "self", json!({ "text": "not for signpost" }));
    }
    movers
}

/// Waits until signpost has heard all that a PDS said so far: an account that stayed there writes after it.
fn await_heard(signpost: &Signpost, stayer: &Account, word: &str) {
    stayer.put(CREW, word, json!({ "member": word }));
    await_record(signpost, stayer, CREW, word);
}

/// Looks at the list all the while that something is done, and does not find an account missing.
fn stays_listed(signpost: &Signpost, accounts: &[Account], act: impl FnOnce()) {
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The other side is dropped when the act is done, or has failed.
            while ended.try_recv() != Err(TryRecvError::Disconnected) {
                let listed = signpost.listed(CAPTAIN);
                for account in accounts {
                    let did = &account.did;
                    let status = signpost.ask("getRepoStatus", json!({ "did": did }));
                    assert!(listed.contains(did), "{did} is not listed, its status is {status}");
                }
            }
        });
        let _end = end;
        act();
    });
}

#[test]
fn moved_account_stays_listed_and_is_followed_on_its_new_pds() {
    let (old, new) = (Pds::start(), Pds::start());
    let movers = movers(&old);
    let (stayer, neighbour) = (old.account("stayer"), new.account("neighbour"));
    for account in [&stayer, &neighbour] {
        account.put(CAPTAIN, "self", json!({ "owner": account.did }));
    }
    let mut signpost = Signpost::start();
    signpost.request_crawl(&old);
    signpost.request_crawl(&new);
    signpost.await_listed(CAPTAIN, &[&movers[0], &movers[1], &stayer, &neighbour]);

    stays_listed(&signpost, &movers, || {
        for mover in &movers {
            mover.migrate(&new);
            await_host(&signpost, mover, &new);
            mover.left_behind_on(&old).act("deactivate");
            signpost.await_status(mover, None);
        }
        await_index_equal_to_walk(&signpost, &[&old, &new]);

        for mover in &movers {
            mover.put(CREW, "one", json!({ "member": "the first write on the new PDS" }));
            mover.put(CAPTAIN, "self", json!({ "owner": "another" }));
            mover.delete("io.atcr.manifest", "7");
        }
        signpost.await_listed(CREW, &[&movers[0], &movers[1]]);
        await_index_equal_to_walk(&signpost, &[&old, &new]);

        old.stop();
        movers[0].put(CREW, "two", json!({ "member": "the old PDS is down" }));
        await_record(&signpost, &movers[0], CREW, "two");
        old.restart();
        await_heard(&signpost, &stayer, "restarted");
    });

    // The old PDS sends all that it ever sent once more, all of it signed by keys that count no more.
    let database = signpost.database_path();
    signpost.kill_and_restart_after(|| forget_cursor(&database, &old));
    stays_listed(&signpost, &movers, || {
        await_heard(&signpost, &stayer, "replayed");
        await_index_equal_to_walk(&signpost, &[&old, &new]);
        for mover in &movers {
            mover.left_behind_on(&old).act("deleteAccount");
        }
        await_heard(&signpost, &stayer, "deleted");
        for mover in &movers {
            await_host(&signpost, mover, &new);
            signpost.await_status(mover, None);
        }
        await_index_equal_to_walk(&signpost, &[&old, &new]);
    });
}

#[test]
fn account_that_moved_away_from_what_is_crawled_is_unlisted_until_its_new_pds_is_crawled() {
    let (old, new) = (Pds::start(), Pds::start());
    let movers = movers(&old);
    let signpost = Signpost::start();
    signpost.request_crawl(&old);
    signpost.await_listed(CAPTAIN, &[&movers[0], &movers[1]]);
    for mover in &movers {
        mover.migrate(&new);
        mover.left_behind_on(&old).act("deactivate");
    }
    signpost.await_listed(CAPTAIN, &[]);
    for mover in &movers {
        signpost.await_status(mover, Some("deactivated"));
    }

    signpost.request_crawl(&new);
    signpost.await_listed(CAPTAIN, &[&movers[0], &movers[1]]);
    await_index_equal_to_walk(&signpost, &[&old, &new]);
    movers[0].put(CREW, "one", json!({ "member": "the first write on the new PDS" }));
    signpost.await_listed(CREW, &[&movers[0]]);
    await_index_equal_to_walk(&signpost, &[&old, &new]);
}

#[test]
fn account_that_moved_before_it_was_ever_seen_is_listed() {
    let (old, new) = (Pds::start(), Pds::start());
    let [account, hold] = movers(&old);
    for mover in [&account, &hold] {
        mover.migrate(&new);
        mover.left_behind_on(&old).act("deactivate");
    }
    let signpost = Signpost::start();
    signpost.request_crawl(&new);
    // The PLC directory knows the key that signed its head. Nobody knows a did:web account's: its next write is waited for.
    signpost.await_listed(CAPTAIN, &[&account]);
    signpost.request_crawl(&old);
    hold.put(CREW, "one", json!({ "member": "the first write on the new PDS" }));
    signpost.await_listed(CAPTAIN, &[&account, &hold]);
    await_index_equal_to_walk(&signpost, &[&old, &new]);
}

#[test]
fn account_moves_from_a_legacy_pds_to_one_of_today() {
    let (old, new) = (Pds::start_legacy(), Pds::start());
    let movers = movers(&old);
    let signpost = Signpost::start();
    signpost.request_crawl(&old);
    signpost.request_crawl(&new);
    signpost.await_listed(CAPTAIN, &[&movers[0], &movers[1]]);
    stays_listed(&signpost, &movers, || {
        for mover in &movers {
            mover.migrate(&new);
            await_host(&signpost, mover, &new);
            mover.left_behind_on(&old).act("deactivate");
        }
        await_index_equal_to_walk(&signpost, &[&old, &new]);
        for mover in &movers {
            mover.put(CREW, "one", json!({ "member": "the first write on the new PDS" }));
        }
        signpost.await_listed(CREW, &[&movers[0], &movers[1]]);
        await_index_equal_to_walk(&signpost, &[&old, &new]);
    });
}
