//! `admin_log`: every change that an operator made, in the transaction that makes it.

use rusqlite::named_params;
use serde_json::Value;

use super::{Tx, TxResult};

/// A change that an operator made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AdminEntry {
    /// Ascending with time.
    pub id: i64,
    /// Unix milliseconds.
    pub at: i64,
    /// What was done, such as `block_host`.
    pub action: String,
    /// A host, a domain or a DID.
    pub subject: String,
    /// What it was set to.
    pub detail: Option<Value>,
}

impl Tx<'_> {
    /// Writes down what is done in this transaction.
    pub(super) fn note_admin(&self, action: &str, subject: &str, detail: Option<Value>) -> TxResult<()> {
        self.db
            .prepare_cached(
                "INSERT INTO admin_log (at, action, subject, detail) VALUES (:now, :action, :subject, :detail)",
            )?
            .execute(named_params! {
                ":now": self.now, ":action": action, ":subject": subject, ":detail": detail.as_ref().map(Value::to_string),
            })?;
        let detail = detail.map(|detail| detail.to_string());
        match subject {
            did if did.starts_with("did:") => tracing::info!(action, did, detail, "the operator changed an account"),
            domain if action.ends_with("_domain") => tracing::info!(action, domain, "the operator changed a domain"),
            host => tracing::info!(action, host, detail, "the operator changed a host"),
        }
        Ok(())
    }

    /// The latest changes, the newest first, from before the entry `before`.
    pub fn admin_log(&self, before: Option<i64>, limit: usize) -> TxResult<Vec<AdminEntry>> {
        self.db
            .prepare_cached(
                "SELECT entry_id, at, action, subject, detail FROM admin_log
                 WHERE entry_id < :before ORDER BY entry_id DESC LIMIT :limit",
            )?
            .query_map(named_params! {":before": before.unwrap_or(i64::MAX), ":limit": limit as i64}, |row| {
                let detail: Option<String> = row.get(4)?;
                Ok(AdminEntry {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    action: row.get(2)?,
                    subject: row.get(3)?,
                    detail: detail.and_then(|detail| serde_json::from_str(&detail).ok()),
                })
            })?
            .collect()
    }
}
