//! The write-ahead log, kept small by hand: SQLite's own checkpoint swallows its errors, and a failed fsync among them must stop us.
//! Invariant: a log past its bound is emptied as soon as no reader looks at it; our own readers look for 2 seconds at most.

use std::cell::Cell;
use std::time::Duration;

use rusqlite::Connection;

/// So many more pages, and what can be is written back into the database: 16 MiB, in which pages that change often are written once.
const CHECKPOINT_PAGES: u64 = 4000;
/// Past it, the writer waits for readers to end, and empties the log.
const BOUND_BYTES: u64 = 64 << 20;
/// Longer than a query may take.
const WAIT_FOR_READERS: Duration = Duration::from_millis(2500);
/// What a write waits for who else has the file: a person with the sqlite3 shell.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    /// In the log after the last commit of this thread's connection.
    static PAGES: Cell<u64> = const { Cell::new(0) };
}

pub(super) struct Wal {
    page_bytes: u64,
    /// Where the next checkpoint is due.
    next_at_pages: u64,
    /// Where the next emptying is due: a reader from outside may stand in its way for hours.
    empty_at_bytes: u64,
}

impl Wal {
    /// Takes the log of the writer's connection over from SQLite.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Wal> {
        connection.wal_hook(Some(|_, pages| {
            PAGES.set(u64::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let page_bytes = page_bytes.unsigned_abs();
        Ok(Wal { page_bytes, next_at_pages: CHECKPOINT_PAGES, empty_at_bytes: BOUND_BYTES })
    }

    /// Bytes in the log after the last commit.
    pub(super) fn bytes(&self) -> u64 {
        PAGES.get() * self.page_bytes
    }

    /// To be called after each commit.
    pub(super) fn bound(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let pages = PAGES.get();
        if pages < self.next_at_pages.saturating_sub(CHECKPOINT_PAGES) {
            // It began anew.
            self.next_at_pages = CHECKPOINT_PAGES;
            self.empty_at_bytes = BOUND_BYTES;
        }
        if self.bytes() >= self.empty_at_bytes {
            if !self.empty_waiting(connection)? {
                tracing::warn!(
                    mib = self.bytes() >> 20,
                    "a long reader keeps the write-ahead log from being emptied: is a sqlite3 shell or a backup open?"
                );
                self.empty_at_bytes = self.bytes() + BOUND_BYTES;
            }
        } else if pages >= self.next_at_pages {
            self.next_at_pages = pages + CHECKPOINT_PAGES;
            checkpoint(connection, "PASSIVE")?;
        }
        Ok(())
    }

    /// Writes everything back; a reader that stands in the way is left alone.
    pub(super) fn empty(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.empty_waiting(connection).map(drop)
    }

    fn empty_waiting(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        connection.busy_timeout(WAIT_FOR_READERS)?;
        let emptied = checkpoint(connection, "TRUNCATE");
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let emptied = emptied?;
        if emptied {
            PAGES.set(0);
            self.next_at_pages = CHECKPOINT_PAGES;
            self.empty_at_bytes = BOUND_BYTES;
        }
        Ok(emptied)
    }
}

/// Answers whether nobody stood in the way.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<bool> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, bool>(0)).map(|busy| !busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it is begun anew, and one write of this test.
    const WITHOUT_READERS: u64 = CHECKPOINT_PAGES * 4096 + (6 << 20);

    #[test]
    fn a_log_is_written_back_as_it_grows_and_emptied_past_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let log_bytes = || path.with_extension("db-wal").metadata().map_or(0, |log| log.len());
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.pragma_update(None, "synchronous", "OFF").unwrap();
        writer.pragma_update(None, "journal_size_limit", BOUND_BYTES as i64).unwrap();
        writer.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, x)").unwrap();
        let mut wal = Wal::of(&writer).unwrap();
        let write = |wal: &mut Wal| {
            writer.execute("REPLACE INTO t VALUES (1, zeroblob(4000000))", []).unwrap();
            wal.bound(&writer).unwrap();
        };
        // Without readers it is begun anew, again and again.
        (0..20).for_each(|_| write(&mut wal));
        assert!(log_bytes() < WITHOUT_READERS, "{}", log_bytes());

        // With a reader it grows: the reader is waited for, and then left alone.
        let reader = Connection::open(&path).unwrap();
        let count = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(count("SELECT count(*) FROM t"), 1);
        (0..20).for_each(|_| write(&mut wal));
        assert!(log_bytes() > BOUND_BYTES && wal.bytes() > BOUND_BYTES, "{}", log_bytes());
        assert!(wal.empty_at_bytes > BOUND_BYTES);
        reader.execute_batch("COMMIT").unwrap();
        (0..20).for_each(|_| write(&mut wal));
        assert!(wal.bytes() < WITHOUT_READERS && log_bytes() <= BOUND_BYTES, "{} in {}", wal.bytes(), log_bytes());

        (wal.empty_at_bytes, wal.next_at_pages) = (1, CHECKPOINT_PAGES);
        write(&mut wal);
        assert_eq!((wal.bytes(), log_bytes()), (0, 0), "past the bound it is emptied");
    }
}
