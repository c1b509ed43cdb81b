//! The only SQL, and the only crossing between async and blocking code: one writer thread that groups commits, and a pool of
//! read-only connections. One file per table; what goes out of here is typed and free of SQL.
//! It decides nothing: what a host's words change is decided in `index`, which is given a [`Tx`] to do it with.
//! Invariants: counts in `repo_collections` equal the rows of `indexed_records`, and `lists` says what they say; a cursor commits with the rows that it covers; a
//! failed write stops the process, but for one that found no room: that one left nothing behind, and its caller is told.

mod audit;
mod backup;
mod bans;
mod check;
mod chunk;
#[cfg(test)]
mod direct;
mod disk;
mod dump;
mod failure;
mod forget;
mod held;
mod hosts;
mod kept;
mod lag;
mod limits;
mod list;
mod list_changes;
mod lists;
mod meta;
mod open;
mod operator;
mod overview;
mod patterns;
mod queue;
mod records;
mod repos;
mod schedule;
mod seen;
mod sources;
mod spent;
mod stats;
mod subscriptions;
mod takedowns;
#[cfg(test)]
mod tests;
mod unfinished;
mod usage;
mod wal;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use audit::AdminEntry;
pub use backup::{BackupError, backup};
pub use check::{Checked, check};
#[cfg(test)]
pub(crate) use direct::{Audit, Direct, Row};
pub use dump::{DumpCounts, DumpError, dump, restore};
pub use held::{HeldEvent, Holding};
pub use hosts::{Admission, CrawlRequest, NewHosts, RetryAfter};
pub use lag::{Followed, LAGGING_SECONDS, Lag, Lags};
pub use limits::HostLimits;
pub use list::{DidPage, HostRow, RepoRow};
pub use meta::Coverage;
pub use open::OpenError;
pub use operator::OperatorHost;
pub use overview::{CollectionSize, Crawling, IndexedRecord, Overview, RepoDetail};
pub use queue::{Due, HostJob, JobKind, Owner, RepoJob, Urgency};
pub use records::{Collection, StoredRecord};
pub use repos::{RepoCommit, RepoState, Status};
pub use seen::{SeenRepo, StoredKey};
pub use spent::{Spent, measured};
pub use stats::{HostQueue, HostReport, Stats, Totals};
pub use subscriptions::Subscription;
pub use unfinished::Existing;
pub use usage::{HostUsage, Room, Usage, UsageChange};
pub use writer::Durability;

use writer::References;

use crate::clock::now_millis;
pub use crate::config::EventLimits;
use crate::config::{Limits, StoreConfig};
use crate::syntax::CollectionFilter;
use disk::Meaning;

/// For what the public asks: past it, the query is cut.
const LONGEST_QUERY: Duration = Duration::from_secs(2);
/// So often, in steps of SQLite's machine, a query looks at the time: some ten microseconds.
const STEPS_PER_LOOK: i32 = 1000;

/// A row of `hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub i64);

/// A row of `repos`; ascending in the order in which accounts became known, and never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoId(pub i64);

/// A row of `crawl_queue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused; a write that fails this way also stops the process.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No read connection became free in time.
    #[error("database readers: {0}")]
    Readers(#[from] r2d2::Error),
    /// The disk has no room: nothing of this write is in the database. To be tried again once there is.
    #[error("the disk of the database is full")]
    Full,
    /// A query that took too long was cut.
    #[error("the query took longer than {} s", LONGEST_QUERY.as_secs())]
    Slow,
    /// The writer has ended: shutdown, or an earlier write that failed.
    #[error("the database writer has stopped")]
    Closed,
}

/// What a closure on a [`Tx`] answers.
pub type TxResult<T> = rusqlite::Result<T>;

/// A cheap handle on the database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: writer::Writer,
    readers: r2d2::Pool<SqliteConnectionManager>,
    /// One permit per reader: who waits for one waits here, not on a blocking thread.
    reading: Semaphore,
    seen: Arc<seen::Seen>,
    signals: Arc<Signals>,
    disk: Arc<disk::Disk>,
    failure: Arc<failure::Failure>,
    filter: CollectionFilter,
    complete_filter: Arc<RwLock<CollectionFilter>>,
    instance_id: [u8; 8],
    /// Higher after every commit that changed a list.
    lists_version: Arc<AtomicU64>,
    limits: Limits,
    lags: Lags,
}

/// Who is to look at the rows again. Raised inside a transaction, rung after its commit.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// `crawl_queue` has work that may be due.
    Crawl = 1,
    /// `subscriptions` has a new row, or a host was woken.
    Subscribe = 2,
    /// A repo with held events has no job any more.
    Held = 4,
    /// A firehose connected.
    Connected = 8,
    /// A host is not open any more.
    Closed = 16,
    /// A host is to be forgotten.
    Forget = 32,
}

