//! The one reason for which the database cannot be used any more: kept for the last line that the process says.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

pub(super) struct Failure {
    reason: OnceLock<String>,
    failed: CancellationToken,
}

impl Failure {
    pub(super) fn told_by(failed: CancellationToken) -> Failure {
        Failure { reason: OnceLock::new(), failed }
    }

    /// The first reason is the one that counts.
    pub(super) fn set(&self, reason: String) {
        // Set before: who is woken by the other reads it.
        let _ = self.reason.set(reason);
        self.failed.cancel();
    }

    pub(super) fn is_set(&self) -> bool {
        self.reason.get().is_some()
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}
