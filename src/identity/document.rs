//! Reads a DID document: leniently where it says more or other than we need, strictly about whose it is.

use serde_json::Value;

use super::{Identity, IdentityError};
use crate::repo::PublicKey;
use crate::syntax::{Did, Handle, Host, HostPolicy};

/// More rotations than these are not looked back on.
const MAX_EARLIER_KEYS: usize = 32;

/// What the document says about `did`; the policy decides which hosts count as a PDS.
pub(super) fn read(document: &Value, did: &Did, policy: HostPolicy) -> Result<Identity, IdentityError> {
    if document.get("id").and_then(Value::as_str) != Some(did.as_str()) {
        return Err(IdentityError::Invalid("the DID document is not that of the DID".into()));
    }
    Ok(Identity {
        did: did.clone(),
        pds: entry(document, "service", did, "#atproto_pds").and_then(|service| pds(service, policy)),
        signing_key: entry(document, "verificationMethod", did, "#atproto").and_then(signing_key),
        handle: handle(document),
    })
}

/// The first entry of a list whose id is the fragment, alone or behind the DID.
fn entry<'a>(document: &'a Value, list: &str, did: &Did, fragment: &str) -> Option<&'a Value> {
    let is_meant = |entry: &&Value| {
        let id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
        id.strip_prefix(did.as_str()).unwrap_or(id) == fragment
    };
    document.get(list)?.as_array()?.iter().find(is_meant)
}

fn pds(service: &Value, policy: HostPolicy) -> Option<Host> {
    if service.get("type")?.as_str()? != "AtprotoPersonalDataServer" {
        return None;
    }
    let endpoint = service.get("serviceEndpoint")?.as_str()?;
    // Without a scheme it would be a host name, which is not an endpoint.
    Host::parse(endpoint, policy).ok().filter(Host::scheme_is_explicit)
}

fn signing_key(method: &Value) -> Option<PublicKey> {
    let multibase = method.get("publicKeyMultibase")?.as_str()?;
    match method.get("type")?.as_str()? {
        "Multikey" => PublicKey::from_multikey(multibase).ok(),
        legacy => PublicKey::from_legacy(legacy, multibase).ok(),
    }
}

fn handle(document: &Value) -> Option<Handle> {
    let names = document.get("alsoKnownAs")?.as_array()?.iter().filter_map(Value::as_str);
    let mut handles = names.filter_map(|name| Handle::parse(name.strip_prefix("at://")?).ok());
    handles.next().map(|handle| handle.to_lowercase())
}

/// The signing keys in a PLC audit log (an array of operations), newest first; what makes no sense is passed over.
pub(super) fn earlier_keys(log: &Value) -> Vec<PublicKey> {
    let operations = log.as_array().map(Vec::as_slice).unwrap_or_default();
    let key = |entry: &Value| {
        let operation = &entry["operation"];
        // The first operation of an old DID has another form.
        let key = operation["verificationMethods"]["atproto"].as_str().or(operation["signingKey"].as_str())?;
        PublicKey::from_did_key(key).ok()
    };
    let valid = operations.iter().rev().filter(|entry| entry["nullified"] != Value::Bool(true));
    valid.filter_map(key).take(MAX_EARLIER_KEYS).collect()
}
