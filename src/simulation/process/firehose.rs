//! As `subscribe`: connections, their batches, and held events.

use bytes::Bytes;
use fake_network::offline;

use super::Process;
use crate::index::{self, Event, Verdict};
use crate::simulation::world::AtFutureCursor;
use crate::store::{HostId, RepoId};
use crate::subscribe::connection::{commit_batch, end_connection, is_outdated};
use crate::subscribe::verify::{self, Batch, Judge, Known, Notice};
use crate::subscribe::watermark::{Step, Watermark};

/// The host's side of a connection, and what was read of it.
pub(super) struct Connection {
    open: Option<Open>,
    restarts: i64,
}

pub(super) struct Open {
    epoch: u64,
    /// The seq of the last event that was sent.
    sent: i64,
    /// Frames that come before the events.
    greeting: Vec<Bytes>,
    watermark: Watermark,
    /// A batch that was verified and is not committed yet, with the seqs that its frames really have.
    pending: Option<(Batch, Step, Vec<i64>)>,
}

/// What was read of the held events of a repo, to be taken in next.
pub(super) type HeldRead = (RepoId, HostId, Vec<Event>, Option<i64>);

impl Process {
    /// As `subscribe::manager`: a connection per row, given up when it is asked to.
    pub(super) fn manage(&mut self) {
        for row in self.read(|tx| tx.subscriptions()) {
            let connection =
                self.connections.entry(row.host_id).or_insert(Connection { open: None, restarts: row.restarts });
            if std::mem::replace(&mut connection.restarts, row.restarts) < row.restarts && connection.open.is_some() {
                self.world.count("silent connection given up");
                self.end(row.host_id, "silent", true, false);
            }
        }
    }

    pub(super) fn is_behind(&self, id: HostId) -> bool {
        let host = &self.world.hosts[self.host_of(id)];
        match self.connections.get(&id) {
            None => false,
            Some(Connection { open: None, .. }) => true,
            Some(Connection { open: Some(open), .. }) => {
                open.epoch != host.epoch
                    || open.pending.is_some()
                    || host.history.last().is_some_and(|event| event.seq > open.sent)
            }
        }
    }

    fn end(&mut self, id: HostId, words: &str, connected: bool, future_cursor: bool) {
        self.connections.get_mut(&id).expect("known").open = None;
        self.write(|tx| end_connection(tx, id, words, connected, future_cursor));
    }

    /// Answers whether there was something to do.
    pub(super) fn move_connection(&mut self, id: HostId) -> bool {
        let at = self.host_of(id);
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let Some(open) = &mut connection.open else { return self.dial(id) };
        if let Some((batch, step, seqs)) = open.pending.take() {
            self.commit(id, batch, step, &seqs);
            return true;
        }
        if open.epoch != self.world.hosts[at].epoch || self.world.strikes("connection lost", 150) {
            self.end(id, "closed", true, false);
            return true;
        }
        self.read_frames(id)
    }

    fn dial(&mut self, id: HostId) -> bool {
        let at = self.host_of(id);
        if !self.world.hosts[at].up {
            self.end(id, "no connection", false, false);
            return true;
        }
        let cursor = self.read(|tx| tx.host_cursor(id));
        let host = &mut self.world.hosts[at];
        let mut greeting = Vec::new();
        let sent = match cursor {
            None => {
                host.unsettled = Some(Default::default());
                host.seq
            }
            Some(cursor) if cursor > host.seq => match host.at_future_cursor {
                AtFutureCursor::Refuse => {
                    self.world.count("FutureCursor");
                    let frame = Bytes::from(offline::error_frame("FutureCursor"));
                    let batch = self.verify(id, &[frame]);
                    let future =
                        matches!(batch.notices.as_slice(), [Notice::Error { name, .. }] if name == "FutureCursor");
                    assert!(future);
                    self.write(|tx| tx.firehose_connected(id));
                    self.end(id, "FutureCursor", true, true);
                    return true;
                }
                AtFutureCursor::Wait => cursor,
                AtFutureCursor::Replay => host.forgotten,
            },
            Some(cursor) if cursor < host.forgotten => {
                greeting.push(Bytes::from(offline::info_frame("OutdatedCursor")));
                self.world.count("OutdatedCursor");
                self.world.hosts[at].forgotten
            }
            Some(cursor) => cursor,
        };
        let epoch = self.world.hosts[at].epoch;
        let open = Open { epoch, sent, greeting, watermark: Watermark::new(cursor), pending: None };
        self.connections.get_mut(&id).expect("known").open = Some(open);
        self.write(|tx| tx.firehose_connected(id));
        true
    }

