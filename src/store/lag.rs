//! How far each connected firehose is behind its host: in memory only, written by the connections and read for the operator.
//!
//! Seconds: how old the newest event was when it was read, by its own `time`, less what the host's clock and ours differ by. A host that
//! has nothing more to say is not behind, however old its last word. Events: those that were read and are not stored yet.
//! Invariant: never negative, and nothing is told of a firehose that is not connected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::HostId;

/// A socket that has had nothing for so long says that the host has told all it knows.
const QUIET: Duration = Duration::from_secs(5);
/// A host this far behind is worth a look.
pub const LAGGING_SECONDS: u64 = 600;

/// How far a firehose is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lag {
    /// None: no event that tells its time came since the firehose connected.
    pub seconds: Option<u64>,
    /// Events that were read and are not stored yet.
    pub events: usize,
    /// Whether the host has more to read.
    pub more: bool,
}

/// The lags of all firehoses; a clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Lags(Arc<Mutex<HashMap<HostId, State>>>);

/// What a firehose's task says of its own; when it is dropped, nothing is known any more.
#[derive(Debug)]
pub struct Followed {
    lags: Lags,
    host_id: HostId,
}

/// What is known of one.
#[derive(Debug, Default)]
struct State {
    is_connected: bool,
    /// Events that were read and are not stored yet.
    in_hand: usize,
    /// Whether the socket had no more when it was last read.
    drained: bool,
    /// Since when it has nothing for us; None: it may have, and we are busy or pause.
    idle_since: Option<Instant>,
    /// How far behind the newest event was, in milliseconds, and when it was read.
    newest: Option<(i64, Instant)>,
    /// How old an event of this host looks that was written just now, in milliseconds: the clocks differ. None: nothing tells.
    skew_ms: Option<i64>,
}

impl Lags {
    /// A host is to be followed.
    pub fn follow(&self, host_id: HostId) -> Followed {
        self.lock().insert(host_id, State::default());
        Followed { lags: self.clone(), host_id }
    }

    /// Of one host; None where its firehose is not connected.
    pub fn of(&self, host_id: HostId) -> Option<Lag> {
        self.lock().get(&host_id).and_then(|state| state.lag(Instant::now()))
    }

