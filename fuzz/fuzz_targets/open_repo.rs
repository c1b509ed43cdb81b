//! An edited CAR of a real account: what is opened is the repo that the account has signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::repo::{KeepLimits, SkipReason, SnapshotRecord, open_repo};
use signpost::syntax::CollectionFilter;
use signpost_fuzz::{ACCOUNT, Edit};

fuzz_target!(|edits: Vec<Edit>| {
    let account = &*ACCOUNT;
    let car = Edit::apply(&edits, &account.car);
    let is_unchanged = car == account.car;
    let filter = CollectionFilter::parse("*").expect("valid");
    let (trust, keep) = (account.key.clone().into(), KeepLimits::of_records(10_000));
    let snapshot = match open_repo(car.into(), &account.did, &trust, u64::MAX, &filter, &keep) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            assert!(!is_unchanged, "{error}");
            return;
        }
    };
    assert_eq!(
        (snapshot.commit.cid.to_string(), snapshot.commit.data.to_string()),
        (account.head.clone(), account.data.clone())
    );
    assert_eq!(snapshot.leaf_count, account.records.len() as u64);
    assert_eq!(snapshot.records().len(), account.records.len());
    for ((collection, rkey, record), (path, expected)) in snapshot.records().zip(&account.records) {
        assert_eq!(&format!("{collection}/{rkey}"), path);
        match record {
            SnapshotRecord::Block { cid, .. } => assert_eq!(&cid.to_string(), expected),
            SnapshotRecord::Skipped(reason) => assert_eq!(reason, SkipReason::MissingBlock),
        }
    }
});