    fn read_frames(&mut self, id: HostId) -> bool {
        let at = self.host_of(id);
        let most = self.world.rng.usize(1..6);
        let open = self.connections.get_mut(&id).expect("known").open.as_mut().expect("open");
        let mut frames: Vec<(Option<i64>, String, Bytes)> =
            open.greeting.drain(..).map(|frame| (None, String::new(), frame)).collect();
        let history = &self.world.hosts[at].history;
        let next = history.iter().filter(|event| event.seq > open.sent).take(most);
        frames.extend(next.map(|event| (Some(event.seq), event.did.clone(), event.frame.clone())));
        if frames.is_empty() {
            return false;
        }
        open.sent = frames.iter().filter_map(|(seq, ..)| *seq).max().unwrap_or(open.sent);
        let sent = open.sent;
        if frames.len() > 1 && self.world.fires("events of two accounts swapped", 10) {
            let first = self.world.rng.usize(0..frames.len() - 1);
            if frames[first].1 != frames[first + 1].1 {
                frames.swap(first, first + 1);
            }
        }
        if self.world.fires("event sent twice", 15) {
            let old: Vec<_> = self.world.hosts[at].history.iter().filter(|event| event.seq <= sent).cloned().collect();
            if let Some(event) = self.world.rng.choice(&old).cloned() {
                let to = self.world.rng.usize(0..=frames.len());
                frames.insert(to, (Some(event.seq), event.did, event.frame));
            }
        }
        if self.world.fires("garbage between events", 60) {
            frames.insert(0, (None, String::new(), Bytes::from_static(b"\xff\xff\xff")));
        }
        let seqs: Vec<i64> = frames.iter().filter_map(|(seq, ..)| *seq).collect();
        let frames: Vec<Bytes> = frames.into_iter().map(|(.., frame)| frame).collect();
        let batch = self.verify(id, &frames);
        let open = self.connections.get_mut(&id).expect("known").open.as_mut().expect("open");
        let step = open.watermark.take_in(&batch.seqs);
        if step.restarted {
            self.world.count("sequence seen to begin anew");
        }
        let open = self.connections.get_mut(&id).expect("known").open.as_mut().expect("open");
        open.pending = Some((batch, step, seqs));
        true
    }

    fn verify(&mut self, id: HostId, frames: &[Bytes]) -> Batch {
        let messages = verify::decode(frames);
        let repos = self.seen(&verify::to_look_up(&messages));
        let known = repos.into_iter().map(|repo| Known::of(repo, id)).collect();
        Judge { host_id: id, clock: &self.clock, filter: &self.world.filter }.check_all(messages, known, &self.metrics)
    }

    fn commit(&mut self, id: HostId, batch: Batch, step: Step, seqs: &[i64]) {
        let at = self.host_of(id);
        let outdated = is_outdated(&batch.notices);
        let events = batch.events;
        let about: Vec<(i64, String)> = events.iter().map(|event| (event.seq, event.did.to_string())).collect();
        let Some(ingested) = self.write(|tx| commit_batch(tx, id, events, step, outdated)) else { return };
        for ((seq, did), verdict) in about.iter().zip(&ingested.verdicts) {
            self.world.tell(|| format!("event {seq} of host {at} about {did}: {}", verdict.label()));
        }
        if let Some(unsettled) = &mut self.world.hosts[at].unsettled {
            unsettled.retain(|seq| !seqs.contains(seq));
        }
        self.note(&ingested.verdicts);
    }

    fn note(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            self.world.count(verdict.label());
        }
    }

    /// As `subscribe::held`, with time between its read and its write.
    pub(super) fn move_held(&mut self) {
        if let Some((repo, id, events, last)) = self.held.take() {
            if let Some(ingested) = self.write(|tx| index::ingest_held(tx, id, repo, events, last)) {
                self.world.count("held events drained");
                self.note(&ingested.verdicts);
            }
            return;
        }
        let ready = self.read(|tx| tx.repos_with_ready_events());
        let Some((repo, id)) = self.world.rng.choice(&ready).copied() else { return };
        let (clock, filter) = (self.clock.clone(), self.world.filter.clone());
        let (events, last) = self.read(|tx| {
            let held = tx.held_events(repo, id)?;
            let last = held.last().map(|event| event.seq);
            Ok((verify::held(tx, repo, id, held, &clock, &filter)?, last))
        });
        self.held = Some((repo, id, events, last));
    }
}
