//! What one repo and one host may take of us, and all together of the PLC directory: the section, its settings, how they are read.

use super::flags::LimitFlags;
use super::setting::{ConfigError, Resolver, Setting};
use super::values;

/// Bounds on what hosts can make us keep, read and ask. The defaults suit a machine with 1 GB of memory and 20 GB of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Accounts of one host that are known.
    pub accounts_per_host: i64,
    /// Indexed records of one repo.
    pub records_per_repo: i64,
    /// The JSON of one repo's indexed records.
    pub bytes_per_repo: i64,
    /// Indexed records of one host's repos.
    pub records_per_host: i64,
    /// The JSON of one host's indexed records.
    pub bytes_per_host: i64,
    /// Events of one host's firehose.
    pub host_events: EventLimits,
    /// Requests to the PLC directory.
    pub plc_requests_per_second: u32,
}

/// How many events of one firehose are taken in; what comes faster is read later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// Within a second.
    pub per_second: i64,
    /// Within an hour.
    pub per_hour: i64,
    /// Within a day.
    pub per_day: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            accounts_per_host: 100_000,
            records_per_repo: 200_000,
            bytes_per_repo: 64 << 20,
            records_per_host: 2_000_000,
            bytes_per_host: 1 << 30,
            host_events: EventLimits { per_second: 10_000, per_hour: 2_000_000, per_day: 20_000_000 },
            plc_requests_per_second: 200,
        }
    }
}

macro_rules! settings {
    ($($name:ident: $flag:literal, $variable:literal, $default:literal;)*) => {
        $(pub(super) const $name: Setting = Setting { flag: $flag, variables: &[$variable], default: Some($default) };)*
        /// In the order of the manual.
        #[cfg(test)]
        pub(super) const ALL: &[&Setting] = &[$(&$name),*];
    };
}

settings! {
    ACCOUNTS_PER_HOST: "--max-accounts-per-host", "SIGNPOST_MAX_ACCOUNTS_PER_HOST", "100000";
    RECORDS_PER_REPO: "--max-records-per-repo", "SIGNPOST_MAX_RECORDS_PER_REPO", "200000";
    BYTES_PER_REPO: "--max-bytes-per-repo", "SIGNPOST_MAX_BYTES_PER_REPO", "64MiB";
    RECORDS_PER_HOST: "--max-records-per-host", "SIGNPOST_MAX_RECORDS_PER_HOST", "2000000";
    BYTES_PER_HOST: "--max-bytes-per-host", "SIGNPOST_MAX_BYTES_PER_HOST", "1GiB";
    EVENTS_PER_SECOND: "--host-events-per-second", "SIGNPOST_HOST_EVENTS_PER_SECOND", "10000";
    EVENTS_PER_HOUR: "--host-events-per-hour", "SIGNPOST_HOST_EVENTS_PER_HOUR", "2000000";
    EVENTS_PER_DAY: "--host-events-per-day", "SIGNPOST_HOST_EVENTS_PER_DAY", "20000000";
    PLC_REQUESTS: "--plc-requests-per-second", "SIGNPOST_PLC_REQUESTS_PER_SECOND", "200";
}

pub(super) fn resolve(resolver: &Resolver, flags: LimitFlags) -> Result<Limits, ConfigError> {
    // Sums of counters stay far from what 64 bits hold.
    let count = |value: &str| values::number(value, 1..=1_000_000_000_000);
    let bytes = |value: &str| values::size(value, 1..=1 << 40);
    let rate = |value: &str| values::number(value, 1..=100_000);
    Ok(Limits {
        accounts_per_host: resolver.require(&ACCOUNTS_PER_HOST, flags.max_accounts_per_host, count)?,
        records_per_repo: resolver.require(&RECORDS_PER_REPO, flags.max_records_per_repo, count)?,
        bytes_per_repo: resolver.require(&BYTES_PER_REPO, flags.max_bytes_per_repo, bytes)?,
        records_per_host: resolver.require(&RECORDS_PER_HOST, flags.max_records_per_host, count)?,
        bytes_per_host: resolver.require(&BYTES_PER_HOST, flags.max_bytes_per_host, bytes)?,
        host_events: EventLimits {
            per_second: resolver.require(&EVENTS_PER_SECOND, flags.host_events_per_second, count)?,
            per_hour: resolver.require(&EVENTS_PER_HOUR, flags.host_events_per_hour, count)?,
            per_day: resolver.require(&EVENTS_PER_DAY, flags.host_events_per_day, count)?,
        },
        plc_requests_per_second: resolver.require(&PLC_REQUESTS, flags.plc_requests_per_second, rate)?,
    })
}
