//! Where the time of a repo's job went, for the log: a repo that took long has a line with its reason.

use std::time::{Duration, Instant};

use crate::metrics::Lines;
use crate::store::RepoJob;

/// A slow host has thousands of repos.
static LINES: Lines = Lines::a_minute(10);

/// What a job's time is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The calls that show whether anything matches.
    Asking,
    /// The DID document.
    Identity,
    /// Until the host answered, and until we let it be asked; also all calls for a repo in parts.
    Waiting,
    /// The repo's bytes.
    Downloading,
    /// Until there was memory for the verification.
    Memory,
    /// Hashes, tree and signature.
    Verifying,
    /// Until the writer had committed it.
    Writing,
}

const STEPS: [(Step, &str); 7] = [
    (Step::Asking, "asking whether anything in it matches"),
    (Step::Identity, "asking for the DID document"),
    (Step::Waiting, "waiting for the host to answer"),
    (Step::Downloading, "downloading"),
    (Step::Memory, "waiting for memory (--repo-memory)"),
    (Step::Verifying, "verifying"),
    (Step::Writing, "writing to the database"),
];

/// What one job spent.
#[derive(Debug)]
pub(super) struct Spent {
    began: Instant,
    /// When nothing was left but to write it down.
    settled: Option<Instant>,
    times: [Duration; STEPS.len()],
    bytes: usize,
    /// Matching records.
    pub records: usize,
}

impl Spent {
    /// A job that begins now.
    pub fn new() -> Spent {
        Spent { began: Instant::now(), settled: None, times: Default::default(), bytes: 0, records: 0 }
    }

    /// From now on it waits for its commit.
    pub fn settle(&mut self) {
        self.settled = Some(Instant::now());
    }

    /// Does a step of the work.
    pub async fn on<T>(&mut self, step: Step, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.times[step as usize] += began.elapsed();
        done
    }

    /// Of what it waited for the host, so much was the repo coming.
    pub fn downloaded(&mut self, took: Duration, bytes: usize) {
        let waiting = &mut self.times[Step::Waiting as usize];
        *waiting = waiting.saturating_sub(took);
        self.times[Step::Downloading as usize] += took;
        self.bytes = bytes;
    }

    /// What most of the time went into.
    fn reason(&self) -> &'static str {
        let most = STEPS.iter().max_by_key(|(step, _)| self.times[*step as usize]);
        most.map_or("", |(_, words)| words)
    }

    /// The job is committed: says that it was slow, and why, if it was.
    pub fn tell(mut self, job: &RepoJob, slow_after: Duration, outcome: &'static str) {
        let took = self.began.elapsed();
        self.times[Step::Writing as usize] = self.settled.map_or(Duration::ZERO, |settled| settled.elapsed());
        if took < slow_after {
            return;
        }
        let Some(left_out) = LINES.take() else { return };
        let ms = |step: Step| self.times[step as usize].as_millis() as u64;
        tracing::info!(
            host = %job.host,
            did = %job.did,
            reason = self.reason(),
            took_ms = took.as_millis() as u64,
            asking_ms = ms(Step::Asking),
            identity_ms = ms(Step::Identity),
            waiting_ms = ms(Step::Waiting),
            downloading_ms = ms(Step::Downloading),
            memory_ms = ms(Step::Memory),
            verifying_ms = ms(Step::Verifying),
            writing_ms = ms(Step::Writing),
            bytes = self.bytes,
            records = self.records,
            outcome,
            left_out,
            "a repo took long"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_step_is_the_reason() {
        let mut spent = Spent::new();
        for (at, (step, _)) in STEPS.iter().enumerate() {
            assert_eq!(*step as usize, at, "each step has its place");
        }
        spent.on(Step::Verifying, std::future::ready(())).await;
        spent.times[Step::Waiting as usize] = Duration::from_secs(40);
        assert_eq!(spent.reason(), "waiting for the host to answer");
        spent.downloaded(Duration::from_secs(39), 7);
        assert_eq!((spent.reason(), spent.bytes), ("downloading", 7));
        assert_eq!(spent.times[Step::Waiting as usize], Duration::from_secs(1));
    }
}
