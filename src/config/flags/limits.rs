//! The flags of what hosts may take.

use clap::Args;

/// Bounds on what hosts can make signpost keep, read and ask.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitFlags {
    /// How many accounts of one host are taken in
    ///
    /// Further ones wait: /hosts shows how many, and some of them. They are taken in when the limit of their host
    /// is raised.
    ///
    /// [environment: SIGNPOST_MAX_ACCOUNTS_PER_HOST] [default: 100000]
    #[arg(long, value_name = "NUMBER")]
    pub max_accounts_per_host: Option<String>,

    /// How many records of one repo are indexed
    ///
    /// A repo with more stays listed, for the collections of the records that are kept, and is counted as
    /// truncated.
    ///
    /// [environment: SIGNPOST_MAX_RECORDS_PER_REPO] [default: 200000]
    #[arg(long, value_name = "NUMBER")]
    pub max_records_per_repo: Option<String>,

    /// How much JSON of one repo's records is kept
    ///
    /// A whole number with a unit: B, KiB, MiB or GiB.
    ///
    /// [environment: SIGNPOST_MAX_BYTES_PER_REPO] [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_bytes_per_repo: Option<String>,

    /// How many records of all repos of one host are indexed
    ///
    /// [environment: SIGNPOST_MAX_RECORDS_PER_HOST] [default: 2000000]
    #[arg(long, value_name = "NUMBER")]
    pub max_records_per_host: Option<String>,

    /// How much JSON of the records of one host is kept
    ///
    /// [environment: SIGNPOST_MAX_BYTES_PER_HOST] [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub max_bytes_per_host: Option<String>,

    /// How many events of one host's firehose are taken in within a second
    ///
    /// A host that sends more is read more slowly; no event is dropped. /hosts shows it.
    ///
    /// [environment: SIGNPOST_HOST_EVENTS_PER_SECOND] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub host_events_per_second: Option<String>,

    /// The same within an hour
    ///
    /// [environment: SIGNPOST_HOST_EVENTS_PER_HOUR] [default: 2000000]
    #[arg(long, value_name = "NUMBER")]
    pub host_events_per_hour: Option<String>,

    /// The same within a day
    ///
    /// [environment: SIGNPOST_HOST_EVENTS_PER_DAY] [default: 20000000]
    #[arg(long, value_name = "NUMBER")]
    pub host_events_per_day: Option<String>,

    /// How many requests a second the PLC directory is sent at most
    ///
    /// [environment: SIGNPOST_PLC_REQUESTS_PER_SECOND] [default: 200]
    #[arg(long, value_name = "NUMBER")]
    pub plc_requests_per_second: Option<String>,
}
