//! Which way a host's repos are taken: whole, or first one call that shows whether anything matches. Learned from the repos that were
//! taken, and kept in memory alone.
//! Invariant: bounded; what is not known is tried.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::host::Client;
use crate::repo::Sight;
use crate::store::{HostId, Owner, RepoJob};
use crate::syntax::{CollectionFilter, KeyRange};

/// A call for each range: with more of them, small repos would take more calls than they have blocks.
const MOST_RANGES: usize = 8;
/// A method that a host does not have, or does not do well, is not asked for again for so long.
const LACKS_FOR: Duration = Duration::from_secs(1800);
/// When a larger part of a host's repos matches, a call that says so is one too many.
const MOSTLY: f64 = 0.6;
/// The weight of the latest repo in what is typical.
const LATEST: f64 = 1.0 / 8.0;
/// A repo of a host with smaller ones is fetched whole, if it has to be asked whose it is anyway.
const SMALL_BYTES: f64 = 256.0 * 1024.0;
/// What a record takes of a repo, its part of the tree included.
const RECORD_BYTES: u64 = 280;
/// The same in a part, where the nodes on the way are shared by few.
const PART_RECORD_BYTES: u64 = 450;
/// So many bytes are as dear as one more call.
const CALL_BYTES: u64 = 64 << 10;
const MAX_HOSTS: usize = 10_000;

/// What is known of all hosts.
pub(super) struct Ways {
    /// The filter's ranges; empty when parts are of no use with it.
    pub ranges: Vec<KeyRange>,
    hosts: Mutex<HashMap<HostId, HostWays>>,
}

/// A method whose absence is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    GetRecord,
    GetBlocks,
}

#[derive(Default)]
struct HostWays {
    lacks_records_until: Option<Instant>,
    lacks_blocks_until: Option<Instant>,
    typical: Option<Typical>,
}

struct Typical {
    /// The part of its repos of which something matches.
    matching: f64,
    /// The logarithm of their bytes: one that is huge says little of the others.
    log_bytes: f64,
}

impl Ways {
    pub fn new(filter: &CollectionFilter) -> Ways {
        let ranges = filter.key_ranges().filter(|ranges| ranges.len() <= MOST_RANGES).unwrap_or_default();
        Ways { ranges, hosts: Mutex::default() }
    }

    /// Whether to ask for a record first.
    pub fn asks_first(&self, job: &RepoJob, now: Instant) -> bool {
        if self.ranges.is_empty() {
            return false;
        }
        let hosts = self.locked();
        let Some(host) = hosts.get(&job.host_id) else { return job.owner == Owner::Hearsay };
        let mostly_matches = host.typical.as_ref().is_some_and(|typical| typical.matching > MOSTLY);
        let is_large = host.typical.as_ref().is_some_and(|typical| typical.log_bytes > SMALL_BYTES.ln());
        let is_hearsay = job.owner == Owner::Hearsay;
        !lasts(host.lacks_records_until, now) && (is_large || (is_hearsay && !mostly_matches))
    }

    /// Whether a repo of which something matches had better be fetched in part.
    pub fn takes_part(&self, job: &RepoJob, sight: &Sight, now: Instant) -> bool {
        let part_bytes = sight.matching_estimate.saturating_mul(PART_RECORD_BYTES);
        let calls = 2 + sight.matching_estimate / Client::BLOCKS_AT_ONCE as u64 * 2;
        let part_cost = part_bytes.saturating_add(calls.saturating_mul(CALL_BYTES));
        let lacks_blocks = self.locked().get(&job.host_id).is_some_and(|host| lasts(host.lacks_blocks_until, now));
        !lacks_blocks && part_bytes < Client::PART_BYTES as u64 && part_cost < whole_bytes(sight)
    }

    /// Notes what a repo was like.
    pub fn note(&self, host: HostId, bytes: u64, matches: bool) {
        let (matching, log_bytes) = (f64::from(u8::from(matches)), (bytes.max(1) as f64).ln());
        self.change(host, |host| match &mut host.typical {
            Some(typical) => {
                typical.matching += LATEST * (matching - typical.matching);
                typical.log_bytes += LATEST * (log_bytes - typical.log_bytes);
            }
            none => *none = Some(Typical { matching: LATEST * matching, log_bytes }),
        });
    }

    /// Notes that a host does not answer as it should.
    pub fn lacks(&self, host: HostId, method: Method, now: Instant) {
        let until = Some(now + LACKS_FOR);
        self.change(host, |host| match method {
            Method::GetRecord => host.lacks_records_until = until,
            Method::GetBlocks => host.lacks_blocks_until = until,
        });
    }

    fn change(&self, host: HostId, change: impl FnOnce(&mut HostWays)) {
        let mut hosts = self.locked();
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(&host) {
            hosts.clear();
        }
        change(hosts.entry(host).or_default());
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<HostId, HostWays>> {
        self.hosts.lock().expect("nothing panics while it holds the lock")
    }
}

/// About how many bytes the whole repo has.
pub(super) fn whole_bytes(sight: &Sight) -> u64 {
    sight.records_estimate.saturating_mul(RECORD_BYTES)
}

fn lasts(until: Option<Instant>, now: Instant) -> bool {
    until.is_some_and(|until| until > now)
}
