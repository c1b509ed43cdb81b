//! `repos` and `identities`: what is known of an account.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension, named_params};

use super::{HostId, RepoId, SeenRepo, StoredKey, Tx, TxResult, Usage, UsageChange};
use crate::repo::DagCid;
use crate::syntax::{Did, Rev};

/// Why an account is not active, or what else its host says of it, in the protocol's words (`com.atproto.sync.defs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Removed for good; its rows are gone.
    Deleted,
    /// Switched off by its owner.
    Deactivated,
    /// Switched off by its host.
    Suspended,
    /// Taken down by its host.
    Takendown,
    /// Its host lost its way through it.
    Desynchronized,
    /// Its host slows it.
    Throttled,
    /// Not active, and the host gave no reason or one that the protocol does not know.
    Unknown,
}

impl Status {
    /// Reads a host's word.
    pub fn parse(word: &str) -> Status {
        match word {
            "deleted" => Status::Deleted,
            "deactivated" => Status::Deactivated,
            "suspended" => Status::Suspended,
            "takendown" => Status::Takendown,
            "desynchronized" => Status::Desynchronized,
            "throttled" => Status::Throttled,
            _ => Status::Unknown,
        }
    }

    /// The protocol's word; none for [`Status::Unknown`].
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Status::Deleted => Some("deleted"),
            Status::Deactivated => Some("deactivated"),
            Status::Suspended => Some("suspended"),
            Status::Takendown => Some("takendown"),
            Status::Desynchronized => Some("desynchronized"),
            Status::Throttled => Some("throttled"),
            Status::Unknown => None,
        }
    }
}

/// What decides the verdict on an event or a fetched repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoState {
    /// The row.
    pub id: RepoId,
    /// The host that its DID document named, or for a repo without an identity, the one that listed it.
    pub host_id: HostId,
    /// Whether it is to be listed at all.
    pub active: bool,
    /// The host's reason.
    pub status: Option<Status>,
    /// Rev and data CID of the commit that is indexed; None: never fetched. Of a repo without an identity its hashes were verified,
    /// and that nothing in its tree is inside the filter; not whose it is.
    pub verified: Option<(Rev, DagCid)>,
    /// CID of that commit.
    pub head: Option<DagCid>,
    /// Whether its signing key is known: it has an identity, and its commit was verified with it.
    pub has_key: bool,
    /// When a bad signature last had its key asked for (Unix milliseconds).
    pub key_checked_at: Option<i64>,
    /// The head of a fetched answer that was older than what is indexed: taken when the host's list names it too.
    pub stale_head: Option<DagCid>,
    /// Whether it is to be fetched at the next comparison, whatever the host lists.
    pub unproven: bool,
    /// Whether the host that is asked about, not its own, was refused it before. Set by who asks.
    pub refused: bool,
    /// What its rows take.
    pub used: Usage,
    /// Whether work on it is queued for its host, or events of it are held: then a new event has to wait its turn.
    pub busy: bool,
}

/// Which commit a repo is at.
#[derive(Debug, Clone, Copy)]
pub struct RepoCommit {
    /// Its rev.
    pub rev: Rev,
    /// Its CID.
    pub head: DagCid,
    /// Its MST root.
    pub data: DagCid,
}

impl RepoState {
    /// Whether its chain of commits is followed without a look at its DID document, since it has nothing that is indexed.
    pub fn is_without_identity(&self) -> bool {
        self.verified.is_some() && !self.has_key
    }
}

impl ToSql for DagCid {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.digest())))
    }
}

impl FromSql for DagCid {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let digest: [u8; 32] = value.as_blob()?.try_into().map_err(|_| FromSqlError::InvalidType)?;
        Ok(DagCid::from_digest(digest))
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().map_or(Ok(ToSqlOutput::from(rusqlite::types::Null)), |word| Ok(ToSqlOutput::from(word)))
    }
}

