//! Writing a dump: one snapshot, read in order, beside a service that goes on.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rusqlite::{Connection, named_params};
use serde_json::value::RawValue;

use super::super::open;
use super::super::unfinished::{Existing, Unfinished};
use super::{
    Ban, DumpCounts, DumpError, FORMAT, Firehose, Head, Host, Identity, Job, Line, LogEntry, Record, Repo, Takedown,
};
use crate::clock::now_millis;
use crate::repo::DagCid;
use crate::store::meta;

/// Dumps the database to a file that is not there yet, and answers what is in it. `progress` is told how far it is, and what there is in all.
pub fn dump(
    database: &Path,
    to: &Path,
    existing: Existing,
    progress: &mut dyn FnMut(DumpCounts, DumpCounts),
) -> Result<DumpCounts, DumpError> {
    let exists = || DumpError::Exists(to.to_owned(), "give another name, or --force to replace it");
    if existing == Existing::Keep && to.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let db = open::open_to_read(database)?;
    open::require_current(&db, database)?;
    let unfinished = Unfinished::beside(to);
    let file = File::create_new(unfinished.path()).map_err(|error| DumpError::File(to.to_owned(), error))?;
    let zipped = GzEncoder::new(BufWriter::new(file), Compression::fast());
    let mut writer = LineWriter { zipped, text: Vec::new(), counts: DumpCounts::default(), progress };
    let written = db.unchecked_transaction().map_err(Fault::from).and_then(|snapshot| writer.write_all(&snapshot));
    written.map_err(|fault| match fault {
        Fault::Sqlite(error) => DumpError::Sqlite(database.to_owned(), error),
        Fault::File(error) => DumpError::File(to.to_owned(), error),
    })?;
    let counts = writer.counts;
    let finished = writer.zipped.finish().and_then(|mut file| file.flush());
    finished.and_then(|()| unfinished.become_file(to, existing)).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        _ => DumpError::File(to.to_owned(), error),
    })?;
    Ok(counts)
}

enum Fault {
    Sqlite(rusqlite::Error),
    File(io::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::File(error)
    }
}

struct LineWriter<'p> {
    zipped: GzEncoder<BufWriter<File>>,
    text: Vec<u8>,
    counts: DumpCounts,
    progress: &'p mut dyn FnMut(DumpCounts, DumpCounts),
}

