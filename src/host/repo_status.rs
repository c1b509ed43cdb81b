//! `com.atproto.sync.getRepoStatus` and `com.atproto.sync.getLatestCommit`.

use serde::Deserialize;

use super::{Client, HostError};
use crate::repo::DagCid;
use crate::syntax::{Did, Host, Rev, printable};

/// A repo's status in its host's words; `active` alone decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoStatus {
    /// Whether the repo is to be served.
    pub active: bool,
    /// Why it is not, `deactivated` for example.
    pub status: Option<String>,
    /// The current rev of an active repo, when the host gives it.
    pub rev: Option<Rev>,
}

/// The newest commit of a repo as its host states it, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestCommit {
    /// The commit's CID.
    pub cid: DagCid,
    /// The commit's rev.
    pub rev: Rev,
}

impl Client {
    /// Asks for a repo's status.
    pub async fn get_repo_status(&self, host: &Host, did: &Did) -> Result<RepoStatus, HostError> {
        #[derive(Deserialize)]
        struct Output {
            did: Did,
            active: bool,
            status: Option<String>,
            rev: Option<String>,
        }
        let output: Output = self.about_repo(host, "com.atproto.sync.getRepoStatus", did).await?;
        if output.did != *did {
            return Err(HostError::Malformed("the status is that of another repo".into()));
        }
        Ok(RepoStatus {
            active: output.active,
            status: output.status.map(|status| printable(&status, 64)),
            rev: output.rev.and_then(|rev| Rev::parse(&rev).ok()),
        })
    }

    /// Asks for a repo's newest commit; old holds lack the method.
    pub async fn get_latest_commit(&self, host: &Host, did: &Did) -> Result<LatestCommit, HostError> {
        #[derive(Deserialize)]
        struct Output {
            cid: String,
            rev: Rev,
        }
        let output: Output = self.about_repo(host, "com.atproto.sync.getLatestCommit", did).await?;
        let cid =
            DagCid::parse(&output.cid).map_err(|_| HostError::Malformed("the cid is not that of a commit".into()))?;
        Ok(LatestCommit { cid, rev: output.rev })
    }

    async fn about_repo<T: serde::de::DeserializeOwned>(
        &self,
        host: &Host,
        method: &str,
        did: &Did,
    ) -> Result<T, HostError> {
        self.query(host, method, &[("did", did.as_str())], self.limits.json_bytes).await
    }
}