/// The bells of [`Signal`]; each has one listener, but `connected` has many.
#[derive(Debug, Default)]
pub struct Signals {
    /// Rung by [`Signal::Crawl`].
    pub crawl: Notify,
    /// Rung by [`Signal::Subscribe`].
    pub subscribe: Notify,
    /// Rung by [`Signal::Held`].
    pub held: Notify,
    /// Rung by [`Signal::Connected`], for everybody who waits at that moment.
    pub connected: Notify,
    /// Rung by [`Signal::Closed`].
    pub closed: Notify,
    /// Rung by [`Signal::Forget`].
    pub forget: Notify,
}

impl Signals {
    fn ring(&self, raised: u8) {
        for (signal, bell) in [
            (Signal::Crawl, &self.crawl),
            (Signal::Subscribe, &self.subscribe),
            (Signal::Held, &self.held),
            (Signal::Closed, &self.closed),
            (Signal::Forget, &self.forget),
        ] {
            if raised & signal as u8 != 0 {
                bell.notify_one();
            }
        }
        if raised & Signal::Connected as u8 != 0 {
            self.connected.notify_waiters();
        }
    }
}

/// One transaction: the typed reads and writes of the files beside this one.
pub struct Tx<'a> {
    db: &'a Connection,
    state: &'a TxState,
    now: i64,
    kept: kept::KeptStatements<'a>,
}

/// What outlives a transaction on its connection.
#[derive(Default)]
struct TxState {
    raised: Cell<u8>,
    /// Bytes in `held_events`, so that its bound costs no scan.
    held_bytes: Cell<u64>,
    /// Whether a list was changed since the last commit.
    lists_changed: Cell<bool>,
    /// Rows of `collections`, as they are.
    collections: RefCell<HashMap<String, Collection>>,
    /// What the transaction changes in the lists, until it is written.
    list_changes: Cell<Vec<list_changes::ListChange>>,
    limits: Limits,
    seen: Arc<seen::Seen>,
    /// Whether the work that runs leaves in `seen` what it found there.
    keeps_seen: Cell<bool>,
}

impl TxState {
    /// To be called after each work that may have written.
    fn end_work(&self) {
        if !self.keeps_seen.take() {
            self.seen.clear();
        }
    }
}

impl<'a> Tx<'a> {
    fn new(db: &'a Connection, state: &'a TxState) -> Self {
        Tx::at(db, state, now_millis())
    }

    fn at(db: &'a Connection, state: &'a TxState, now: i64) -> Self {
        Tx { db, state, now, kept: kept::KeptStatements::default() }
    }

    /// Unix milliseconds; one value for the whole transaction.
    pub fn now(&self) -> i64 {
        self.now
    }

    fn raise(&self, signal: Signal) {
        self.state.raised.set(self.state.raised.get() | signal as u8);
    }
}

/// What a reader sees until this is dropped: one state of the database.
struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    /// By statements that are kept: to read them anew took longer than to read a page of a list.
    fn of(connection: &'c Connection) -> rusqlite::Result<Snapshot<'c>> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(Snapshot(connection))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // It fails only where an error has ended the transaction already.
        let _ = self.0.prepare_cached("ROLLBACK").and_then(|mut statement| statement.execute([]));
    }
}

impl Store {
    /// Opens or creates the database, brings its schema and filter up to date and starts the writer. `failed` is cancelled when
    /// the database cannot be used any more ([`Store::failure`]): the process must stop then.
    pub fn open(config: &StoreConfig, failed: CancellationToken) -> Result<Store, OpenError> {
        Store::open_with(config, 0, failed)
    }

    /// The same; with less free space on its disk than `least_free_bytes`, every write answers [`StoreError::Full`].
    pub fn open_with(
        config: &StoreConfig,
        least_free_bytes: u64,
        failed: CancellationToken,
    ) -> Result<Store, OpenError> {
        open::open(config, least_free_bytes, failed)
    }

    /// Runs `work` on the writer thread; when this returns, it is committed. Its error is fatal to the process, but for
    /// [`StoreError::Full`].
    pub async fn write<T, F>(&self, durability: Durability, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx) -> TxResult<T> + Send + 'static,
    {
        let asked = Instant::now();
        let answer = self.inner.writer.write(durability, References::Checked, work).await;
        spent::note(|spent| spent.writing += asked.elapsed());
        answer
    }

    /// The same without a look for rows that refer to what is deleted: it would read the whole index for each account. `work` leaves none.
    async fn write_unchecked<T, F>(&self, durability: Durability, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx) -> TxResult<T> + Send + 'static,
    {
        self.inner.writer.write(durability, References::Unchecked, work).await
    }