impl LineWriter<'_> {
    /// Each line at once: the encoder takes as long for a byte as for a few hundred.
    fn line(&mut self, line: &Line) -> Result<(), Fault> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, line).map_err(io::Error::from)?;
        self.text.push(b'\n');
        Ok(self.zipped.write_all(&self.text)?)
    }

    fn write_all(&mut self, db: &Connection) -> Result<(), Fault> {
        let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
        let all = DumpCounts {
            hosts: count("SELECT count(*) FROM hosts")?,
            repos: count("SELECT count(*) FROM repos")?,
            records: count("SELECT ifnull(sum(record_count), 0) FROM repos")?,
        };
        let text = |key| meta::get(db, key);
        self.line(&Line::Head(Head {
            format: FORMAT,
            signpost: env!("CARGO_PKG_VERSION").to_owned(),
            at: now_millis(),
            instance_id: text("instance_id")?.unwrap_or_default(),
            filter: text("filter")?.unwrap_or_default(),
            complete_filter: text("complete_filter")?.unwrap_or_default(),
            limits: text("limits")?,
            last_host_id: text("last_host_id")?,
            counts: all,
        }))?;
        self.hosts(db)?;
        self.operators(db)?;
        self.repos(db, all)?;
        self.line(&Line::End(self.counts))
    }

    fn hosts(&mut self, db: &Connection) -> Result<(), Fault> {
        let mut waiting = db.prepare("SELECT did FROM waiting_accounts WHERE host_id = ?1 ORDER BY did")?;
        let mut statement = db.prepare(
            "SELECT h.*, s.host_id IS NOT NULL AS has_firehose, s.host_cursor, s.ever_connected, s.last_event_at, s.relist_on_connect,
                 s.last_error AS firehose_error, q.status = 'subscribed' AS listed, q.next_attempt_at, q.attempts, q.page_cursor, q.last_error
             FROM hosts h LEFT JOIN subscriptions s USING (host_id)
             LEFT JOIN crawl_queue q ON q.host_id = h.host_id AND q.repo_id IS NULL
             ORDER BY h.host_id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get("host_id")?;
            let firehose = match row.get("has_firehose")? {
                true => Some(Firehose {
                    cursor: row.get("host_cursor")?,
                    ever_connected: row.get("ever_connected")?,
                    last_event_at: row.get("last_event_at")?,
                    relist_on_connect: row.get("relist_on_connect")?,
                    last_error: row.get("firehose_error")?,
                }),
                false => None,
            };
            let host = Host {
                id,
                hostname: row.get("hostname")?,
                scheme: row.get("scheme")?,
                state: row.get("state")?,
                state_since: row.get("state_since")?,
                requested_at: row.get("requested_at")?,
                reached_at: row.get("reached_at")?,
                created_at: row.get("created_at")?,
                domain: row.get("domain")?,
                budgeted: row.get("budgeted")?,
                blocked: row.get("blocked")?,
                account_limit: row.get("account_limit")?,
                events_per_second: row.get("events_per_second")?,
                events_per_hour: row.get("events_per_hour")?,
                events_per_day: row.get("events_per_day")?,
                firehose,
                next_attempt_at: row.get::<_, Option<i64>>("next_attempt_at")?.unwrap_or_default(),
                listed: row.get::<_, Option<bool>>("listed")?.unwrap_or_default(),
                attempts: row.get::<_, Option<i64>>("attempts")?.unwrap_or_default(),
                page_cursor: row.get("page_cursor")?,
                last_error: row.get("last_error")?,
                waiting_accounts: waiting.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?,
            };
            self.line(&Line::Host(Box::new(host)))?;
            self.counts.hosts += 1;
        }
        Ok(())
    }

    /// What operators set.
    fn operators(&mut self, db: &Connection) -> Result<(), Fault> {
        let mut takedowns = db.prepare("SELECT did, taken_down_at FROM takedowns ORDER BY did")?;
        let mut rows = takedowns.query([])?;
        while let Some(row) = rows.next()? {
            self.line(&Line::Takedown(Takedown { did: row.get(0)?, at: row.get(1)? }))?;
        }
        let mut bans = db.prepare("SELECT domain, banned_at FROM domain_bans ORDER BY domain")?;
        let mut rows = bans.query([])?;
        while let Some(row) = rows.next()? {
            self.line(&Line::Ban(Ban { domain: row.get(0)?, at: row.get(1)? }))?;
        }
        let mut log = db.prepare("SELECT at, action, subject, detail FROM admin_log ORDER BY entry_id")?;
        let mut rows = log.query([])?;
        while let Some(row) = rows.next()? {
            let entry = LogEntry { at: row.get(0)?, action: row.get(1)?, subject: row.get(2)?, detail: row.get(3)? };
            self.line(&Line::Log(entry))?;
        }
        Ok(())
    }

    fn repos(&mut self, db: &Connection, all: DumpCounts) -> Result<(), Fault> {
        let mut statement = db.prepare(
            "SELECT r.*, i.signing_key, i.resolved_at, i.checked_at,
                 EXISTS (SELECT 1 FROM crawl_queue q WHERE q.repo_id = r.repo_id) AS has_jobs,
                 (SELECT host_id FROM held_events e WHERE e.repo_id = r.repo_id LIMIT 1) AS held_for
             FROM repos r LEFT JOIN identities i USING (repo_id) ORDER BY r.repo_id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let cid = |column: &str| row.get::<_, Option<DagCid>>(column).map(|cid| cid.map(|cid| cid.to_string()));
            let identity = match row.get::<_, Option<String>>("signing_key")? {
                Some(signing_key) => Some(Identity {
                    signing_key,
                    resolved_at: row.get("resolved_at")?,
                    checked_at: row.get("checked_at")?,
                }),
                None => None,
            };
            let repo = Repo {
                id: row.get("repo_id")?,
                did: row.get("did")?,
                host: row.get("host_id")?,
                active: row.get("active")?,
                status: row.get("status")?,
                desynchronized: row.get("desynchronized")?,
                unproven: row.get("unproven")?,
                stale_head: cid("stale_head")?,
                rev: row.get("rev")?,
                head: cid("head")?,
                data: cid("data")?,
                truncated: row.get("truncated")?,
                identity,
            };
            let id = repo.id;
            self.line(&Line::Repo(Box::new(repo)))?;
            self.counts.repos += 1;
            if row.get::<_, i64>("record_count")? > 0 {
                self.records(db, id)?;
            }
            let held_for: Option<i64> = row.get("held_for")?;
            if held_for.is_some() || row.get("has_jobs")? {
                self.jobs(db, id, held_for)?;
            }
            (self.progress)(self.counts, all);
        }
        Ok(())
    }

    fn records(&mut self, db: &Connection, repo: i64) -> Result<(), Fault> {
        let mut statement = db.prepare_cached(
            "SELECT nsid, rkey, cid, record_data, indexed_at FROM repo_collections rc
             JOIN collections c USING (collection_id)
             JOIN indexed_records i ON i.collection_id = rc.collection_id AND i.repo_id = rc.repo_id
             JOIN record_contents b ON b.record_id = i.record_id
             WHERE rc.repo_id = :repo",
        )?;
        let mut rows = statement.query(named_params! {":repo": repo})?;
        while let Some(row) = rows.next()? {
            let value: String = row.get(3)?;
            let record = Record {
                collection: row.get(0)?,
                rkey: row.get(1)?,
                cid: row.get::<_, DagCid>(2)?.to_string(),
                value: RawValue::from_string(value).map_err(io::Error::from)?,
                indexed_at: row.get(4)?,
            };
            self.line(&Line::Record(record))?;
            self.counts.records += 1;
        }
        Ok(())
    }

    /// Work that is under way is to be begun anew. Events that wait are not dumped: the repo is to be fetched instead.
    fn jobs(&mut self, db: &Connection, repo: i64, held_for: Option<i64>) -> Result<(), Fault> {
        let mut statement = db.prepare_cached(
            "SELECT host_id, kind, attempts, next_attempt_at, reindex, claim, last_error FROM crawl_queue WHERE repo_id = ?1",
        )?;
        let mut rows = statement.query([repo])?;
        let mut held_for = held_for;
        while let Some(row) = rows.next()? {
            let mut job = Job {
                host: row.get(0)?,
                kind: row.get(1)?,
                attempts: row.get(2)?,
                next_attempt_at: row.get(3)?,
                reindex: row.get(4)?,
                claim: row.get(5)?,
                last_error: row.get(6)?,
            };
            if held_for.take_if(|host| *host == job.host).is_some() {
                job.kind = "repo".to_owned();
            }
            self.line(&Line::Job(job))?;
        }
        match held_for {
            Some(host) => self.line(&Line::Job(Job {
                host,
                kind: "repo".to_owned(),
                attempts: 0,
                next_attempt_at: 0,
                reindex: false,
                claim: 0,
                last_error: None,
            })),
            None => Ok(()),
        }
    }
}
