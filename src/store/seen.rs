//! Repos of which events came lately, as their rows are: a commit that continues what was seen costs no look-up, neither where it is
//! verified nor where it is judged. Bounded: what is full begins anew.
//! Invariant: what is in here is what the writer's transaction would read. Only work that calls [`Tx::keeps_seen`] leaves entries behind,
//! and it says what became of each; after any other write, and after one that was rolled back, there are none. Where assertions are on,
//! each that is used is compared with its rows. A reader may see what is about to be committed: what it concludes is judged again.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hashbrown::HashMap;

use super::{RepoCommit, RepoState, Store, StoreError, Tx, TxResult, Usage};
use crate::repo::PublicKey;
use crate::syntax::Did;

/// Of some 400 bytes each.
const MOST: usize = 8192;

/// A repo, with what its commits are verified with.
#[derive(Debug, Clone)]
pub struct SeenRepo {
    /// Its rows.
    pub state: RepoState,
    /// Its identity, if it has one.
    pub key: Option<Arc<StoredKey>>,
}

/// A signing key as it is stored, read when it is first needed.
#[derive(Debug)]
pub struct StoredKey {
    did_key: Box<str>,
    read: OnceLock<Option<PublicKey>>,
}

impl StoredKey {
    pub(super) fn new(did_key: &str) -> StoredKey {
        StoredKey { did_key: did_key.into(), read: OnceLock::new() }
    }

    /// The key; None for what is not one.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.read.get_or_init(|| PublicKey::from_did_key(&self.did_key).ok()).as_ref()
    }
}

#[cfg(fuzzing)]
impl From<&PublicKey> for StoredKey {
    fn from(key: &PublicKey) -> StoredKey {
        StoredKey::new(&key.to_did_key())
    }
}

#[derive(Default)]
pub(super) struct Seen(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    repos: HashMap<Did, SeenRepo>,
    /// Counts transactions of the writer as they begin and as they end: odd while there is one.
    turns: u64,
}

impl Entries {
    fn put(&mut self, did: &Did, repo: SeenRepo) {
        if self.repos.len() >= MOST {
            self.repos.clear();
        }
        self.repos.insert(did.clone(), repo);
    }

    /// What a reader found: it holds as long as nothing was written since before it looked.
    fn offer(&mut self, begun_at: u64, did: &Did, repo: &SeenRepo) {
        if self.turns == begun_at && begun_at.is_multiple_of(2) {
            self.put(did, repo.clone());
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, did: &Did) -> Option<SeenRepo> {
        self.lock().repos.get(did).cloned()
    }

    pub(super) fn clear(&self) {
        self.lock().repos.clear();
    }

    /// The writer's transaction begins, or has ended.
    pub(super) fn turn(&self) {
        self.lock().turns += 1;
    }

    /// Gives each repo as it was seen, else as `read` finds it. What a reader finds is kept when nothing was written meanwhile.
    pub(super) fn or_read<E>(
        &self,
        dids: &[Option<&Did>],
        read: impl FnOnce(&[&Did]) -> Result<Vec<Option<SeenRepo>>, E>,
    ) -> Result<Vec<Option<SeenRepo>>, E> {
        let mut found: Vec<Option<SeenRepo>> = dids.iter().map(|did| self.get((*did)?)).collect();
        let missing: Vec<usize> = (0..dids.len()).filter(|at| dids[*at].is_some() && found[*at].is_none()).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let begun_at = self.lock().turns;
        let wanted: Vec<&Did> = missing.iter().filter_map(|at| dids[*at]).collect();
        for ((at, did), repo) in missing.into_iter().zip(&wanted).zip(read(&wanted)?) {
            if let Some(repo) = &repo {
                self.lock().offer(begun_at, did, repo);
            }
            found[at] = repo;
        }
        Ok(found)
    }
}

impl Store {
    /// Repos as they were seen lately, others as they are stored; for callers that are on a blocking thread.
    pub fn seen_blocking(&self, dids: &[Option<&Did>]) -> Result<Vec<Option<SeenRepo>>, StoreError> {
        self.inner.seen.or_read(dids, |dids| self.read_blocking(|tx| tx.seen_repos(dids)))
    }
}

impl Tx<'_> {
    /// To be called by work that takes in events: it says of each repo that it changes what became of it ([`Tx::note_commit`],
    /// [`Tx::forget_seen`]).
    pub fn keeps_seen(&self) {
        self.state.keeps_seen.set(true);
    }

    /// What is known of an account that events are about.
    pub fn seen_repo(&self, did: &Did) -> TxResult<Option<RepoState>> {
        if let Some(seen) = self.state.seen.get(did) {
            debug_assert_eq!(Some(&seen.state), self.repo(did)?.as_ref(), "{did} is not as it was seen");
            return Ok(Some(seen.state));
        }
        let found = self.repo_and_key(did)?;
        if let Some(repo) = &found {
            self.state.seen.lock().put(did, repo.clone());
        }
        Ok(found.map(|repo| repo.state))
    }

    /// Its commit is another now, and its rows take so much; nothing else of it has changed.
    pub fn note_commit(&self, did: &Did, commit: RepoCommit, used: Usage) {
        let RepoCommit { rev, head, data } = commit;
        if let Some(SeenRepo { state, .. }) = self.state.seen.lock().repos.get_mut(did) {
            (state.verified, state.head, state.used) = (Some((rev, data)), Some(head), used);
        }
    }

    /// Something else of it has changed.
    pub fn forget_seen(&self, did: &Did) {
        self.state.seen.lock().repos.remove(did);
    }

    pub(super) fn seen_repos(&self, dids: &[&Did]) -> TxResult<Vec<Option<SeenRepo>>> {
        dids.iter().map(|did| self.repo_and_key(did)).collect()
    }
}
