//! An edited part of a real account's repo: what it shows of a filter's ranges is what the account has signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::repo::{KeepLimits, SkipReason, SnapshotRecord, SparseArchive, open_sparse};
use signpost::syntax::CollectionFilter;
use signpost_fuzz::{ACCOUNT, Edit};

fuzz_target!(|edits: Vec<Edit>| {
    let account = &*ACCOUNT;
    let filter = CollectionFilter::parse("io.atcr.*").expect("valid");
    let ranges = filter.key_ranges().expect("it has bounds");
    let is_wanted = |path: &str| filter.matches(path.split('/').next().unwrap_or_default());
    let expected: Vec<_> = account.records.iter().filter(|(path, _)| is_wanted(path)).collect();

    let archive = SparseArchive::new(Edit::apply(&edits, &account.car));
    let Ok(sight) = archive.look(&account.did, u64::MAX, &filter, &ranges) else { return };
    if sight.commit.data.to_string() != account.data {
        return;
    }
    assert!(sight.has_match || sight.undecided.is_some() || expected.is_empty());
    let (trust, keep) = (account.key.clone().into(), KeepLimits::of_records(10_000));
    let opened = open_sparse(archive.into_bytes(), &account.did, &trust, u64::MAX, &filter, &ranges, &keep);
    let Ok(snapshot) = opened else { return };
    assert_eq!(snapshot.records().len(), expected.len());
    for ((collection, rkey, record), (path, expected)) in snapshot.records().zip(expected) {
        assert_eq!(&format!("{collection}/{rkey}"), path);
        match record {
            SnapshotRecord::Block { cid, .. } => assert_eq!(&cid.to_string(), expected),
            SnapshotRecord::Skipped(reason) => assert_eq!(reason, SkipReason::MissingBlock),
        }
    }
});
