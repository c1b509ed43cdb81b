//! A fake AT Protocol network on loopback: hosts, a PLC directory and firehoses with real keys and real signed repos.
//!
//! It does not know signpost: it encodes, hashes, signs and builds trees with other crates and in the simplest way, so
//! that signpost is compared with something that cannot share its mistakes. A [`Network`] holds hosts, a [`FakeHost`]
//! holds accounts, a [`Fault`] is switched on per host and counted when it fires, and [`Network::expected`] is the
//! truth. Nothing sleeps but a fault; to wait is to await a condition with a deadline.

mod account;
mod announce;
pub mod block;
pub mod client;
mod controls;
mod damage;
mod directory;
mod fault;
mod firehose;
mod frame;
mod host;
mod keys;
mod life;
pub mod mst;
mod network;
pub mod offline;
mod repo;
mod serve;
mod tid;
mod wait;
mod wire;
mod xrpc;

pub use account::{AccountOptions, DidKind, Status};
pub use controls::Backup;
pub use damage::Damage;
pub use directory::DocumentForm;
pub use fault::{Fault, FaultScope};
pub use host::{FakeHost, HostOptions};
pub use keys::{Curve, SigningKey};
pub use network::{Network, RecordPlace};
pub use repo::{Record, Write};
pub use tid::{now_micros, tid};
pub use wait::DEADLINE;
