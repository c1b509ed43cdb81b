//! Doors to what this part reads from firehoses, for the fuzz targets alone.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;

pub use super::frame::{Action, Body, CommitBody, FrameError, Message, Op, decode};
use super::verify::{self, Check, Judge, Known};
use crate::clock::Clock;
use crate::index::Event;
use crate::metrics::Metrics;
use crate::repo::PublicKey;
use crate::store::HostId;
use crate::syntax::{CollectionFilter, Did};

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The event of a frame, verified for an account of which nothing but the key is known; None: it is about no account.
pub fn verify_event(frame: Bytes, did: &Did, key: &PublicKey, filter: &CollectionFilter) -> Option<Event> {
    let known = HashMap::from([(did.clone(), Known { check: Check::Signature(key.clone()), rev: None })]);
    let judge = Judge { host_id: HostId(1), clock: &Clock::default(), filter };
    judge.check_all(verify::decode(&[frame]), &known, &METRICS).events.pop()
}
