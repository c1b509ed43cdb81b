//! `com.atproto.sync.getRecord` and `com.atproto.sync.getBlocks`: parts of a repo as CARs.

use super::body;
use super::repo_memory::SMALL_REPO_BYTES;
use super::{Client, HostError};
use crate::repo::DagCid;
use crate::syntax::{Did, Host, KeyRange};

/// The record key that sorts before all others.
const FIRST_RKEY: &str = "-";

impl Client {
    /// So many blocks are asked for at once: with 65 bytes each the URL stays below the 8 KiB that every server and proxy takes.
    pub const BLOCKS_AT_ONCE: usize = 100;
    /// What all parts of a repo together may have: as much as the bytes of any repo may take without asking for memory.
    pub const PART_BYTES: usize = SMALL_REPO_BYTES;

    /// Asks for a record of a range, there or not: the answer, unverified, shows the keys around it. It has at most `limit_bytes`.
    pub async fn get_record(
        &self,
        host: &Host,
        did: &Did,
        range: &KeyRange,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, HostError> {
        let parameters = [("did", did.as_str()), ("collection", range.collection.as_str()), ("rkey", FIRST_RKEY)];
        self.part(host, "com.atproto.sync.getRecord", &parameters, limit_bytes).await
    }

    /// Asks for blocks of a repo by their CIDs. The answer is unverified, and has at most `limit_bytes`.
    pub async fn get_blocks(
        &self,
        host: &Host,
        did: &Did,
        cids: &[DagCid],
        limit_bytes: usize,
    ) -> Result<Vec<u8>, HostError> {
        let cids: Vec<String> = cids.iter().map(DagCid::to_string).collect();
        let mut parameters = vec![("did", did.as_str())];
        parameters.extend(cids.iter().map(|cid| ("cids", cid.as_str())));
        self.part(host, "com.atproto.sync.getBlocks", &parameters, limit_bytes).await
    }

    async fn part(
        &self,
        host: &Host,
        method: &str,
        parameters: &[(&str, &str)],
        limit_bytes: usize,
    ) -> Result<Vec<u8>, HostError> {
        let answer = self.get(host, self.xrpc(host, method, parameters)?, Some(self.limits.json_timeout)).await?;
        body::read(answer.response, limit_bytes, &answer.deadline).await
    }
}
