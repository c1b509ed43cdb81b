//! Any bytes as a repo: nothing is opened that the account has not signed, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::repo::{KeepLimits, PublicKey, open_repo};
use signpost::syntax::{CollectionFilter, Did};

fuzz_target!(|bytes: &[u8]| {
    let did = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").expect("valid");
    let key =
        PublicKey::from_did_key("did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc").expect("valid");
    let filter = CollectionFilter::parse("*").expect("valid");
    // The private half of this key is not at hand: no input can be a repo of this account.
    assert!(open_repo(bytes.to_vec().into(), &did, &key.into(), u64::MAX, &filter, &KeepLimits::of_records(100)).is_err());
});
