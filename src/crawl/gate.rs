//! Which hosts may get a worker: in turn, a bounded number each, and none while a host cannot be reached or asked to wait.

use std::collections::HashMap;
use std::time::Duration;

use super::Ended;
use crate::host::full_jitter;
use crate::store::HostId;

const PAUSE_CAP: Duration = Duration::from_secs(300);
/// Of one host.
const MOST_AT_HAND: usize = 32;

#[derive(Default)]
pub(super) struct Gate {
    workers: usize,
    per_host: usize,
    pause_base: Duration,
    busy: HashMap<HostId, usize>,
    /// How many of the busy ones keep no worker: they count for their host alone.
    aside: usize,
    pauses: HashMap<HostId, Pause>,
    /// How many jobs of a host have ended since the workers were last shared out.
    lately: HashMap<HostId, usize>,
    /// Whose turn it was last.
    last: Option<HostId>,
}

struct Pause {
    since: i64,
    until: i64,
    failures: u32,
}

impl Gate {
    pub(super) fn new(workers: usize, per_host: usize, pause_base: Duration) -> Self {
        Gate {
            workers,
            per_host,
            pause_base,
            busy: HashMap::new(),
            aside: 0,
            pauses: HashMap::new(),
            lately: HashMap::new(),
            last: None,
        }
    }

    /// How many jobs of which hosts to claim. The free workers are shared out, one by one and host by host, beginning behind the host that
    /// was served last; and when nobody lacks one, a host with all that it may have gets jobs to follow: as many as it did since the last
    /// time, so that they are its work of a moment. `due` has the hosts with work, ascending, and when each was last woken: a wake ends a
    /// pause that began before it. `at_hand` tells how many jobs of a host are claimed and wait for a worker.
    pub(super) fn share(
        &mut self,
        due: &[(HostId, i64)],
        at_hand: &HashMap<HostId, usize>,
        now: i64,
    ) -> Vec<(HostId, usize)> {
        for (host, woken_at) in due {
            if let Some(pause) = self.pauses.get_mut(host)
                && *woken_at >= pause.since
            {
                pause.until = now;
            }
        }
        let mut free = self.free();
        let (before, behind): (Vec<_>, Vec<_>) =
            due.iter().map(|(host, _)| *host).partition(|host| Some(*host) <= self.last);
        let turn = behind.into_iter().chain(before).filter(|host| self.is_open(*host, now));
        let mut shares: Vec<(HostId, usize)> = turn.map(|host| (host, 0)).collect();
        let mut is_short = false;
        for round in 1..=self.per_host {
            for (host, jobs) in &mut shares {
                if round + self.busy_of(*host) > self.per_host {
                    continue;
                }
                if free == 0 {
                    is_short = true;
                    continue;
                }
                free -= 1;
                self.last = Some(*host);
                *jobs = round;
            }
        }
        let lately = std::mem::take(&mut self.lately);
        if !is_short {
            for (host, jobs) in &mut shares {
                let to_follow = lately.get(host).map_or(0, |ended| (*ended).min(MOST_AT_HAND));
                *jobs += to_follow.saturating_sub(at_hand.get(host).copied().unwrap_or(0));
            }
        }
        shares.retain(|(_, jobs)| *jobs > 0);
        shares
    }

    /// Whether a host may have one more worker now.
    pub(super) fn may_start(&self, host: HostId, now: i64) -> bool {
        self.free() > 0 && self.busy_of(host) < self.per_host && self.is_open(host, now)
    }

    /// Whether no worker is busy; those aside do not count.
    pub(super) fn is_idle(&self) -> bool {
        self.free() == self.workers
    }

    pub(super) fn started(&mut self, host: HostId) {
        *self.busy.entry(host).or_default() += 1;
    }

    /// A job gives its worker back, and goes on.
    pub(super) fn stepped_aside(&mut self) {
        self.aside += 1;
    }

    /// A job that had stepped aside is about to end.
    pub(super) fn returned(&mut self) {
        self.aside -= 1;
    }

