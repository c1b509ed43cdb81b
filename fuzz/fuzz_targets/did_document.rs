//! Any JSON as a DID document and as a PLC audit log: what is read from it is valid by its own rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost::identity::fuzzing::{earlier_keys, read_document};
use signpost::repo::PublicKey;
use signpost::syntax::{Did, HostPolicy};

fuzz_target!(|json: &[u8]| {
    let Ok(json) = serde_json::from_slice(json) else { return };
    let did = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").expect("valid");
    let keys = earlier_keys(&json);
    assert!(keys.len() <= 32);
    keys.iter().for_each(holds);
    for policy in [HostPolicy::PublicOnly, HostPolicy::AllowPrivate] {
        let Some(identity) = read_document(&json, &did, policy) else { continue };
        assert_eq!(identity.did, did);
        assert_eq!(json["id"], did.as_str(), "nobody else's document");
        if let Some(pds) = &identity.pds {
            assert_eq!(pds.check(policy), Ok(()));
            assert!(pds.scheme_is_explicit());
        }
        if let Some(handle) = &identity.handle {
            assert_eq!(handle, &handle.to_lowercase());
        }
        identity.signing_key.iter().for_each(holds);
    }
});

fn holds(key: &PublicKey) {
    assert_eq!(PublicKey::from_did_key(&key.to_did_key()).as_ref(), Ok(key));
}
