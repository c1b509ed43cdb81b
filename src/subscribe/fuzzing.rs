//! Doors to what this part reads from firehoses, for the fuzz targets alone.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;

pub use super::frame::{Action, Body, CommitBody, FrameError, Message, Op, decode};
use super::verify::{self, Check, Judge, Known};
use crate::clock::Clock;
use crate::index::Event;
use crate::metrics::Metrics;
use crate::repo::PublicKey;
use crate::store::{HostId, StoredKey};
use crate::syntax::{CollectionFilter, Did};

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The event of a frame, verified for an account of which nothing but the key is known; None: it is about no account.
pub fn verify_event(frame: Bytes, did: &Did, key: &PublicKey, filter: &CollectionFilter) -> Option<Event> {
    let check = || Check::Signature(Arc::new(StoredKey::from(key)));
    let judge = Judge { host_id: HostId(1), clock: &Clock::default(), filter };
    let frames = [frame];
    let messages = verify::decode(&frames);
    let known = verify::to_look_up(&messages).into_iter().map(|about| match about {
        Some(about) if about == did => Known { check: check(), rev: None },
        _ => Known::default(),
    });
    let known = known.collect();
    judge.check_all(messages, known, &METRICS).events.pop()
}
