//! `com.atproto.sync.getRepo`: a whole repo as a CAR.

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Client, HostError, body};
use crate::syntax::{Did, Host};

/// A repo's CAR, unverified.
#[derive(Debug)]
pub struct RepoCar {
    /// The CAR file.
    pub bytes: Vec<u8>,
    /// Held by a large repo; keep it as long as the bytes, for no other large repo is fetched meanwhile.
    pub large: Option<OwnedSemaphorePermit>,
}

impl Client {
    /// Fetches a repo; what is large waits until no other large one is in memory.
    pub async fn get_repo(&self, host: &Host, did: &Did) -> Result<RepoCar, HostError> {
        let url = self.xrpc(host, "com.atproto.sync.getRepo", &[("did", did.as_str())])?;
        let mut answer = self.get(host, url, self.limits.repo_timeout).await?;
        let small = self.limits.large_repo_bytes.min(self.limits.repo_bytes);
        let mut bytes = Vec::new();
        if body::read_up_to(&mut answer.response, &mut bytes, small, &answer.deadline).await? {
            return Ok(RepoCar { bytes, large: None });
        }
        let waits_since = Instant::now();
        let permit = self.large_repos.clone().acquire_owned().await.expect("the semaphore is never closed");
        answer.deadline.extend(waits_since.elapsed());
        let limit_bytes = self.limits.repo_bytes;
        match body::read_up_to(&mut answer.response, &mut bytes, limit_bytes, &answer.deadline).await? {
            true => Ok(RepoCar { bytes, large: Some(permit) }),
            false => Err(HostError::TooLarge { limit_bytes }),
        }
    }
}
