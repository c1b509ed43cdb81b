//! Opening the file: one process at a time, schema, filter. Whatever is wrong here stops the start with one clear line.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, named_params};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::failure::Failure;
use super::lag::Lags;
use super::schedule::follow_clock_back;
use super::seen::Seen;
use super::wal::BUSY_TIMEOUT;
use super::writer::{Desk, Writer};
use super::{Inner, Signals, Store, TxState, lists, meta, patterns, usage};
use crate::clock::now_millis;
use crate::config::{Limits, StoreConfig};
use crate::syntax::CollectionFilter;

const SCHEMA: &str = include_str!("../../schema.sql");
const SCHEMA_VERSION: i64 = 3;
/// What brings a file of version n + 1 up by one, each in the transaction that raises its version.
const STEPS: [&str; 2] = [include_str!("upgrades/2.sql"), include_str!("upgrades/3.sql")];
/// The version that brought `lists`, which no SQL can fill.
const LISTS_SINCE: i64 = 3;
/// "sign" in ASCII: tells a signpost database from any other SQLite file.
const APPLICATION_ID: i64 = 0x7369_676e;
const READERS: u32 = 4;
/// How much of the file readers see as memory, which is all that SQLite maps; the kernel may take it back at any time.
const READ_MAP_BYTES: i64 = i32::MAX as i64;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("{0} is in use by another signpost")]
    InUse(PathBuf),
    /// The lock file cannot be made: a missing directory, no permission.
    #[error("cannot open {0}: {1}")]
    Unusable(PathBuf, std::io::Error),
    /// A SQLite file of some other program.
    #[error("{0} is not a signpost database")]
    Foreign(PathBuf),
    /// Written by a later version.
    #[error("{path} has schema version {found}, this signpost knows {SCHEMA_VERSION}: use a newer signpost")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
    },
    /// Written by an earlier version, and not brought up yet.
    #[error("{path} has schema version {found}, this signpost knows {SCHEMA_VERSION}: start signpost serve on it once")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
    },
    /// The stored filter or id cannot be read back.
    #[error("{0} holds a damaged {1}")]
    Damaged(PathBuf, &'static str),
    /// SQLite refused.
    #[error("cannot open {0}: {1}")]
    Sqlite(PathBuf, rusqlite::Error),
    /// No read connection could be made.
    #[error("cannot open {0} for reading: {1}")]
    Readers(PathBuf, r2d2::Error),
}

/// A database that is brought up to date, and locked for this process.
pub(super) struct Prepared {
    pub connection: Connection,
    pub state: TxState,
    pub lock: File,
    complete_filter: CollectionFilter,
    instance_id: [u8; 8],
}

/// Everything that a start does to the file, before anybody reads or writes.
pub(super) fn prepare(config: &StoreConfig) -> Result<Prepared, OpenError> {
    let path = &config.path;
    let lock = lock_file(path)?;
    let refused = |error| OpenError::Sqlite(path.clone(), error);
    let mut connection = Connection::open(path).map_err(refused)?;
    check_file(&connection, path)?;
    prepare_writer(&connection).map_err(refused)?;
    apply_schema(&mut connection).map_err(refused)?;
    let instance_id = read_instance_id(&connection, path)?;
    let complete_filter = adopt_filter(&mut connection, path, &config.filter)?;
    adopt_limits(&connection, &config.limits).map_err(refused)?;
    forget_last_run(&connection).map_err(refused)?;
    let state = read_state(&connection, config.limits, Arc::default()).map_err(refused)?;
    Ok(Prepared { connection, state, lock, complete_filter, instance_id })
}

/// The file of a service that may run, for reading alone.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    let refused = |error| OpenError::Sqlite(path.to_owned(), error);
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(refused)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
    if check_file(&db, path)? == 0 {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    Ok(db)
}

/// That the file has the schema of this version.
pub(super) fn require_current(db: &Connection, path: &Path) -> Result<(), OpenError> {
    match check_file(db, path)? {
        SCHEMA_VERSION => Ok(()),
        found => Err(OpenError::Older { path: path.to_owned(), found }),
    }
}

/// What a connection remembers of the rows.
pub(super) fn read_state(db: &Connection, limits: Limits, seen: Arc<Seen>) -> rusqlite::Result<TxState> {
    let state = TxState { limits, seen, ..TxState::default() };
    let held_bytes: i64 =
        db.query_row("SELECT ifnull(sum(length(frame)), 0) FROM held_events", [], |row| row.get(0))?;
    state.held_bytes.set(held_bytes.unsigned_abs());
    Ok(state)
}

