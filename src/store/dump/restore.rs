//! Restoring a dump: a new database, which gets its name when it is whole and found to be sound.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rusqlite::{Connection, Statement, named_params};

use super::super::check::checked;
use super::super::unfinished::{Existing, Unfinished};
use super::super::{lists, meta, open, patterns, usage};
use super::{Ban, DumpCounts, DumpError, FORMAT, Head, Host, Job, Line, LogEntry, Record, Repo, Takedown};
use crate::clock::now_millis;
use crate::repo::DagCid;
use crate::syntax::CollectionFilter;

/// The longest line: a record of a million bytes, whose JSON may be several times that.
const LONGEST_LINE: usize = 64 << 20;

/// Makes a database out of a dump, and answers what is in it. There must be none of that name; when this fails, there is still none.
/// `progress` is told how far it is, and what there is in all.
pub fn restore(
    from: &Path,
    database: &Path,
    progress: &mut dyn FnMut(DumpCounts, DumpCounts),
) -> Result<DumpCounts, DumpError> {
    let _lock = open::lock_file(database)?;
    // A log that is left of an older database would be taken for the new one's.
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        if Path::new(&name).symlink_metadata().is_ok() {
            return Err(DumpError::Exists(
                PathBuf::from(name),
                "a dump is restored to a new file, so move it away first",
            ));
        }
    }
    let file = File::open(from).map_err(|error| DumpError::File(from.to_owned(), error))?;
    let lines = BufReader::with_capacity(1 << 20, MultiGzDecoder::new(BufReader::new(file)));
    let unfinished = Unfinished::beside(database);
    let refused = |error| DumpError::Sqlite(database.to_owned(), error);
    let mut db = Connection::open(unfinished.path()).map_err(refused)?;
    // Until it has its name, it need not survive anything.
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536")
        .map_err(refused)?;
    open::apply_schema(&mut db).map_err(refused)?;
    let transaction = db.transaction().map_err(refused)?;
    let counts = read(from, lines, &transaction, progress)?.map_err(refused)?;
    finish(&transaction).and_then(|()| transaction.commit()).map_err(refused)?;
    let problems = checked(&db).map_err(refused)?.problems;
    if let Some(problem) = problems.into_iter().next() {
        return Err(DumpError::Unsound(from.to_owned(), problem));
    }
    drop(db);
    let placed = unfinished.become_file(database, Existing::Keep);
    placed.map_err(|error| DumpError::File(database.to_owned(), error))?;
    Ok(counts)
}

/// Reads all lines into the tables. The outer error is that of the dump, the inner one that of the new database.
fn read(
    from: &Path,
    mut lines: impl BufRead,
    db: &Connection,
    progress: &mut dyn FnMut(DumpCounts, DumpCounts),
) -> Result<rusqlite::Result<DumpCounts>, DumpError> {
    let mut number = 0;
    let mut text = Vec::new();
    let malformed = |number, problem: String| DumpError::Malformed(from.to_owned(), number, problem);
    let mut next = |number: &mut u64, text: &mut Vec<u8>| -> Result<Line, DumpError> {
        *number += 1;
        text.clear();
        let limit = std::io::Read::by_ref(&mut lines);
        std::io::Read::take(limit, LONGEST_LINE as u64)
            .read_until(b'\n', text)
            .map_err(|error| malformed(*number, error.to_string()))?;
        if text.is_empty() {
            return Err(malformed(*number, "the end is missing".to_owned()));
        }
        serde_json::from_slice(text).map_err(|error| malformed(*number, error.to_string()))
    };
    let head = match next(&mut number, &mut text)? {
        Line::Head(head) if head.format > FORMAT => return Err(DumpError::Newer(from.to_owned(), head.format)),
        Line::Head(head) => head,
        _ => return Err(malformed(number, "it does not begin with a head".to_owned())),
    };
    let mut tables = match Tables::new(db, &head) {
        Ok(tables) => tables,
        Err(Refused::Sqlite(error)) => return Ok(Err(error)),
        Err(Refused::Line(problem)) => return Err(malformed(number, problem)),
    };
    loop {
        let line = next(&mut number, &mut text)?;
        if let Line::End(counts) = line {
            if let Err(error) = tables.end_repo() {
                return Ok(Err(error));
            }
            if counts != tables.counts {
                return Err(malformed(number, format!("it should have {counts:?}, and has {:?}", tables.counts)));
            }
            return Ok(Ok(counts));
        }
        match tables.take(line) {
            Ok(()) => progress(tables.counts, head.counts),
            Err(Refused::Sqlite(error)) => return Err(malformed(number, error.to_string())),
            Err(Refused::Line(problem)) => return Err(malformed(number, problem)),
        }
    }
}

