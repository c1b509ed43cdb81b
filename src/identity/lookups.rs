//! Look-ups of identities within their budgets: everything that is asked about a DID because some host named it goes through here.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::budget::{Budgets, Purpose};
use super::{Identity, IdentityError, Resolver};
use crate::host::{Bucket, Client, HostError};
use crate::repo::PublicKey;
use crate::syntax::{Did, DidMethod, Host};

/// The resolver, and what it may be asked for.
pub struct LookUps {
    resolver: Resolver,
    budgets: Mutex<Budgets>,
    plc: Mutex<Bucket>,
}

/// On whose behalf a DID is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The host that names the DID.
    pub host: &'a Host,
    /// Whether it was the DID document that named the host, and not the host the DID.
    pub is_referred: bool,
    /// Whether it says that the DID document has changed.
    pub is_fresh: bool,
}

impl LookUps {
    /// Look-ups over `client`, with so many requests a second to the PLC directory at `plc_url`. A DID that gave nothing rests
    /// for `rest` at first.
    pub fn new(client: Arc<Client>, plc_url: Url, plc_per_second: u32, rest: Duration) -> LookUps {
        let rate = f64::from(plc_per_second.max(1));
        LookUps {
            resolver: Resolver::new(client, plc_url),
            budgets: Mutex::new(Budgets::new(rest)),
            plc: Mutex::new(Bucket::new(rate, rate, Instant::now())),
        }
    }

    /// Fetches and reads the DID's document, when there is a budget for it.
    pub async fn resolve(&self, did: &Did, asker: Asker<'_>) -> Result<Identity, IdentityError> {
        let web_host = self.resolver.web_host(did).ok();
        let is_own = web_host.as_ref().is_some_and(|host| host.same_service(asker.host));
        let domain = web_host.as_ref().filter(|_| !is_own).map(Host::registrable_domain);
        let Asker { host, is_referred, is_fresh } = asker;
        let purpose = Purpose { host: host.as_str(), did: did.as_str(), domain, is_referred, is_fresh };
        self.pay(purpose)?;
        self.take_turn(did).await;
        let resolved = self.resolver.resolve(did).await;
        let mut budgets = locked(&self.budgets);
        match &resolved {
            Ok(identity) if identity.pds.as_ref().is_some_and(|pds| pds.same_service(host)) => {
                budgets.pay_back(purpose)
            }
            Ok(_) => {}
            // It was not asked, or does not want to be: that is no fault of the host's.
            Err(IdentityError::Fetch(HostError::RateLimited { .. })) => budgets.pay_back(purpose),
            // A directory in trouble says nothing about the DID; and the host's own server is asked as often as the host.
            Err(IdentityError::Fetch(_)) if did.method() == DidMethod::Plc || is_own => {}
            Err(_) => budgets.let_rest(purpose, Instant::now()),
        }
        resolved
    }

    /// The signing keys that a did:plc had before: until its first write after a migration, its repo is still signed by one of them.
    pub async fn earlier_keys(&self, did: &Did, asker: Asker<'_>) -> Result<Vec<PublicKey>, IdentityError> {
        if did.method() != DidMethod::Plc {
            return Ok(Vec::new());
        }
        let Asker { host, is_referred, .. } = asker;
        let purpose = Purpose { host: host.as_str(), did: did.as_str(), domain: None, is_referred, is_fresh: true };
        self.pay(purpose)?;
        self.take_turn(did).await;
        let keys = self.resolver.earlier_keys(did).await?;
        if !keys.is_empty() {
            locked(&self.budgets).pay_back(purpose);
        }
        Ok(keys)
    }

    fn pay(&self, purpose: Purpose) -> Result<(), IdentityError> {
        let paid = locked(&self.budgets).pay(purpose, Instant::now());
        paid.map_err(|(spent, retry_after)| IdentityError::Budget { spent, retry_after })
    }

    /// All that is asked of the PLC directory goes at its pace, in the order in which it was asked for; who asks are the workers of the
    /// queue, so the line is short.
    async fn take_turn(&self, did: &Did) {
        if did.method() != DidMethod::Plc {
            return;
        }
        let wait = {
            let (mut plc, now) = (locked(&self.plc), Instant::now());
            plc.take(1.0, now);
            plc.wait(0.0, now)
        };
        // The shortest sleep lasts to the clock's next millisecond, and wakes the runtime for it.
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}