pub(super) fn open(config: &StoreConfig, least_free_bytes: u64, failed: CancellationToken) -> Result<Store, OpenError> {
    let path = &config.path;
    let Prepared { connection, state, lock, complete_filter, instance_id } = prepare(config)?;
    let back = follow_clock_back(&connection, now_millis()).map_err(|error| OpenError::Sqlite(path.clone(), error))?;
    if let Some(back) = back {
        let back = humantime::format_duration(Duration::from_secs(back.unsigned_abs() / 1000));
        tracing::warn!(%back, "the clock went back since the last run: what was planned goes back with it; is it set right now?");
    }
    let manager = SqliteConnectionManager::file(path)
        .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_init(prepare_reader);
    let readers = r2d2::Pool::builder()
        .max_size(READERS)
        .connection_timeout(Duration::from_secs(10))
        // There is no server that could have gone.
        .test_on_check_out(false)
        // They keep their file descriptors: when the process has none left, the database goes on.
        .max_lifetime(None)
        .idle_timeout(None)
        .build(manager)
        .map_err(|error| OpenError::Readers(path.clone(), error))?;

    let signals = Arc::new(Signals::default());
    let disk = Arc::new(Disk::under(path, least_free_bytes));
    let failure = Arc::new(Failure::told_by(failed));
    let seen = state.seen.clone();
    let lists_version = Arc::new(AtomicU64::new(0));
    let desk = Desk {
        connection,
        state,
        signals: signals.clone(),
        disk: disk.clone(),
        failure: failure.clone(),
        lists_version: lists_version.clone(),
    };
    let writer = Writer::start(desk, lock).map_err(|error| OpenError::Unusable(path.clone(), error))?;
    Ok(Store {
        inner: Arc::new(Inner {
            writer,
            readers,
            reading: Semaphore::new(READERS as usize),
            seen,
            signals,
            disk,
            failure,
            filter: config.filter.clone(),
            complete_filter: Arc::new(RwLock::new(complete_filter)),
            instance_id,
            lists_version,
            limits: config.limits,
            lags: Lags::default(),
        }),
    })
}

/// The lock lies on a file of its own beside the database: SQLite's own locks are untouched, so the sqlite3 shell can read. The
/// kernel frees it with the process, however that ends.
pub(super) fn lock_file(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let unusable = |error| OpenError::Unusable(path.to_owned(), error);
    let file = File::options().create(true).write(true).truncate(false).open(name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Answers the schema version, 0 for an empty file.
fn check_file(db: &Connection, path: &Path) -> Result<i64, OpenError> {
    let pragma = |name: &str| -> Result<i64, OpenError> {
        db.pragma_query_value(None, name, |row| row.get(0)).map_err(|error| OpenError::Sqlite(path.to_owned(), error))
    };
    let is_new = pragma("page_count")? == 0;
    if !is_new && pragma("application_id")? != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let found = pragma("user_version")?;
    if found > SCHEMA_VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found });
    }
    Ok(found)
}

fn prepare_writer(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(db)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    db.pragma_update(None, "cache_size", -16 * 1024)?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.set_prepared_statement_cache_capacity(96);
    Ok(())
}

fn prepare_reader(db: &mut Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(db)?;
    db.pragma_update(None, "cache_size", -4 * 1024)?;
    // Pages come from the kernel's cache without a copy of their own for each reader; the file never shrinks while it is served.
    db.pragma_update(None, "mmap_size", READ_MAP_BYTES)?;
    db.set_prepared_statement_cache_capacity(48);
    Ok(())
}