/// What cannot be derived before all rows are there.
fn finish(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "UPDATE repos SET taken_down = 1 WHERE did IN (SELECT did FROM takedowns);
         UPDATE host_usage SET waiting = (SELECT count(*) FROM waiting_accounts w WHERE w.host_id = host_usage.host_id);",
    )?;
    usage::recount(db)?;
    lists::rebuild(db)
}

enum Refused {
    Sqlite(rusqlite::Error),
    Line(String),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Refused {
        Refused::Sqlite(error)
    }
}

struct Tables<'db> {
    db: &'db Connection,
    counts: DumpCounts,
    /// Whose records and jobs come.
    repo: Option<(i64, i64)>,
    collections: HashMap<String, i64>,
    pairs: HashMap<i64, i64>,
    insert_repo: Statement<'db>,
    insert_record: Statement<'db>,
    insert_content: Statement<'db>,
    insert_pair: Statement<'db>,
}

impl<'db> Tables<'db> {
    fn new(db: &'db Connection, head: &Head) -> Result<Tables<'db>, Refused> {
        let filter = CollectionFilter::parse(&head.filter).map_err(|error| Refused::Line(error.to_string()))?;
        for (key, value) in [
            ("instance_id", Some(&head.instance_id)),
            ("filter", Some(&head.filter)),
            ("complete_filter", Some(&head.complete_filter)),
            ("limits", head.limits.as_ref()),
            ("last_host_id", head.last_host_id.as_ref()),
        ] {
            if let Some(value) = value {
                meta::set(db, key, value)?;
            }
        }
        patterns::adopt(db, &filter)?;
        Ok(Tables {
            db,
            counts: DumpCounts::default(),
            repo: None,
            collections: HashMap::new(),
            pairs: HashMap::new(),
            insert_repo: db.prepare(
                "INSERT INTO repos (repo_id, did, host_id, active, status, desynchronized, unproven, stale_head, rev, head, data, truncated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            insert_record: db.prepare(
                "INSERT INTO indexed_records (collection_id, repo_id, rkey, cid, indexed_at, record_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            insert_content: db.prepare("INSERT INTO record_contents (record_data) VALUES (?1)")?,
            insert_pair: db
                .prepare("INSERT INTO repo_collections (collection_id, repo_id, record_count) VALUES (?1, ?2, ?3)")?,
        })
    }

    fn take(&mut self, line: Line) -> Result<(), Refused> {
        if !matches!(line, Line::Record(_) | Line::Job(_)) {
            self.end_repo()?;
        }
        match line {
            Line::Head(_) => return Err(Refused::Line("a second head".to_owned())),
            Line::Host(host) => self.host(&host)?,
            Line::Takedown(Takedown { did, at }) => {
                self.db.execute("INSERT INTO takedowns (did, taken_down_at) VALUES (?1, ?2)", (did, at))?;
            }
            Line::Ban(Ban { domain, at }) => {
                self.db.execute("INSERT INTO domain_bans (domain, banned_at) VALUES (?1, ?2)", (domain, at))?;
            }
            Line::Log(LogEntry { at, action, subject, detail }) => {
                let sql = "INSERT INTO admin_log (at, action, subject, detail) VALUES (?1, ?2, ?3, ?4)";
                self.db.execute(sql, (at, action, subject, detail))?;
            }
            Line::Repo(repo) => self.repo(&repo)?,
            Line::Record(record) => self.record(&record)?,
            Line::Job(job) => self.job(&job)?,
            Line::End(_) => {}
        }
        Ok(())
    }

    fn host(&mut self, host: &Host) -> Result<(), Refused> {
        self.db.execute(
            "INSERT INTO hosts (host_id, hostname, scheme, state, state_since, requested_at, woken_at, reached_at, created_at, domain, budgeted,
                 blocked, account_limit, events_per_second, events_per_hour, events_per_day)
             VALUES (:id, :hostname, :scheme, :state, :state_since, :requested_at, 0, :reached_at, :created_at, :domain, :budgeted,
                 :blocked, :account_limit, :per_second, :per_hour, :per_day)",
            named_params! {
                ":id": host.id, ":hostname": host.hostname, ":scheme": host.scheme, ":state": host.state,
                ":state_since": host.state_since, ":requested_at": host.requested_at, ":reached_at": host.reached_at,
                ":created_at": host.created_at, ":domain": host.domain, ":budgeted": host.budgeted, ":blocked": host.blocked,
                ":account_limit": host.account_limit, ":per_second": host.events_per_second,
                ":per_hour": host.events_per_hour, ":per_day": host.events_per_day,
            },
        )?;
        self.db.execute("INSERT INTO host_usage (host_id) VALUES (?1)", [host.id])?;
        for did in &host.waiting_accounts {
            self.db.execute("INSERT INTO waiting_accounts (host_id, did) VALUES (?1, ?2)", (host.id, did))?;
        }
        if let Some(firehose) = &host.firehose {
            self.db.execute(
                "INSERT INTO subscriptions (host_id, host_cursor, ever_connected, last_event_at, relist_on_connect, last_error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    host.id,
                    firehose.cursor,
                    firehose.ever_connected,
                    firehose.last_event_at,
                    firehose.relist_on_connect,
                    &firehose.last_error,
                ),
            )?;
        }
        self.db.execute(
            "INSERT INTO crawl_queue (host_id, kind, status, attempts, next_attempt_at, page_cursor, last_error, created_at)
             VALUES (?1, 'host', ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                host.id,
                if host.listed { "subscribed" } else { "pending" },
                host.attempts,
                host.next_attempt_at,
                &host.page_cursor,
                &host.last_error,
                now_millis(),
            ),
        )?;
        self.counts.hosts += 1;
        Ok(())
    }

