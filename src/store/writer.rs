//! The writer thread. It owns the only connection that writes, takes what waits in its queue as one group, and commits it once:
//! under load a commit is shared by many, alone it costs one. Answers go out after the commit, never before: all of a group that
//! found no room are told so, and none of it is in the database.
//! The queue is bounded: when it is full, callers wait, which slows the sockets that they read from.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, Meaning};
use super::failure::Failure;
use super::wal::Wal;
use super::{Signals, StoreError, Tx, TxResult, TxState, open};

const QUEUE_JOBS: usize = 256;
const GROUP_JOBS: usize = 64;

/// What a commit must survive before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A killed process. After a power cut it may be gone, and the host's firehose or list brings it again.
    Replayable,
    /// A power cut too: nobody would say it again.
    Full,
}

/// What the connection was last told. To say it again would have every prepared statement made anew.
#[derive(Default, PartialEq)]
struct Told {
    synchronous: &'static str,
    foreign_keys: bool,
}

/// Whether foreign keys are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum References {
    /// As always.
    Checked,
    /// Not while this is written.
    Unchecked,
}

/// What became of a job's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed,
    NoRoom,
}

trait Work: Send {
    /// Does it, inside the group's transaction.
    fn run(&mut self, tx: &Tx) -> TxResult<()>;
    /// Tells the caller; one that gave up meanwhile does not undo what was committed.
    fn answer(self: Box<Self>, outcome: Outcome);
}

struct Job {
    durability: Durability,
    references: References,
    work: Box<dyn Work>,
}

struct Asked<T, F> {
    work: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Asked<T, F>
where
    T: Send,
    F: FnOnce(&Tx) -> TxResult<T> + Send,
{
    fn run(&mut self, tx: &Tx) -> TxResult<()> {
        let work = self.work.take().expect("a job is run once");
        self.value = Some(work(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Outcome) {
        let answer = match outcome {
            Outcome::Committed => self.value.ok_or(StoreError::Closed),
            Outcome::NoRoom => Err(StoreError::Full),
        };
        drop(self.reply.send(answer));
    }
}

pub(super) struct Writer {
    /// None after [`Writer::close`].
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread works with.
pub(super) struct Desk {
    pub connection: Connection,
    pub state: TxState,
    pub signals: Arc<Signals>,
    pub disk: Arc<Disk>,
    pub failure: Arc<Failure>,
    pub lists_version: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread; it holds `lock` until it ends.
    pub(super) fn start(desk: Desk, lock: File) -> std::io::Result<Writer> {
        let (sender, receiver) = mpsc::channel(QUEUE_JOBS);
        let failure = desk.failure.clone();
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            let _until_closed = lock;
            // Caught only to be told: nothing goes on after it.
            match catch_unwind(AssertUnwindSafe(|| desk.run(receiver))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failure.set(format!("a write to the database failed: {error}")),
                Err(_) => failure.set("a write to the database panicked".to_owned()),
            }
        })?;
        Ok(Writer { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn write<T, F>(
        &self,
        durability: Durability,
        references: References,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx) -> TxResult<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Asked { work: Some(work), value: None, reply });
        let queue = lock(&self.queue).clone().ok_or(StoreError::Closed)?;
        queue.send(Job { durability, references, work }).await.map_err(|_| StoreError::Closed)?;
        drop(queue);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn close(&self) {
        drop(lock(&self.queue).take());
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // The thread has reported its own end; joining only waits for it.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Desk {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) -> rusqlite::Result<()> {
        let mut wal = Wal::of(&self.connection)?;
        let mut told = Told::default();
        let mut group = Vec::with_capacity(GROUP_JOBS);
        while queue.blocking_recv_many(&mut group, GROUP_JOBS) > 0 {
            if self.failure.is_set() {
                return Ok(());
            }
            let committed = self.commit(&mut group, &mut told);
            if let Err(error) = &committed {
                // While they still wait for their answers: the cause is to be known before its consequences.
                self.failure.set(format!("a write to the database failed: {error}"));
            }
            let outcome = committed?;
            // Before the answers: who was told of a write finds it in the lists.
            if self.state.lists_changed.take() {
                self.lists_version.fetch_add(1, Ordering::Release);
            }
            group.drain(..).for_each(|job| job.work.answer(outcome));
            if outcome == Outcome::Committed {
                self.signals.ring(self.state.raised.replace(0));
                self.unless_full(|connection| wal.bound(connection))?;
                self.disk.note_wal(wal.bytes());
            }
        }
        if self.failure.is_set() {
            return Ok(());
        }
        self.unless_full(|connection| wal.empty(connection))?;
        Ok(())
    }

    /// Does the jobs of a group in one transaction.
    fn commit(&mut self, group: &mut [Job], told: &mut Told) -> rusqlite::Result<Outcome> {
        if !self.disk.has_room() {
            return Ok(Outcome::NoRoom);
        }
        self.state.seen.turn();
        let transacted = self.transact(group, told);
        if transacted.is_err() {
            self.state.seen.clear();
        }
        self.state.seen.turn();
        match transacted {
            Ok(()) => Ok(Outcome::Committed),
            Err(error) if self.disk.meaning(&error) == Meaning::Full => {
                self.disk.note_full();
                // The transaction is rolled back: what was remembered of it is not true.
                self.state = open::read_state(&self.connection, self.state.limits, self.state.seen.clone())?;
                Ok(Outcome::NoRoom)
            }
            Err(error) => Err(error),
        }
    }

    fn transact(&mut self, group: &mut [Job], told: &mut Told) -> rusqlite::Result<()> {
        let full = group.iter().any(|job| job.durability == Durability::Full);
        let unchecked = group.iter().any(|job| job.references == References::Unchecked);
        let wanted = Told { synchronous: if full { "FULL" } else { "NORMAL" }, foreign_keys: !unchecked };
        if *told != wanted {
            self.connection.pragma_update(None, "synchronous", wanted.synchronous)?;
            self.connection.pragma_update(None, "foreign_keys", wanted.foreign_keys)?;
            *told = wanted;
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tx = Tx::new(&transaction, &self.state);
        for job in group {
            job.work.run(&tx)?;
            self.state.end_work();
        }
        tx.write_lists()?;
        drop(tx);
        transaction.commit()
    }

    /// Where there is no room the log cannot be written back: it stays as it is, which loses nothing.
    fn unless_full(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        match work(&self.connection) {
            Err(error) if self.disk.meaning(&error) == Meaning::Full => {
                self.disk.note_full();
                Ok(())
            }
            done => done,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
