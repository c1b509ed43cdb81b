//! An edited CAR of a real account: what is opened is the repo that the account has signed, as far as a filter asks for it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use signpost::repo::{KeepLimits, SkipReason, SnapshotRecord, open_repo};
use signpost::syntax::CollectionFilter;
use signpost_fuzz::{ACCOUNT, Edit};

fuzz_target!(|edits: Vec<Edit>| {
    let car = Bytes::from(Edit::apply(&edits, &ACCOUNT.car));
    ["*", "io.atcr.*"].into_iter().for_each(|filter| check(&car, filter));
});

fn check(car: &Bytes, filter: &str) {
    let account = &*ACCOUNT;
    let is_unchanged = *car == account.car;
    let filter = CollectionFilter::parse(filter).expect("valid");
    let (trust, keep) = (account.key.clone().into(), KeepLimits::of_records(10_000));
    let snapshot = match open_repo(car.clone(), &account.did, &trust, u64::MAX, &filter, &keep) {
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
    let is_wanted = |path: &str| filter.matches(path.split('/').next().unwrap_or_default());
    let expected: Vec<_> = account.records.iter().filter(|(path, _)| is_wanted(path)).collect();
    assert_eq!(snapshot.records().len(), expected.len());
    for ((collection, rkey, record), (path, expected)) in snapshot.records().zip(expected) {
        assert_eq!(&format!("{collection}/{rkey}"), path);
        match record {
            SnapshotRecord::Block { cid, .. } => assert_eq!(&cid.to_string(), expected),
            SnapshotRecord::Skipped(reason) => assert_eq!(reason, SkipReason::MissingBlock),
        }
    }
}