    fn repo(&mut self, repo: &Repo) -> Result<(), Refused> {
        let cid = |text: &Option<String>| text.as_deref().map(parse_cid).transpose();
        self.insert_repo.execute((
            repo.id,
            &repo.did,
            repo.host,
            repo.active,
            &repo.status,
            repo.desynchronized,
            repo.unproven,
            cid(&repo.stale_head)?,
            &repo.rev,
            cid(&repo.head)?,
            cid(&repo.data)?,
            repo.truncated,
        ))?;
        if let Some(identity) = &repo.identity {
            self.db
                .prepare_cached(
                    "INSERT INTO identities (repo_id, signing_key, resolved_at, checked_at) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((repo.id, &identity.signing_key, identity.resolved_at, identity.checked_at))?;
        }
        self.repo = Some((repo.id, repo.host));
        self.counts.repos += 1;
        Ok(())
    }

    fn record(&mut self, record: &Record) -> Result<(), Refused> {
        let (repo, host) = self.current()?;
        let collection = match self.collections.get(&record.collection) {
            Some(id) => *id,
            None => {
                let id = self.new_collection(&record.collection, host)?;
                self.collections.insert(record.collection.clone(), id);
                id
            }
        };
        let cid = parse_cid(&record.cid)?;
        let record_id = self.insert_content.insert([record.value.get()])?;
        self.insert_record.execute((collection, repo, &record.rkey, cid, record.indexed_at, record_id))?;
        *self.pairs.entry(collection).or_default() += 1;
        self.counts.records += 1;
        Ok(())
    }

    fn new_collection(&self, nsid: &str, host: i64) -> rusqlite::Result<i64> {
        self.db.execute("INSERT INTO collections (nsid, brought_by) VALUES (?1, ?2)", (nsid, host))?;
        let id = self.db.last_insert_rowid();
        let pattern = patterns::matching(&patterns::stored(self.db)?, nsid);
        self.db.execute("UPDATE collections SET pattern_id = ?1 WHERE collection_id = ?2", (pattern, id))?;
        Ok(id)
    }

    fn job(&mut self, job: &Job) -> Result<(), Refused> {
        let (repo, _) = self.current()?;
        self.db
            .prepare_cached(
                "INSERT INTO crawl_queue (host_id, repo_id, kind, status, attempts, next_attempt_at, reindex, claim, last_error, created_at)
                 VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                job.host,
                repo,
                &job.kind,
                job.attempts,
                job.next_attempt_at,
                job.reindex,
                job.claim,
                &job.last_error,
                now_millis(),
            ))?;
        Ok(())
    }

    /// The records of a repo are all there.
    fn end_repo(&mut self) -> rusqlite::Result<()> {
        if let Some((repo, _)) = self.repo.take() {
            for (collection, count) in self.pairs.drain() {
                self.insert_pair.execute((collection, repo, count))?;
            }
        }
        Ok(())
    }

    fn current(&self) -> Result<(i64, i64), Refused> {
        self.repo.ok_or_else(|| Refused::Line("a record or a job without its repo".to_owned()))
    }
}

fn parse_cid(text: &str) -> Result<DagCid, Refused> {
    DagCid::parse(text).map_err(|error| Refused::Line(format!("{text:?}: {error}")))
}
