//! An edited event of a real account: what is proven of it is what the account has signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::index::{Fact, RecordChange, SyncedCommit};
use signpost::subscribe::fuzzing::verify_event;
use signpost::syntax::CollectionFilter;
use signpost_fuzz::{ACCOUNT, Edit};

fuzz_target!(|input: (bool, Vec<Edit>)| {
    let (sync, edits) = input;
    let account = &*ACCOUNT;
    let good = if sync { &account.sync_frame } else { &account.commit_frame };
    let filter = CollectionFilter::parse("io.atcr.*").expect("valid");
    let frame = Edit::apply(&edits, good);
    let is_unchanged = frame == good[..];
    let Some(event) = verify_event(frame.into(), &account.did, &account.key, &filter) else { return };
    let signed = (account.head.clone(), account.data.clone());
    match event.fact {
        Fact::Sync { commit: Ok(SyncedCommit { head, data, .. }), .. } => {
            assert_eq!((head.to_string(), data.to_string()), signed)
        }
        Fact::Commit(commit) => match commit.proof {
            Ok(proven) => {
                assert_eq!((proven.head.to_string(), proven.data.to_string()), signed);
                // Of an old host's commit, what is indexed decides later.
                if proven.legacy.is_none() {
                    proven.changes.iter().for_each(is_true);
                }
            }
            Err(flaw) => assert!(!is_unchanged, "{flaw:?}"),
        },
        _ => assert!(!is_unchanged),
    }
});

fn is_true(change: &RecordChange) {
    let indexed = |wanted: &str| ACCOUNT.records.iter().find(|(path, _)| path == wanted).map(|(_, cid)| cid.as_str());
    match change {
        RecordChange::Put { collection, rkey, cid, json, .. } => {
            assert_eq!(indexed(&format!("{collection}/{rkey}")), Some(cid.to_string().as_str()));
            serde_json::from_str::<serde_json::Value>(json).expect("JSON");
        }
        RecordChange::Remove { collection, rkey } => assert_eq!(indexed(&format!("{collection}/{rkey}")), None),
    }
}