    /// Runs `work` on a read-only connection in a snapshot of its own.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx) -> TxResult<T> + Send + 'static,
    {
        self.read_off_thread(None, work).await
    }

    /// Like [`Store::read`], for what strangers ask: cut after 2 seconds ([`StoreError::Slow`]).
    pub async fn query<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx) -> TxResult<T> + Send + 'static,
    {
        self.read_off_thread(Some(LONGEST_QUERY), work).await
    }

    async fn read_off_thread<T, F>(&self, longest: Option<Duration>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx) -> TxResult<T> + Send + 'static,
    {
        let asked = Instant::now();
        let _turn = self.inner.reading.acquire().await.expect("the semaphore is never closed");
        let store = self.clone();
        let timed = move || {
            let began = Instant::now();
            (store.read_within(longest, work), began.elapsed())
        };
        match tokio::task::spawn_blocking(timed).await {
            Ok((answer, reading)) => {
                spent::note(|spent| {
                    spent.waiting += asked.elapsed().saturating_sub(reading);
                    spent.reading += reading;
                    spent.reads += 1;
                });
                answer
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends before it began.
                Err(_) => Err(StoreError::Closed),
            },
        }
    }

    /// Like [`Store::read`], for callers that are on a blocking thread already.
    pub fn read_blocking<T>(&self, work: impl FnOnce(&Tx) -> TxResult<T>) -> Result<T, StoreError> {
        self.read_within(None, work)
    }

    fn read_within<T>(
        &self,
        longest: Option<Duration>,
        work: impl FnOnce(&Tx) -> TxResult<T>,
    ) -> Result<T, StoreError> {
        self.read_on(&*self.inner.readers.get()?, longest, work)
    }

    /// Runs `work` on the caller's thread, async or not: only for what takes some microseconds. None: all readers are taken.
    fn read_here<T>(&self, work: impl FnOnce(&Tx) -> TxResult<T>) -> Option<Result<T, StoreError>> {
        let connection = self.inner.readers.try_get()?;
        Some(self.read_on(&connection, None, work))
    }

    fn read_on<T>(
        &self,
        connection: &Connection,
        longest: Option<Duration>,
        work: impl FnOnce(&Tx) -> TxResult<T>,
    ) -> Result<T, StoreError> {
        // Set also when there is none: the connection may still have that of an earlier query.
        let ends_at = longest.map(|longest| Instant::now() + longest);
        connection.progress_handler(STEPS_PER_LOOK, ends_at.map(|at| move || Instant::now() >= at))?;
        let state = TxState { limits: self.inner.limits, seen: self.inner.seen.clone(), ..TxState::default() };
        let answer = Snapshot::of(connection).and_then(|snapshot| work(&Tx::new(snapshot.0, &state)));
        answer.map_err(|error| self.judge(error))
    }

    /// What a read's error means.
    fn judge(&self, error: rusqlite::Error) -> StoreError {
        if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
            self.inner.disk.note_query_cut();
            return StoreError::Slow;
        }
        if self.inner.disk.meaning(&error) == Meaning::Damage {
            self.inner.failure.set(format!("the database cannot be read: {error}"));
        }
        StoreError::Sqlite(error)
    }

    /// Why the database cannot be used any more, if that is so.
    pub fn failure(&self) -> Option<&str> {
        self.inner.failure.reason()
    }

    /// Whether there is no room to write. A receiver that watches it.
    pub fn disk_full(&self) -> watch::Receiver<bool> {
        self.inner.disk.watch()
    }

    /// Gives back all claims and takes no firehose for connected, as a start does: to be called when no worker runs. Answers
    /// [`StoreError::Full`] as long as the disk is.
    pub async fn begin_anew(&self) -> Result<(), StoreError> {
        self.write(Durability::Replayable, |tx| open::forget_last_run(tx.db)).await
    }

    /// The bells that are rung after a commit.
    pub fn signals(&self) -> &Signals {
        &self.inner.signals
    }

    /// How far each firehose is behind.
    pub fn lags(&self) -> &Lags {
        &self.inner.lags
    }

    /// The configured filter.
    pub fn filter(&self) -> &CollectionFilter {
        &self.inner.filter
    }

    /// Random, made with the database: what tells its list cursors from another database's.
    pub fn instance_id(&self) -> [u8; 8] {
        self.inner.instance_id
    }

    /// Another one when a list of repos has changed: an answer read after this was asked for is good as long as it stays the same.
    pub fn lists_version(&self) -> u64 {
        self.inner.lists_version.load(Ordering::Acquire)
    }

    /// Waits for what was queued to be committed, then closes the database. Later writes answer [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.writer.close().await;
    }
}