/// Else a statement whose plan might depend on what is bound is made anew each time: a bound LIMIT is enough.
fn keep_plans(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A new file gets the whole schema, an old one the steps that it lacks: all of it in one transaction, or nothing.
pub(super) fn apply_schema(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        meta::set(&transaction, "instance_id", &format!("{:016x}", fastrand::u64(..)))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    } else {
        for step in STEPS.iter().skip(usize::try_from(version - 1).unwrap_or(0)) {
            transaction.execute_batch(step)?;
        }
        if version < LISTS_SINCE {
            lists::rebuild(&transaction)?;
        }
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    if (1..SCHEMA_VERSION).contains(&version) {
        tracing::info!(from = version, to = SCHEMA_VERSION, "the database was upgraded");
    }
    Ok(())
}

fn read_instance_id(db: &Connection, path: &Path) -> Result<[u8; 8], OpenError> {
    let text = meta::get(db, "instance_id").map_err(|error| OpenError::Sqlite(path.to_owned(), error))?;
    text.and_then(|text| u64::from_str_radix(&text, 16).ok())
        .map(u64::to_be_bytes)
        .ok_or_else(|| OpenError::Damaged(path.to_owned(), "instance_id"))
}

/// Compares the stored filter with the configured one, drops what no longer matches, queues every known repo when it got wider,
/// and answers what the index is complete for.
fn adopt_filter(db: &mut Connection, path: &Path, filter: &CollectionFilter) -> Result<CollectionFilter, OpenError> {
    let refused = |error| OpenError::Sqlite(path.to_owned(), error);
    let stored = |db: &Connection, key: &'static str| -> Result<Option<CollectionFilter>, OpenError> {
        let text = meta::get(db, key).map_err(refused)?;
        text.map(|text| CollectionFilter::parse(&text).map_err(|_| OpenError::Damaged(path.to_owned(), key)))
            .transpose()
    };
    let old = stored(db, "filter")?.unwrap_or_else(|| filter.clone());
    let mut complete = stored(db, "complete_filter")?.unwrap_or_else(|| filter.clone());
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(refused)?;
    let covered = |by: &CollectionFilter| filter.patterns().iter().all(|pattern| by.covers(pattern));
    if old != *filter {
        drop_unmatched(&transaction, filter).and_then(|()| usage::recount(&transaction)).map_err(refused)?;
        if !covered(&old) {
            queue_all_repos(&transaction).map_err(refused)?;
        }
    }
    patterns::adopt(&transaction, filter).map_err(refused)?;
    let waiting: i64 = transaction
        .query_row("SELECT count(*) FROM crawl_queue WHERE reindex = 1", [], |row| row.get(0))
        .map_err(refused)?;
    if covered(&complete) || waiting == 0 {
        complete = filter.clone();
    }
    meta::set(&transaction, "filter", &filter.to_string()).map_err(refused)?;
    meta::set(&transaction, "complete_filter", &complete.to_string()).map_err(refused)?;
    transaction.commit().map_err(refused)?;
    if complete != *filter {
        tracing::info!(
            repos = waiting,
            "the filter grew: the known repos are fetched again, and lists of the new collections wait for it"
        );
    }
    Ok(complete)
}

fn drop_unmatched(db: &Connection, filter: &CollectionFilter) -> rusqlite::Result<()> {
    let collections: Vec<(i64, String)> = db
        .prepare("SELECT collection_id, nsid FROM collections")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, _) in collections.iter().filter(|(_, nsid)| !filter.matches(nsid)) {
        for table in ["indexed_records", "collections"] {
            db.execute(&format!("DELETE FROM {table} WHERE collection_id = :id"), named_params! {":id": id})?;
        }
        lists::drop_list(db, *id)?;
    }
    db.execute("DELETE FROM repo_collections WHERE collection_id NOT IN (SELECT collection_id FROM collections)", [])?;
    Ok(())
}

fn adopt_limits(db: &Connection, limits: &Limits) -> rusqlite::Result<()> {
    let before = meta::get(db, "limits")?;
    meta::set(db, "limits", &usage::adopt_limits(db, limits, before.as_deref())?)
}

fn queue_all_repos(db: &Connection) -> rusqlite::Result<()> {
    // One statement cannot target a partial index with ON CONFLICT and stay readable: jobs that exist are marked, the rest inserted.
    db.execute("UPDATE crawl_queue SET reindex = 1, kind = 'repo', again = 'repo' WHERE repo_id IS NOT NULL", [])?;
    db.execute(
        "INSERT INTO crawl_queue (host_id, repo_id, kind, status, next_attempt_at, reindex, created_at)
         SELECT host_id, repo_id, 'repo', 'pending', :now, 1, :now FROM repos
         WHERE active = 1 AND repo_id NOT IN (SELECT repo_id FROM crawl_queue WHERE repo_id IS NOT NULL)",
        named_params! {":now": now_millis()},
    )?;
    Ok(())
}

/// The process that held leases and connections is dead: its lock was free.
pub(super) fn forget_last_run(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "UPDATE crawl_queue SET status = 'pending', lease_expires_at = NULL, next_attempt_at = 0 WHERE status = 'in_progress';
         UPDATE subscriptions SET connected_since = NULL, slowed_since = NULL, events_since_start = 0;",
    )
}
