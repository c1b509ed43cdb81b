//! `com.atproto.server.describeServer`: is there a PDS at all?

use serde::Deserialize;
use serde_json::Value;

use super::{Client, HostError};
use crate::syntax::{Did, Host};

/// What a host says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerDescription {
    /// The service's own DID, when the host gives one that is one.
    pub did: Option<Did>,
}

impl Client {
    /// Asks a host to describe itself; old holds lack the method and answer 404 or 501.
    pub async fn describe_server(&self, host: &Host) -> Result<ServerDescription, HostError> {
        #[derive(Deserialize)]
        struct Output {
            did: Option<Value>,
        }
        let method = "com.atproto.server.describeServer";
        let output: Output = self.query(host, method, &[], self.limits.json_bytes).await?;
        let did = output.did.as_ref().and_then(Value::as_str).and_then(|did| Did::parse(did).ok());
        Ok(ServerDescription { did })
    }
}
