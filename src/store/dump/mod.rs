//! A dump: everything that signpost knows, as lines of JSON under gzip, for another machine, version or storage backend.
//!
//! Owns the format. A line is an object with one member, whose name tells the kind: `head` first; then `host`, `takedown`, `ban` and `log`;
//! then each `repo`, ascending by id, followed by its `record`s and `job`s; `end` last, with the counts: a file without it is not whole.
//! Times are Unix milliseconds, CIDs their text. Members that a reader does not know are to be passed over; what changes the meaning of
//! others raises `format`. It carries cursors and unfinished work: a restored instance goes on where this one stood. Events that waited
//! for their repo are not in it: their repos are to be fetched again.

mod restore;
mod write;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::OpenError;

pub use restore::restore;
pub use write::dump;

/// The format that this version writes, and the highest that it reads.
const FORMAT: u32 = 1;

/// How far a dump or its restoring is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpCounts {
    /// Hosts.
    pub hosts: u64,
    /// Accounts.
    pub repos: u64,
    /// Records of the index.
    pub records: u64,
}

/// Why there is no dump, or no database from one.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The name is taken.
    #[error("{0} exists: {1}")]
    Exists(PathBuf, &'static str),
    /// The database cannot be read, or not be written.
    #[error("{0}: {1}")]
    Sqlite(PathBuf, rusqlite::Error),
    /// The file cannot be read, or not be written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// The file is no dump, or not whole.
    #[error("{0} is no whole dump: line {1}: {2}")]
    Malformed(PathBuf, u64, String),
    /// The dump was written by a later version.
    #[error("{0} has format {1}, this signpost reads up to {FORMAT}: use a newer signpost")]
    Newer(PathBuf, u32),
    /// What came out of it is not sound.
    #[error("{0} does not make a sound database: {1}")]
    Unsound(PathBuf, String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head(Head),
    Host(Box<Host>),
    Takedown(Takedown),
    Ban(Ban),
    Log(LogEntry),
    Repo(Box<Repo>),
    Record(Record),
    Job(Job),
    End(DumpCounts),
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    signpost: String,
    at: i64,
    /// List cursors of the dumped instance are those of the restored one.
    instance_id: String,
    filter: String,
    complete_filter: String,
    limits: Option<String>,
    last_host_id: Option<String>,
    /// What is to come.
    counts: DumpCounts,
}

#[derive(Debug, Serialize, Deserialize)]
struct Host {
    id: i64,
    hostname: String,
    scheme: String,
    state: String,
    state_since: i64,
    requested_at: i64,
    reached_at: Option<i64>,
    created_at: i64,
    domain: String,
    budgeted: bool,
    blocked: i64,
    account_limit: Option<i64>,
    events_per_second: Option<i64>,
    events_per_hour: Option<i64>,
    events_per_day: Option<i64>,
    /// None: its firehose was never to be followed.
    firehose: Option<Firehose>,
    /// When its repos are compared next.
    next_attempt_at: i64,
    /// Whether that is only then: its list is whole.
    listed: bool,
    attempts: i64,
    page_cursor: Option<String>,
    last_error: Option<String>,
    waiting_accounts: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Firehose {
    cursor: Option<i64>,
    ever_connected: bool,
    last_event_at: Option<i64>,
    relist_on_connect: bool,
    last_error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Takedown {
    did: String,
    at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ban {
    domain: String,
    at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct LogEntry {
    at: i64,
    action: String,
    subject: String,
    detail: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Repo {
    id: i64,
    did: String,
    host: i64,
    active: bool,
    status: Option<String>,
    desynchronized: bool,
    unproven: bool,
    stale_head: Option<String>,
    rev: Option<String>,
    head: Option<String>,
    data: Option<String>,
    truncated: bool,
    identity: Option<Identity>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    signing_key: String,
    resolved_at: i64,
    checked_at: Option<i64>,
}

/// Of the repo before it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    collection: String,
    rkey: String,
    cid: String,
    value: Box<RawValue>,
    indexed_at: i64,
}

/// Of the repo before it.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    host: i64,
    kind: String,
    attempts: i64,
    next_attempt_at: i64,
    reindex: bool,
    claim: i64,
    last_error: Option<String>,
}