impl Tx<'_> {
    /// What is known of an account.
    pub fn repo(&self, did: &Did) -> TxResult<Option<RepoState>> {
        Ok(self.repo_and_key(did)?.map(|repo| repo.state))
    }

    pub(super) fn repo_and_key(&self, did: &Did) -> TxResult<Option<SeenRepo>> {
        self.db
            .prepare_cached(
                "SELECT r.repo_id, host_id, active, status, rev, head, data,
                        EXISTS (SELECT 1 FROM crawl_queue q WHERE q.repo_id = r.repo_id AND q.host_id = r.host_id)
                     OR EXISTS (SELECT 1 FROM held_events h WHERE h.repo_id = r.repo_id AND h.host_id = r.host_id),
                        unproven, stale_head, record_count, record_bytes, collection_count, checked_at, signing_key
                 FROM repos r LEFT JOIN identities i ON i.repo_id = r.repo_id WHERE did = ?1",
            )?
            .query_row([did.as_str()], |row| {
                let text = |at: usize| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str_or_null()?);
                let data: Option<DagCid> = row.get(6)?;
                let key = text(14)?.map(|key| Arc::new(StoredKey::new(key)));
                let state = RepoState {
                    id: RepoId(row.get(0)?),
                    host_id: HostId(row.get(1)?),
                    active: row.get(2)?,
                    status: text(3)?.map(Status::parse),
                    verified: text(4)?.and_then(|rev| Rev::parse(rev).ok()).zip(data),
                    head: row.get(5)?,
                    busy: row.get(7)?,
                    unproven: row.get(8)?,
                    stale_head: row.get(9)?,
                    used: Usage { records: row.get(10)?, bytes: row.get(11)?, collections: row.get(12)? },
                    key_checked_at: row.get(13)?,
                    has_key: key.is_some(),
                    refused: false,
                };
                Ok(SeenRepo { state, key })
            })
            .optional()
    }

    /// A new account, not verified yet.
    pub fn insert_repo(&self, did: &Did, host_id: HostId, active: bool, status: Option<Status>) -> TxResult<RepoId> {
        let taken_down = self.is_taken_down(did)?;
        let repo = self
            .db
            .prepare_cached(
                "INSERT INTO repos (did, host_id, active, status, taken_down) VALUES (:did, :host, :active, :status, :taken_down)
                 RETURNING repo_id",
            )?
            .query_row(
                named_params! {
                    ":did": did.as_str(), ":host": host_id.0, ":active": active, ":status": status, ":taken_down": taken_down,
                },
                |row| Ok(RepoId(row.get(0)?)),
            )?;
        self.account_taken(host_id, did.as_str())?;
        Ok(repo)
    }

    /// What its host's list says of a repo that is not verified yet.
    pub fn set_repo_listed(&self, repo: RepoId, rev: Option<&Rev>, head: Option<DagCid>) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE repos SET rev = :rev, head = :head WHERE repo_id = :repo AND data IS NULL")?
            .execute(named_params! {":rev": rev.map(Rev::as_str), ":head": head, ":repo": repo.0})?;
        Ok(())
    }

    /// What its host says of the account.
    pub fn set_repo_status(&self, repo: RepoId, active: bool, status: Option<Status>) -> TxResult<()> {
        self.change_visibility(repo, || {
            self.db
                .prepare_cached("UPDATE repos SET active = :active, status = :status WHERE repo_id = :repo")?
                .execute(named_params! {":active": active, ":status": status, ":repo": repo.0})?;
            Ok(())
        })
    }

    /// The verified commit that the rows of the repo now come from.
    pub fn set_repo_commit(&self, repo: RepoId, rev: &Rev, head: DagCid, data: DagCid) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE repos SET rev = :rev, head = :head, data = :data, desynchronized = 0 WHERE repo_id = :repo",
            )?
            .execute(named_params! {":rev": rev.as_str(), ":head": head, ":data": data, ":repo": repo.0})?;
        Ok(())
    }

    /// A commit that continues the one before it, with what its rows take more or less; at its host that is counted by the caller.
    pub fn advance_repo(&self, repo: RepoId, commit: &RepoCommit, change: &UsageChange) -> TxResult<()> {
        let RepoCommit { rev, head, data } = commit;
        self.kept.advance_repo.execute(
            self.db,
            "UPDATE repos SET rev = ?1, head = ?2, data = ?3, desynchronized = 0, record_count = record_count + ?4,
                 record_bytes = record_bytes + ?5, collection_count = collection_count + ?6
             WHERE repo_id = ?7",
            (rev.as_str(), head, data, change.records, change.bytes, change.collections, repo.0),
        )?;
        Ok(())
    }

    /// The repo's chain of commits was lost; what is indexed stays listed until it is fetched again.
    pub fn mark_desynchronized(&self, repo: RepoId) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE repos SET desynchronized = 1 WHERE repo_id = :repo AND data IS NOT NULL")?
            .execute(named_params! {":repo": repo.0})?;
        Ok(())
    }

    /// Nothing shows that what is indexed is all: it is fetched at the next comparison.
    pub fn mark_unproven(&self, repo: RepoId) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE repos SET unproven = 1 WHERE repo_id = :repo")?
            .execute(named_params! {":repo": repo.0})?;
        Ok(())
    }

    /// The whole repo was fetched, so nothing is left in doubt.
    pub fn clear_doubts(&self, repo: RepoId) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE repos SET unproven = 0, stale_head = NULL WHERE repo_id = :repo")?
            .execute(named_params! {":repo": repo.0})?;
        Ok(())
    }

    /// Forgets which commit is indexed, so that any verified one is taken next; the rows stay listed until then.
    pub fn forget_chain(&self, repo: RepoId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE repos SET rev = NULL, data = NULL, stale_head = NULL, desynchronized = 1 WHERE repo_id = :repo",
            )?
            .execute(named_params! {":repo": repo.0})?;
        Ok(())
    }

    /// Active repos of a host, ascending by id after `after`.
    pub fn active_repos_of(&self, host_id: HostId, after: RepoId, limit: usize) -> TxResult<Vec<RepoId>> {
        self.db
            .prepare_cached(
                "SELECT repo_id FROM repos WHERE host_id = :host AND repo_id > :after AND active = 1
                 ORDER BY repo_id LIMIT :limit",
            )?
            .query_map(named_params! {":host": host_id.0, ":after": after.0, ":limit": limit as i64}, |row| {
                Ok(RepoId(row.get(0)?))
            })?
            .collect()
    }

    /// The host answered with an older head than what is indexed.
    pub fn set_stale_head(&self, repo: RepoId, head: DagCid) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE repos SET stale_head = :head WHERE repo_id = :repo")?
            .execute(named_params! {":head": head, ":repo": repo.0})?;
        Ok(())
    }

    /// Its DID document names another host now.
    pub fn move_repo(&self, repo: RepoId, from: HostId, to: HostId) -> TxResult<()> {
        self.account_moved(repo, from, to)?;
        self.db
            .prepare_cached("UPDATE repos SET host_id = :host WHERE repo_id = :repo")?
            .execute(named_params! {":host": to.0, ":repo": repo.0})?;
        Ok(())
    }

    /// Whether a limit keeps some of its matching records out of the index.
    pub fn set_truncated(&self, repo: RepoId, truncated: bool) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE repos SET truncated = :truncated WHERE repo_id = :repo AND truncated <> :truncated",
            )?
            .execute(named_params! {":truncated": truncated, ":repo": repo.0})?;
        Ok(())
    }

    /// Forgets the commit of a deleted account, so that whatever comes back under its DID is fetched whole.
    pub fn forget_repo_commit(&self, repo: RepoId) -> TxResult<()> {
        self.db
            .prepare_cached(
                "UPDATE repos SET rev = NULL, head = NULL, data = NULL, desynchronized = 0 WHERE repo_id = :repo",
            )?
            .execute(named_params! {":repo": repo.0})?;
        self.forget_identity(repo)
    }

    /// From now on its chain is followed without an identity, until something of it is to be indexed.
    pub fn forget_identity(&self, repo: RepoId) -> TxResult<()> {
        self.db
            .prepare_cached("DELETE FROM identities WHERE repo_id = :repo")?
            .execute(named_params! {":repo": repo.0})?;
        Ok(())
    }

    /// Whether anything of it is indexed.
    pub fn has_records(&self, repo: RepoId) -> TxResult<bool> {
        self.db
            .prepare_cached("SELECT record_count > 0 FROM repos WHERE repo_id = :repo")?
            .query_row(named_params! {":repo": repo.0}, |row| row.get(0))
    }

    /// The same, to verify with.
    pub fn stored_key(&self, repo: RepoId) -> TxResult<Option<StoredKey>> {
        Ok(self.signing_key(repo)?.map(|key| StoredKey::new(&key)))
    }

    /// The signing key that was in the DID document, as did:key.
    pub fn signing_key(&self, repo: RepoId) -> TxResult<Option<String>> {
        self.db
            .prepare_cached("SELECT signing_key FROM identities WHERE repo_id = :repo")?
            .query_row(named_params! {":repo": repo.0}, |row| row.get(0))
            .optional()
    }

    /// A bad signature has the key asked for, now.
    pub fn note_key_check(&self, repo: RepoId) -> TxResult<()> {
        self.db
            .prepare_cached("UPDATE identities SET checked_at = :now WHERE repo_id = :repo")?
            .execute(named_params! {":repo": repo.0, ":now": self.now})?;
        Ok(())
    }

    /// Stores the signing key that the DID document names.
    pub fn set_signing_key(&self, repo: RepoId, did_key: &str) -> TxResult<()> {
        self.db
            .prepare_cached(
                "INSERT INTO identities (repo_id, signing_key, resolved_at) VALUES (:repo, :key, :now)
                 ON CONFLICT DO UPDATE SET signing_key = :key, resolved_at = :now",
            )?
            .execute(named_params! {":repo": repo.0, ":key": did_key, ":now": self.now})?;
        Ok(())
    }
}