    /// Of every host whose firehose is connected.
    pub fn all(&self) -> HashMap<HostId, Lag> {
        let now = Instant::now();
        self.lock().iter().filter_map(|(host_id, state)| Some((*host_id, state.lag(now)?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    /// The firehose connected.
    pub fn connected(&self) {
        self.change(|state| state.connected(Instant::now()));
    }

    /// It ended, and is dialled again.
    pub fn disconnected(&self) {
        self.change(|state| state.is_connected = false);
    }

    /// It is not read for now.
    pub fn paused(&self) {
        self.change(|state| (state.drained, state.idle_since) = (false, None));
    }

    /// Events were read, and perhaps all that the socket had. The ages are those of the first and the last of them, in milliseconds by
    /// our clock.
    pub fn read(
        &self,
        events: usize,
        drained: bool,
        first_age_ms: impl FnOnce() -> Option<i64>,
        last_age_ms: Option<i64>,
    ) {
        self.change(|state| state.read(events, drained, first_age_ms, last_age_ms, Instant::now()));
    }

    /// They are stored.
    pub fn stored(&self) {
        self.change(|state| state.stored(Instant::now()));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(self.lags.lock().entry(self.host_id).or_default());
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.lags.lock().remove(&self.host_id);
    }
}

impl State {
    fn connected(&mut self, now: Instant) {
        *self = State {
            is_connected: true,
            drained: true,
            idle_since: Some(now),
            skew_ms: self.skew_ms,
            ..State::default()
        };
    }

    fn read(
        &mut self,
        events: usize,
        drained: bool,
        first_age_ms: impl FnOnce() -> Option<i64>,
        last_age_ms: Option<i64>,
        now: Instant,
    ) {
        // What a connection tells first may be old, however long it waited to tell it.
        if self.newest.is_some()
            && self.is_quiet(now)
            && let Some(age) = first_age_ms()
        {
            // It did not wait anywhere: it looks this old because the clocks differ.
            self.skew_ms = Some(age);
        }
        (self.in_hand, self.drained, self.idle_since) = (events, drained, None);
        let Some(age) = last_age_ms else { return };
        // None looks younger than it is.
        self.skew_ms = self.skew_ms.map(|skew| skew.min(age));
        self.newest = Some(((age - self.skew_ms.unwrap_or(0)).max(0), now));
    }

    fn stored(&mut self, now: Instant) {
        (self.in_hand, self.idle_since) = (0, self.drained.then_some(now));
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.idle_since.is_some_and(|at| now.duration_since(at) >= QUIET)
    }

    fn lag(&self, now: Instant) -> Option<Lag> {
        if !self.is_connected {
            return None;
        }
        let seconds = self.newest.map(|(behind_ms, at)| {
            let behind = Duration::from_millis(behind_ms.unsigned_abs());
            match self.idle_since {
                Some(_) if self.is_quiet(now) => 0,
                Some(_) => behind.as_secs(),
                // What waits meanwhile grows older.
                None => (behind + now.duration_since(at)).as_secs(),
            }
        });
        Some(Lag { seconds, events: self.in_hand, more: !self.drained })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn connected(now: Instant) -> State {
        let mut state = State::default();
        state.connected(now);
        state
    }

    /// An event that came and is stored, with nothing behind it.
    fn take_in(state: &mut State, age_ms: i64, now: Instant) -> Option<u64> {
        state.read(1, true, || Some(age_ms), Some(age_ms), now);
        state.stored(now);
        state.lag(now).and_then(|lag| lag.seconds)
    }

    #[test]
    fn old_events_are_a_lag_until_the_host_is_quiet() {
        let start = Instant::now();
        let mut state = connected(start);
        assert_eq!(state.lag(start + QUIET), Some(Lag::default()), "nothing came yet");
        state.read(1024, false, || Some(2 * HOUR_MS), Some(HOUR_MS), start);
        assert_eq!(state.lag(start), Some(Lag { seconds: Some(3600), events: 1024, more: true }));
        state.stored(start);
        let later = start + Duration::from_secs(60);
        let growing = Lag { seconds: Some(3660), events: 0, more: true };
        assert_eq!(state.lag(later), Some(growing), "what waits grows older");
        assert_eq!(take_in(&mut state, HOUR_MS / 2, later), Some(1800));
        assert_eq!(state.lag(later + QUIET), Some(Lag { seconds: Some(0), events: 0, more: false }));
    }

    #[test]
    fn a_host_whose_clock_is_wrong_is_not_behind() {
        let start = Instant::now();
        for skew_ms in [-HOUR_MS, HOUR_MS] {
            let mut state = connected(start);
            take_in(&mut state, skew_ms, start);
            let later = start + QUIET;
            assert_eq!(take_in(&mut state, skew_ms + 80, later), Some(0), "it was quiet, so this one did not wait");
            assert_eq!(take_in(&mut state, skew_ms + 60_100, later), Some(60), "and this one did");
            assert_eq!(take_in(&mut state, skew_ms + 20, later), Some(0));
            state.connected(later);
            assert_eq!(take_in(&mut state, skew_ms + 7_020, later), Some(7), "it is remembered");
        }
        assert_eq!(take_in(&mut connected(start), -HOUR_MS, start), Some(0), "never negative");
    }

    #[test]
    fn what_a_new_connection_tells_first_may_be_old() {
        let start = Instant::now();
        let mut state = connected(start);
        assert_eq!(take_in(&mut state, HOUR_MS, start + 2 * QUIET), Some(3600), "a host may be slow to begin");
    }

    #[test]
    fn a_host_that_is_not_read_falls_behind() {
        let (lags, host) = (Lags::default(), HostId(1));
        let followed = lags.follow(host);
        followed.connected();
        followed.read(1, true, || Some(0), Some(0));
        followed.stored();
        assert_eq!(lags.of(host), Some(Lag { seconds: Some(0), events: 0, more: false }));
        followed.paused();
        assert_eq!(lags.of(host).map(|lag| lag.more), Some(true));
    }

    #[test]
    fn nothing_is_told_of_a_firehose_that_is_not_connected() {
        let (lags, host) = (Lags::default(), HostId(1));
        let followed = lags.follow(host);
        assert_eq!(lags.of(host), None);
        followed.connected();
        assert_eq!((lags.of(host), lags.all().len()), (Some(Lag::default()), 1));
        followed.disconnected();
        assert_eq!((lags.of(host), lags.all().len()), (None, 0));
        drop(followed);
        assert!(lags.lock().is_empty());
    }
}
