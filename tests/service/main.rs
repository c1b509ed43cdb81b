//! signpost against the fake network, over real sockets: the whole service in this process, and the real binary where it is killed.
//!
//! Every test has a network and a database of its own. What is compared is the index as its database file shows it with the
//! truth that the network knows, and the answers of the two listeners. Every fault is seen to fire before its effect is judged.

mod accounts;
mod admin;
mod announcement;
mod await_condition;
mod backfill;
mod backup;
mod budgets;
mod chaos;
mod clock;
mod command_line;
mod commands;
mod comparison;
mod connections;
mod documents;
mod dump;
mod fairness;
mod faults;
mod fetch;
mod filter;
mod hostile_bytes;
mod index;
mod installing;
mod internal;
mod kills;
mod lag;
mod listing;
mod live;
mod log;
mod migrations;
mod moves;
mod no_identity;
mod parts;
mod process;
mod quotas;
mod restarts;
mod sequences;
mod signpost;
mod stream;
mod supervisor;
mod surface;
mod upgrade;
mod verdicts;

/// The collections that the tests write to.
const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";
/// Outside the default filter.
const POST: &str = "app.bsky.feed.post";

const GET_BLOCKS: &str = "com.atproto.sync.getBlocks";
const GET_RECORD: &str = "com.atproto.sync.getRecord";
const GET_REPO: &str = "com.atproto.sync.getRepo";
const GET_REPO_STATUS: &str = "com.atproto.sync.getRepoStatus";
const LIST_REPOS: &str = "com.atproto.sync.listRepos";
const SUBSCRIBE_REPOS: &str = "com.atproto.sync.subscribeRepos";
const DESCRIBE_SERVER: &str = "com.atproto.server.describeServer";
