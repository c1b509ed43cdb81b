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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{Commit, DagCid};
    use crate::store::{JobId, JobKind, RepoId};
    use crate::syntax::{Did, Host, HostPolicy, Rev};

    const HOST: HostId = HostId(1);
    const MIB: u64 = 1 << 20;

    fn job(owner: Owner) -> RepoJob {
        RepoJob {
            job_id: JobId(1),
            host_id: HOST,
            host: Host::parse("pds.example.com", HostPolicy::PublicOnly).expect("a host"),
            repo_id: RepoId(1),
            did: Did::parse("did:plc:z72i7hdynmk6r22z27h6tvur").expect("a DID"),
            kind: JobKind::Repo,
            attempts: 1,
            is_referred: false,
            owner,
        }
    }

    fn ways(filter: &str) -> Ways {
        Ways::new(&CollectionFilter::parse(filter).expect("a filter"))
    }

    fn sight(records: u64, matching: u64) -> Sight {
        let cid = DagCid::from_digest([7; 32]);
        let did = Did::parse("did:plc:z72i7hdynmk6r22z27h6tvur").expect("a DID");
        Sight {
            commit: Commit { did, rev: Rev::parse("3k2yihmaaaaaa").expect("a TID"), data: cid, cid },
            has_match: matching > 0,
            undecided: None,
            missing: Vec::new(),
            records_estimate: records,
            matching_estimate: matching,
        }
    }

    const RESOLVED: Owner = Owner::Known { data: None };

    #[test]
    fn a_host_of_which_nothing_is_known_is_asked_first_for_what_may_need_no_identity() {
        let now = Instant::now();
        assert!(ways("io.atcr.*").asks_first(&job(Owner::Hearsay), now));
        assert!(!ways("io.atcr.*").asks_first(&job(RESOLVED), now));
        assert!(!ways("*").asks_first(&job(Owner::Hearsay), now), "it has no bounds");
        let many: Vec<String> = (0..9).map(|n| format!("a.b.c{n}")).collect();
        assert!(!ways(&many.join(",")).asks_first(&job(Owner::Hearsay), now), "too many calls");
    }

    #[test]
    fn what_a_hosts_repos_were_like_decides_about_the_next() {
        let now = Instant::now();
        let asks = |bytes: u64, matches: bool| {
            let ways = ways("io.atcr.*");
            (0..20).for_each(|_| ways.note(HOST, bytes, matches));
            (ways.asks_first(&job(Owner::Hearsay), now), ways.asks_first(&job(RESOLVED), now))
        };
        assert_eq!(asks(5_000, true), (false, false));
        assert_eq!(asks(5_000, false), (true, false));
        assert_eq!(asks(20 * MIB, true), (true, true));
        assert_eq!(asks(20 * MIB, false), (true, true));
        let ways = ways("io.atcr.*");
        (0..40).for_each(|n| ways.note(HOST, 5_000, n % 2 == 0));
        assert!(ways.asks_first(&job(Owner::Hearsay), now), "half of them is not most");
    }

    #[test]
    fn a_method_that_is_missing_is_tried_again_after_a_while() {
        let (ways, now) = (ways("io.atcr.*"), Instant::now());
        ways.lacks(HOST, Method::GetRecord, now);
        assert!(!ways.asks_first(&job(Owner::Hearsay), now));
        assert!(ways.asks_first(&job(Owner::Hearsay), now + LACKS_FOR));
        let few = sight(100_000, 10);
        assert!(ways.takes_part(&job(RESOLVED), &few, now));
        ways.lacks(HOST, Method::GetBlocks, now);
        assert!(!ways.takes_part(&job(RESOLVED), &few, now));
        assert!(ways.takes_part(&job(RESOLVED), &few, now + LACKS_FOR));
    }

    #[test]
    fn the_lesser_cost_is_taken() {
        let (ways, now) = (ways("io.atcr.*"), Instant::now());
        let takes = |records, matching| ways.takes_part(&job(RESOLVED), &sight(records, matching), now);
        assert!(takes(100_000, 10) && takes(10_000, 200) && takes(1_000, 3));
        assert!(!takes(100, 3), "calls cost more than such a repo");
        assert!(!takes(3_000, 1_000) && !takes(1_000_000, 10_000) && !takes(u64::MAX, u64::MAX));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let ways = ways("io.atcr.*");
        (0..2 * MAX_HOSTS as i64).for_each(|host| ways.note(HostId(host), 1, true));
        assert!(ways.locked().len() <= MAX_HOSTS);
    }
}
