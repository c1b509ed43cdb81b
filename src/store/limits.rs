//! The limits of a host that the operator set, in `hosts`; who does not have one has the default.

use rusqlite::named_params;
use serde_json::json;

use super::{HostId, Signal, Tx, TxResult};
use crate::config::{EventLimits, Limits};
use crate::syntax::Host;

/// What a host may have and send; None: the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostLimits {
    /// Accounts.
    pub accounts: Option<i64>,
    /// Firehose events in a second.
    pub events_per_second: Option<i64>,
    /// Firehose events in an hour.
    pub events_per_hour: Option<i64>,
    /// Firehose events in a day.
    pub events_per_day: Option<i64>,
}

impl HostLimits {
    /// Those of a host for which the operator set none.
    pub fn of(defaults: &Limits) -> HostLimits {
        let EventLimits { per_second, per_hour, per_day } = defaults.host_events;
        HostLimits {
            accounts: Some(defaults.accounts_per_host),
            events_per_second: Some(per_second),
            events_per_hour: Some(per_hour),
            events_per_day: Some(per_day),
        }
    }

    /// These limits, and where there is none, that of `defaults`.
    pub fn or(self, defaults: HostLimits) -> HostLimits {
        HostLimits {
            accounts: self.accounts.or(defaults.accounts),
            events_per_second: self.events_per_second.or(defaults.events_per_second),
            events_per_hour: self.events_per_hour.or(defaults.events_per_hour),
            events_per_day: self.events_per_day.or(defaults.events_per_day),
        }
    }
}

impl Tx<'_> {
    /// The limits that the operator set for a host.
    pub fn host_limits(&self, host_id: HostId) -> TxResult<HostLimits> {
        self.db
            .prepare_cached(
                "SELECT account_limit, events_per_second, events_per_hour, events_per_day FROM hosts WHERE host_id = ?1",
            )?
            .query_row([host_id.0], |row| {
                Ok(HostLimits {
                    accounts: row.get(0)?,
                    events_per_second: row.get(1)?,
                    events_per_hour: row.get(2)?,
                    events_per_day: row.get(3)?,
                })
            })
    }

    /// Sets the limits of a host.
    pub fn set_host_limits(&self, host_id: HostId, host: &Host, limits: HostLimits) -> TxResult<()> {
        let HostLimits { accounts, events_per_second, events_per_hour, events_per_day } = limits;
        let before = self.host_limits(host_id)?;
        self.db
            .prepare_cached(
                "UPDATE hosts SET account_limit = :accounts, events_per_second = :second, events_per_hour = :hour,
                     events_per_day = :day WHERE host_id = :host",
            )?
            .execute(named_params! {
                ":accounts": accounts, ":second": events_per_second, ":hour": events_per_hour, ":day": events_per_day,
                ":host": host_id.0,
            })?;
        if accounts != before.accounts {
            self.account_limit_raised(host_id)?;
        }
        // A connection reads its limits anew.
        self.raise(Signal::Subscribe);
        let detail = json!({
            "repo_limit": accounts, "per_second": events_per_second, "per_hour": events_per_hour, "per_day": events_per_day,
        });
        self.note_admin("change_limits", host.as_str(), Some(detail))
    }
}
