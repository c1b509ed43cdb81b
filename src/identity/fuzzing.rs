//! Doors to what this part reads from directories and did:web hosts, for the fuzz targets alone.

use serde_json::Value;

use super::{Identity, document};
use crate::repo::PublicKey;
use crate::syntax::{Did, HostPolicy};

/// What a DID document says about `did`; None: it is refused.
pub fn read_document(document: &Value, did: &Did, policy: HostPolicy) -> Option<Identity> {
    document::read(document, did, policy).ok()
}

/// The signing keys in a PLC audit log.
pub fn earlier_keys(log: &Value) -> Vec<PublicKey> {
    document::earlier_keys(log)
}
