//! Which hosts may get a worker: in turn, a bounded number each, and none while a host cannot be reached or asked to wait.

use std::collections::HashMap;
use std::time::Duration;

use super::Ended;
use crate::host::full_jitter;
use crate::store::HostId;

const PAUSE_CAP: Duration = Duration::from_secs(300);

pub(super) struct Gate {
    workers: usize,
    per_host: usize,
    pause_base: Duration,
    busy: HashMap<HostId, usize>,
    /// How many of the busy ones keep no worker: they count for their host alone.
    aside: usize,
    pauses: HashMap<HostId, Pause>,
    /// Whose turn it was last.
    last: HostId,
}

struct Pause {
    since: i64,
    until: i64,
    failures: u32,
}

impl Gate {
    pub(super) fn new(workers: usize, per_host: usize, pause_base: Duration) -> Self {
        Gate { workers, per_host, pause_base, busy: HashMap::new(), aside: 0, pauses: HashMap::new(), last: HostId(0) }
    }

    /// Shares the free workers out, one by one and host by host, beginning behind the host that was served last. `due` has the
    /// hosts with work, ascending, and when each was last woken: a wake ends a pause that began before it.
    pub(super) fn share(&mut self, due: &[(HostId, i64)], now: i64) -> Vec<(HostId, usize)> {
        for (host, woken_at) in due {
            if let Some(pause) = self.pauses.get_mut(host)
                && *woken_at >= pause.since
            {
                pause.until = now;
            }
        }
        let working = self.busy.values().sum::<usize>() - self.aside;
        let mut free = self.workers.saturating_sub(working);
        let mut shares: Vec<(HostId, usize)> = Vec::new();
        let (before, behind): (Vec<_>, Vec<_>) = due.iter().map(|(host, _)| *host).partition(|host| *host <= self.last);
        let turn: Vec<HostId> = behind.into_iter().chain(before).filter(|host| self.is_open(*host, now)).collect();
        for round in 1..=self.per_host {
            for host in &turn {
                let share = round + self.busy.get(host).copied().unwrap_or(0);
                if free == 0 || share > self.per_host {
                    continue;
                }
                free -= 1;
                self.last = *host;
                match shares.iter_mut().find(|(shared, _)| shared == host) {
                    Some((_, jobs)) => *jobs = round,
                    None => shares.push((*host, round)),
                }
            }
        }
        shares
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

    #[test]
    fn a_large_host_leaves_workers_to_a_small_one() {
        let mut gate = Gate::new(8, 4, Duration::from_secs(1));
        let shares = gate.share(&due(&[1]), 10);
        assert_eq!(shares, [(HostId(1), 4)]);
        (0..4).for_each(|_| gate.started(HostId(1)));
        assert_eq!(gate.share(&due(&[1, 2]), 10), [(HostId(2), 4)]);
    }

    #[test]
    fn the_turn_goes_on_behind_the_host_that_was_served_last() {
        let mut gate = Gate::new(1, 4, Duration::from_secs(1));
        assert_eq!(gate.share(&due(&[1, 2, 3]), 10), [(HostId(1), 1)]);
        assert_eq!(gate.share(&due(&[1, 2, 3]), 10), [(HostId(2), 1)]);
        assert_eq!(gate.share(&due(&[1, 2, 3]), 10), [(HostId(3), 1)]);
        assert_eq!(gate.share(&due(&[1, 2, 3]), 10), [(HostId(1), 1)]);
    }

    #[test]
    fn jobs_aside_keep_no_worker_and_count_for_their_host() {
        let mut gate = Gate::new(4, 4, Duration::from_secs(1));
        (0..4).for_each(|_| gate.started(HostId(1)));
        assert!(gate.share(&due(&[1, 2]), 10).is_empty());
        (0..3).for_each(|_| gate.stepped_aside());
        assert_eq!(gate.share(&due(&[1, 2]), 10), [(HostId(2), 3)]);
        gate.returned();
        gate.ended(HostId(1), Ended::Answered, 0, 10);
        assert_eq!(gate.share(&due(&[1, 2]), 10), [(HostId(1), 1), (HostId(2), 2)]);
    }

    #[test]
    fn an_unreachable_host_gets_no_worker_until_its_pause_ends_or_it_is_woken() {
        let mut gate = Gate::new(4, 2, Duration::from_secs(1));
        gate.started(HostId(1));
        gate.ended(HostId(1), Ended::Wait(Duration::from_secs(60)), 900, 1_000);
        assert!(gate.share(&due(&[1]), 2_000).is_empty());
        assert_eq!(gate.next_open(2_000), Some(61_000));
        assert!(gate.share(&[(HostId(1), 899)], 2_000).is_empty(), "the wake was before the job that failed");
        assert_eq!(gate.share(&[(HostId(1), 950)], 2_000), [(HostId(1), 2)]);
        assert_eq!(gate.share(&due(&[1]), 61_000), [(HostId(1), 2)]);
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
