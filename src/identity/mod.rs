//! From a DID to its signing key, PDS and handle.
//!
//! Owns the fetching and reading of DID documents (<https://atproto.com/specs/did>); every call fetches, the durable
//! cache is the store's. The claimed handle is never resolved.
//! Invariant: an `Identity` comes from a document whose `id` is the DID that was asked for.

mod budget;
mod document;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lookups;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use url::Url;

pub use budget::Spent;
pub use lookups::{Asker, LookUps};

use crate::host::{Client, HostError};
use crate::repo::PublicKey;
use crate::syntax::{Did, DidMethod, Handle, Host};

/// What a DID document says that concerns us; what is absent or makes no sense in it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The DID that was asked for.
    pub did: Did,
    /// The account's PDS, when it is one that may be crawled.
    pub pds: Option<Host>,
    /// The key that signs the account's commits.
    pub signing_key: Option<PublicKey>,
    /// The claimed handle, in lower case and unverified.
    pub handle: Option<Handle>,
}

/// Why a DID gave no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The PLC directory knows no such DID, or only its tombstone; a did:web is never found to be gone.
    #[error("the DID does not exist, or no longer")]
    NotFound,
    /// Neither did:plc nor did:web.
    #[error("the DID method is not did:plc or did:web")]
    UnsupportedMethod,
    /// The DID or its document cannot be used in atproto.
    #[error("{0}")]
    Invalid(String),
    /// The document could not be fetched now.
    #[error("the DID document could not be fetched: {0}")]
    Fetch(#[from] HostError),
    /// It was not asked for: a budget is spent.
    #[error("{} for {} s", in_words(*.spent), retry_after.as_secs().max(1))]
    Budget {
        /// Which.
        spent: Spent,
        /// How long.
        retry_after: Duration,
    },
}

impl IdentityError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            IdentityError::NotFound => "did_not_found",
            IdentityError::UnsupportedMethod => "did_method",
            IdentityError::Invalid(_) => "did_invalid",
            IdentityError::Fetch(error) => error.reason(),
            IdentityError::Budget { spent: Spent::Host, .. } => "lookup_budget_of_host",
            IdentityError::Budget { spent: Spent::Referral, .. } => "lookup_budget_of_referrals",
            IdentityError::Budget { spent: Spent::Domain, .. } => "lookup_budget_of_domain",
            IdentityError::Budget { spent: Spent::Did, .. } => "did_rests",
        }
    }
}

/// Fetches DID documents.
pub struct Resolver {
    client: Arc<Client>,
    plc_url: Url,
}

impl Resolver {
    /// A resolver that asks the PLC directory at `plc_url`, an http or https URL that the operator chose.
    pub fn new(client: Arc<Client>, plc_url: Url) -> Resolver {
        Resolver { client, plc_url }
    }

    /// Fetches and reads the DID's document.
    pub async fn resolve(&self, did: &Did) -> Result<Identity, IdentityError> {
        let document = match did.method() {
            DidMethod::Plc => self.fetch_plc(did).await?,
            DidMethod::Web => self.fetch_web(did).await?,
            DidMethod::Other => return Err(IdentityError::UnsupportedMethod),
        };
        document::read(&document, did, self.client.policy())
    }

    /// The signing keys that a did:plc had before: until its first write after a migration, its repo is still signed by one of them.
    pub async fn earlier_keys(&self, did: &Did) -> Result<Vec<PublicKey>, IdentityError> {
        if did.method() != DidMethod::Plc {
            return Ok(Vec::new());
        }
        Ok(document::earlier_keys(&self.ask_plc(did, &["log", "audit"]).await?))
    }

    async fn fetch_plc(&self, did: &Did) -> Result<Value, IdentityError> {
        self.ask_plc(did, &[]).await
    }

    async fn ask_plc(&self, did: &Did, path: &[&str]) -> Result<Value, IdentityError> {
        let is_base32 = |b: u8| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b);
        if did.identifier().len() != 24 || !did.identifier().bytes().all(is_base32) {
            return Err(IdentityError::Invalid("a did:plc has 24 base32 characters".into()));
        }
        let mut url = self.plc_url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().push(did.as_str()).extend(path)),
            Err(()) => return Err(IdentityError::Invalid("the PLC URL is not an http or https URL".into())),
        }
        let answer = match path {
            [] => self.client.get_json_unguarded(url).await,
            _ => self.client.get_log_unguarded(url).await,
        };
        answer.map_err(|error| match error.status() {
            Some(404 | 410) => IdentityError::NotFound,
            _ => error.into(),
        })
    }

    async fn fetch_web(&self, did: &Did) -> Result<Value, IdentityError> {
        Ok(self.client.get_json(&self.web_host(did)?, "/.well-known/did.json").await?)
    }

    /// The host that a did:web names.
    fn web_host(&self, did: &Did) -> Result<Host, IdentityError> {
        if did.method() != DidMethod::Web {
            return Err(IdentityError::UnsupportedMethod);
        }
        if did.identifier().contains(':') {
            return Err(IdentityError::Invalid("a did:web with a path is not used in atproto".into()));
        }
        // The only escape that a host name needs is that of the port's colon.
        let name = did.identifier().replace("%3A", ":").replace("%3a", ":");
        let host = Host::parse(&name, self.client.policy());
        host.map_err(|error| IdentityError::Invalid(format!("the did:web names no host: {error}")))
    }
}

fn in_words(spent: Spent) -> &'static str {
    match spent {
        Spent::Host => "too many DIDs of this host do not exist or live elsewhere: its look-ups wait",
        Spent::Referral => "too many DIDs named this host in vain: look-ups of such wait",
        Spent::Domain => "the domain that the DID names is asked no more often: look-ups there wait",
        Spent::Did => "the DID gave nothing before: it is not asked for again",
    }
}
