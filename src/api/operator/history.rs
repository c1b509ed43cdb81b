//! The last hour in steps of ten seconds, for the page's chart and for the time that a crawl will take.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::clock::now_millis;
use crate::metrics::{Metrics, OUTCOMES, Totals};

const STEP: Duration = Duration::from_secs(10);
/// An hour.
const STEPS: usize = 360;
/// What a rate is averaged over.
const RATE_STEPS: usize = 6;

/// What happened, step by step; a clone is the same one.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Steps>>);

#[derive(Default)]
struct Steps {
    /// At the end of each step, oldest first; one more than there are steps.
    totals: VecDeque<Totals>,
    ended_at: i64,
}

/// The chart's numbers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Chart {
    step_seconds: u64,
    /// When the last step ended (Unix milliseconds).
    ended_at: i64,
    outcomes: [&'static str; OUTCOMES.len()],
    /// For each outcome, the messages of each step, oldest first.
    counts: [Vec<u64>; OUTCOMES.len()],
}

/// How fast things go, over the last minute or what there is of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Firehose messages a second.
    pub events: f64,
    /// Crawl jobs of repos a second.
    pub jobs: f64,
}

impl History {
    /// Takes note until it is dropped.
    pub async fn keep(&self, metrics: &Metrics) {
        let mut steps = tokio::time::interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            self.note(metrics.totals(), now_millis());
        }
    }

    fn note(&self, totals: Totals, now: i64) {
        let mut steps = self.lock();
        steps.ended_at = now;
        steps.totals.push_back(totals);
        if steps.totals.len() > STEPS + 1 {
            steps.totals.pop_front();
        }
    }

    pub(super) fn chart(&self) -> Chart {
        let steps = self.lock();
        let of = |at: usize| {
            let totals = steps.totals.iter().map(|totals| totals.outcomes[at]);
            totals.clone().skip(1).zip(totals).map(|(after, before)| after - before).collect()
        };
        Chart {
            step_seconds: STEP.as_secs(),
            ended_at: steps.ended_at,
            outcomes: OUTCOMES,
            counts: std::array::from_fn(of),
        }
    }

    pub(super) fn rates(&self) -> Rates {
        let steps = self.lock();
        let seen = steps.totals.len().saturating_sub(1).min(RATE_STEPS);
        let (Some(last), Some(first)) = (steps.totals.back(), steps.totals.iter().rev().nth(seen)) else {
            return Rates::default();
        };
        if seen == 0 {
            return Rates::default();
        }
        let seconds = seen as f64 * STEP.as_secs_f64();
        let events = |totals: &Totals| totals.outcomes.iter().sum::<u64>();
        Rates {
            events: (events(last) - events(first)) as f64 / seconds,
            jobs: (last.jobs - first.jobs) as f64 / seconds,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_differences_and_an_hour_is_kept() {
        let history = History::default();
        assert_eq!(history.rates(), Rates::default());
        for step in 0..400u64 {
            history.note(Totals { outcomes: [step * 20, 0, 0, 0, step], jobs: step * 10 }, step as i64);
        }
        let chart = history.chart();
        assert_eq!(chart.counts[0], vec![20; STEPS]);
        assert_eq!(chart.counts[4], vec![1; STEPS]);
        assert_eq!(chart.ended_at, 399);
        assert_eq!(history.rates(), Rates { events: 2.1, jobs: 1.0 });
    }

    #[test]
    fn a_young_process_has_the_rate_of_its_life() {
        let history = History::default();
        history.note(Totals::default(), 0);
        assert_eq!(history.rates(), Rates::default());
        history.note(Totals { outcomes: [50, 0, 0, 0, 0], jobs: 0 }, 10);
        assert_eq!(history.rates().events, 5.0);
    }
}