    /// A job of the host ended. A wake since it began overrules what it met.
    pub(super) fn ended(&mut self, host: HostId, how: Ended, begun_at: i64, now: i64) {
        if let Some(busy) = self.busy.get_mut(&host) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&host);
            }
        }
        *self.lately.entry(host).or_default() += 1;
        match how {
            Ended::Answered => {
                self.pauses.remove(&host);
            }
            Ended::Unreachable => {
                let failures = self.pauses.get(&host).map_or(0, |pause| pause.failures);
                self.pause(host, full_jitter(failures, self.pause_base, PAUSE_CAP), failures + 1, begun_at, now);
            }
            Ended::Wait(wait) => {
                let failures = self.pauses.get(&host).map_or(0, |pause| pause.failures);
                self.pause(host, wait, failures, begun_at, now);
            }
        }
    }

    /// When the next pause ends (Unix milliseconds).
    pub(super) fn next_open(&self, now: i64) -> Option<i64> {
        self.pauses.values().map(|pause| pause.until).filter(|until| *until > now).min()
    }

    fn free(&self) -> usize {
        let working = self.busy.values().sum::<usize>() - self.aside;
        self.workers.saturating_sub(working)
    }

    fn busy_of(&self, host: HostId) -> usize {
        self.busy.get(&host).copied().unwrap_or(0)
    }

    fn is_open(&self, host: HostId, now: i64) -> bool {
        self.pauses.get(&host).is_none_or(|pause| pause.until <= now)
    }

    fn pause(&mut self, host: HostId, wait: Duration, failures: u32, since: i64, now: i64) {
        let until = now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        self.pauses.insert(host, Pause { since, until, failures });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(hosts: &[i64]) -> Vec<(HostId, i64)> {
        hosts.iter().map(|host| (HostId(*host), 0)).collect()
    }

    fn share(gate: &mut Gate, due: &[(HostId, i64)], now: i64) -> Vec<(HostId, usize)> {
        gate.share(due, &HashMap::new(), now)
    }

    #[test]
    fn a_large_host_leaves_workers_to_a_small_one() {
        let mut gate = Gate::new(8, 4, Duration::from_secs(1));
        let shares = share(&mut gate, &due(&[1]), 10);
        assert_eq!(shares, [(HostId(1), 4)]);
        (0..4).for_each(|_| gate.started(HostId(1)));
        assert_eq!(share(&mut gate, &due(&[1, 2]), 10), [(HostId(2), 4)]);
    }

    #[test]
    fn the_turn_goes_on_behind_the_host_that_was_served_last() {
        let mut gate = Gate::new(1, 4, Duration::from_secs(1));
        assert_eq!(share(&mut gate, &due(&[1, 2, 3]), 10), [(HostId(1), 1)]);
        assert_eq!(share(&mut gate, &due(&[1, 2, 3]), 10), [(HostId(2), 1)]);
        assert_eq!(share(&mut gate, &due(&[1, 2, 3]), 10), [(HostId(3), 1)]);
        assert_eq!(share(&mut gate, &due(&[1, 2, 3]), 10), [(HostId(1), 1)]);
    }

    #[test]
    fn jobs_aside_keep_no_worker_and_count_for_their_host() {
        let mut gate = Gate::new(4, 4, Duration::from_secs(1));
        (0..4).for_each(|_| gate.started(HostId(1)));
        assert!(share(&mut gate, &due(&[1, 2]), 10).is_empty());
        (0..3).for_each(|_| gate.stepped_aside());
        assert_eq!(share(&mut gate, &due(&[1, 2]), 10), [(HostId(2), 3)]);
        gate.returned();
        gate.ended(HostId(1), Ended::Answered, 0, 10);
        assert_eq!(share(&mut gate, &due(&[1, 2]), 10), [(HostId(1), 1), (HostId(2), 2)]);
    }

    #[test]
    fn an_unreachable_host_gets_no_worker_until_its_pause_ends_or_it_is_woken() {
        let mut gate = Gate::new(4, 2, Duration::from_secs(1));
        gate.started(HostId(1));
        gate.ended(HostId(1), Ended::Wait(Duration::from_secs(60)), 900, 1_000);
        assert!(share(&mut gate, &due(&[1]), 2_000).is_empty());
        assert_eq!(gate.next_open(2_000), Some(61_000));
        assert!(share(&mut gate, &[(HostId(1), 899)], 2_000).is_empty(), "the wake was before the job that failed");
        assert_eq!(share(&mut gate, &[(HostId(1), 950)], 2_000), [(HostId(1), 2)]);
        assert_eq!(share(&mut gate, &due(&[1]), 61_000), [(HostId(1), 2)]);
    }

    #[test]
    fn a_fast_host_gets_jobs_to_follow_when_nobody_lacks_a_worker() {
        let mut gate = Gate::new(8, 4, Duration::from_secs(1));
        assert_eq!(share(&mut gate, &due(&[1]), 10), [(HostId(1), 4)], "it may be slow");
        let work = |gate: &mut Gate, jobs: usize| {
            (0..jobs).for_each(|_| gate.started(HostId(1)));
            (0..jobs).for_each(|_| gate.ended(HostId(1), Ended::Answered, 0, 10));
        };
        work(&mut gate, 9);
        assert_eq!(gate.share(&due(&[1]), &HashMap::from([(HostId(1), 2)]), 10), [(HostId(1), 4 + 7)]);
        assert_eq!(share(&mut gate, &due(&[1]), 10), [(HostId(1), 4)], "nothing ended since");
        work(&mut gate, 1000);
        assert_eq!(share(&mut gate, &due(&[1]), 10), [(HostId(1), 4 + MOST_AT_HAND)]);
        work(&mut gate, 9);
        (0..4).for_each(|_| gate.started(HostId(1)));
        assert_eq!(gate.share(&due(&[1]), &HashMap::from([(HostId(1), 2)]), 10), [(HostId(1), 7)]);
        work(&mut gate, 9);
        assert_eq!(share(&mut gate, &due(&[1, 2, 3]), 10), [(HostId(2), 2), (HostId(3), 2)], "others wait");
    }

    #[test]
    fn a_host_may_start_what_its_share_and_its_pause_allow() {
        let mut gate = Gate::new(3, 2, Duration::from_secs(1));
        assert!(gate.is_idle());
        gate.started(HostId(1));
        assert!(gate.may_start(HostId(1), 10) && !gate.is_idle());
        gate.started(HostId(1));
        assert!(!gate.may_start(HostId(1), 10) && gate.may_start(HostId(2), 10));
        gate.started(HostId(2));
        assert!(!gate.may_start(HostId(2), 10), "no worker is free");
        gate.ended(HostId(2), Ended::Wait(Duration::from_secs(60)), 10, 10);
        assert!(!gate.may_start(HostId(2), 10) && gate.may_start(HostId(3), 10));
    }

    #[test]
    fn pauses_grow_until_the_host_answers() {
        let mut gate = Gate::new(4, 2, Duration::from_secs(1));
        for failures in 1..=20 {
            gate.started(HostId(1));
            gate.ended(HostId(1), Ended::Unreachable, 0, 0);
            assert_eq!(gate.pauses[&HostId(1)].failures, failures);
        }
        assert!(gate.pauses[&HostId(1)].until <= 300_000);
        gate.started(HostId(1));
        gate.ended(HostId(1), Ended::Answered, 0, 0);
        assert!(gate.pauses.is_empty());
    }
}
