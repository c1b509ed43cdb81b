//! signpost, the real binary, against the reference PDS, of today and of yesterday: `tests/pds/install`, then `cargo test --test real_pds`.
//!
//! Every test has a signpost and PDSes of its own; one Node process, started once, runs all the PDSes and the PLC directory. All
//! questions to signpost go through the official client, which checks each answer against its lexicon. Logs and databases
//! stay in `target/tmp/real_pds` until the next run. The times that were measured are written to stderr.

mod accounts;
mod await_condition;
mod crawl;
mod index;
mod keys;
mod legacy;
mod live;
mod migration;
mod network;
mod parts;
mod pds;
mod queries;
mod restarts;
mod signpost;
mod times;
