//! `takedowns`: accounts that the operator hides from every list, known here or not. What is indexed of them goes on being kept, so that
//! they are whole when they are restored. `repos.taken_down` says the same of those that are known, so that lists cost no look-up.

use rusqlite::named_params;

use super::{Tx, TxResult};
use crate::syntax::Did;

impl Tx<'_> {
    /// Hides an account.
    pub fn take_down(&self, did: &Did) -> TxResult<()> {
        self.db
            .prepare_cached("INSERT INTO takedowns (did, taken_down_at) VALUES (:did, :now) ON CONFLICT DO NOTHING")?
            .execute(named_params! {":did": did.as_str(), ":now": self.now})?;
        self.set_taken_down(did, true)?;
        self.note_admin("takedown", did.as_str(), None)
    }

    /// Shows an account again. Answers whether it was hidden.
    pub fn restore(&self, did: &Did) -> TxResult<bool> {
        let deleted = self.db.prepare_cached("DELETE FROM takedowns WHERE did = ?1")?.execute([did.as_str()])?;
        if deleted == 0 {
            return Ok(false);
        }
        self.set_taken_down(did, false)?;
        self.note_admin("restore", did.as_str(), None)?;
        Ok(true)
    }

    /// Whether the operator hides an account: asked once, when it becomes known.
    pub(super) fn is_taken_down(&self, did: &Did) -> TxResult<bool> {
        self.db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM takedowns WHERE did = ?1)")?
            .query_row([did.as_str()], |row| row.get(0))
    }

    /// DIDs that are hidden, ascending after `after`.
    pub fn takedowns(&self, after: &str, limit: usize) -> TxResult<Vec<String>> {
        self.db
            .prepare_cached("SELECT did FROM takedowns WHERE did > :after ORDER BY did LIMIT :limit")?
            .query_map(named_params! {":after": after, ":limit": limit as i64}, |row| row.get(0))?
            .collect()
    }

    fn set_taken_down(&self, did: &Did, taken_down: bool) -> TxResult<()> {
        let Some(repo) = self.repo(did)?.map(|repo| repo.id) else { return Ok(()) };
        self.change_visibility(repo, || {
            self.db
                .prepare_cached("UPDATE repos SET taken_down = :taken_down WHERE repo_id = :repo")?
                .execute(named_params! {":taken_down": taken_down, ":repo": repo.0})?;
            Ok(())
        })
    }
}
