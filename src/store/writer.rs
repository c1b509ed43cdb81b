//! The writer thread. It owns the only connection that writes, takes what waits in its queue as one group, and commits it once:
//! under load a commit is shared by many, alone it costs one. Acknowledgements go out after the commit, never before.
//! The queue is bounded: when it is full, callers wait, which slows the sockets that they read from.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Signals, StoreError, Tx, TxResult, TxState};

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

/// Whether foreign keys are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum References {
    /// As always.
    Checked,
    /// Not while this is written.
    Unchecked,
}

type Acknowledge = Box<dyn FnOnce() + Send>;
type Work = Box<dyn FnOnce(&Tx) -> TxResult<Acknowledge> + Send>;

struct Job {
    durability: Durability,
    references: References,
    work: Work,
}

pub(super) struct Writer {
    /// None after [`Writer::close`].
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        state: TxState,
        signals: Arc<Signals>,
        lock: File,
        failed: CancellationToken,
    ) -> std::io::Result<Writer> {
        let (sender, receiver) = mpsc::channel(QUEUE_JOBS);
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            let _until_closed = lock;
            if let Err(error) = run(connection, &state, receiver, &signals) {
                tracing::error!(%error, "a write to the database failed: stopping");
                failed.cancel();
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
        let work: Work = Box::new(move |tx| {
            let value = work(tx)?;
            // A caller that gave up meanwhile does not undo what was committed.
            Ok(Box::new(move || drop(reply.send(value))))
        });
        let queue = lock(&self.queue).clone().ok_or(StoreError::Closed)?;
        queue.send(Job { durability, references, work }).await.map_err(|_| StoreError::Closed)?;
        drop(queue);
        answer.await.map_err(|_| StoreError::Closed)
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

fn run(
    mut connection: Connection,
    state: &TxState,
    mut queue: mpsc::Receiver<Job>,
    signals: &Signals,
) -> rusqlite::Result<()> {
    let mut group = Vec::with_capacity(GROUP_JOBS);
    while queue.blocking_recv_many(&mut group, GROUP_JOBS) > 0 {
        let full = group.iter().any(|job| job.durability == Durability::Full);
        connection.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
        let unchecked = group.iter().any(|job| job.references == References::Unchecked);
        connection.pragma_update(None, "foreign_keys", !unchecked)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut acknowledgements = Vec::with_capacity(group.len());
        for job in group.drain(..) {
            acknowledgements.push((job.work)(&Tx::new(&transaction, state))?);
        }
        transaction.commit()?;
        for acknowledge in acknowledgements {
            acknowledge();
        }
        signals.ring(state.raised.replace(0));
    }
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE")?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
