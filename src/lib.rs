//! signpost: a collection-filtered discovery relay for AT Protocol.
//!
//! A host (a PDS, or an ATCR hold) says "crawl me". Signpost fetches its repos once, verifies them, keeps the records whose
//! collection matches a filter, follows the host's firehose from then on, and tells anybody which repos hold which collection.
//!
//! # Code map
//!
//! ```text
//! main        parses the command line, runs the command           cli        one file per command
//! config      flags and environment, validated                    service    builds the parts, runs and drains them
//! api         what we answer: XRPC, metrics, readiness            metrics    every metric, declared once
//! crawl       probes and lists hosts, fetches repos: the queue    subscribe  follows firehoses
//! index       verified facts -> row changes; the verdicts         store      SQLite: the only SQL, the only blocking
//! host        everything that is sent to a host; SSRF, budgets    identity   DID -> signing key, PDS
//! repo        CAR, commit, signature, MST, DAG-CBOR: pure         syntax     Did, Nsid, Rev, Host ..: parsed at the edge
//! clock       our clock, and whether to believe it                simulation the core against a seeded world (tests only)
//! ```
//!
//! # Layers
//!
//! A part uses parts below it, never beside or above it; a test holds this.
//!
//! ```text
//! cli                              service is the only one that knows all parts; backup and check know the store
//! service
//! api | crawl | subscribe          siblings: they meet through rows in store and its bells
//! index
//! store | identity
//! host
//! repo | config | metrics | clock
//! syntax
//! ```
//!
//! # Three journeys
//!
//! 1. **requestCrawl** ([`api`]): a host name is parsed, quotas and bans are asked, and the host with its queue row is durable before 200. [`crawl`] claims the
//!    row, probes the host, waits until [`subscribe`] has its firehose connected, and lists its repos: what is written meanwhile
//!    is heard. Each repo is a queue row of its own: look whether anything in it matches, resolve the identity, require that it names
//!    this host, fetch, verify, replace. Where nothing matches, it ends with the look.
//! 2. **A live event** ([`subscribe`]): decoded and verified by itself, then judged against the repo inside the transaction that
//!    writes its outcome and the cursor ([`index::verdict`]). What cannot be applied queues the repo for the fetch of journey 1.
//! 3. **listReposByCollection** ([`api`]): a keyset page from a read-only connection; no row of it is computed at that time.
//!
//! # Invariants
//!
//! - A repo's rows, counts, rev, head and data CID change in one transaction, and come from a commit whose signature, blocks and
//!   tree, as far as the filter can meet it, were verified. Without rows the blocks and the tree are enough: such a repo is in no list.
//! - A host's stored cursor is a low watermark: every event at or below it has a durable outcome (applied, ignored for good, held on
//!   disk, or its repo queued).
//! - Only the host that an account's DID document names changes what is indexed of it.
//! - Everything that a host can make us hold is bounded: frames, CARs, pages, held events, retries, time.
//! - A write that fails stops the process; nothing goes on with half a truth. One that finds no room is undone whole, and everything
//!   that takes something in stands still until there is space.
//!
//! # Glossary
//!
//! The protocol's words: host, repo, collection, rkey, rev, seq, commit, head (the commit's CID), data (the root of the repo's MST),
//! firehose, account status. Ours:
//!
//! - **host_cursor**: the seq up to which a firehose was taken in. **page_cursor**: where a host's listRepos goes on.
//!   **list_cursor**: where our own list goes on for a client.
//! - **backfill**: the first fetch of a repo. **resync**: every later one. Both are the same job.
//! - **held event**: a live event of a repo that has a job; it waits on disk and is applied after it.
//! - **closed host**: blocked by the operator, in a banned domain, or being forgotten: neither crawled nor followed.
//! - **claim**: a job taken from the queue, for as long as its lease; also a host naming an account that lives elsewhere.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crawl;
pub mod host;
pub mod identity;
pub mod index;
#[cfg(test)]
mod layers;
pub mod metrics;
pub mod repo;
pub mod service;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod subscribe;
pub mod syntax;
