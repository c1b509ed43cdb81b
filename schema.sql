-- signpost's whole database. `src/store/open.rs` runs this file on an empty database; old files are brought up by the steps
-- beside it (PRAGMA user_version). Times are Unix milliseconds. A CID column holds the 32 bytes of the SHA-256 digest: every CID
-- that is stored is CIDv1, dag-cbor, SHA-256, so the other four bytes would never differ.

-- What the database knows of itself: `instance_id` (random, made once: list cursors of another database are refused), `filter`
-- (the --collections of the last start), `complete_filter` (what the index is complete for: it lags while a wider filter fills) and
-- `last_host_id` (the highest that was forgotten: an id must never come back as another host).
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A host that asked to be crawled. `reached_at` is its first answer: before that nobody is told that it exists.
CREATE TABLE hosts (
    host_id      INTEGER PRIMARY KEY,
    hostname     TEXT    NOT NULL UNIQUE,                 -- Host::as_str: 'hold01.example.com', in development 'localhost:2583'
    scheme       TEXT    NOT NULL CHECK (scheme IN ('http', 'https')),
    state        TEXT    NOT NULL CHECK (state IN ('new', 'active', 'offline')),
    state_since  INTEGER NOT NULL,
    requested_at INTEGER NOT NULL,                        -- the latest requestCrawl
    woken_at     INTEGER NOT NULL,                        -- the latest requestCrawl that cut waiting times short, 0: none
    reached_at   INTEGER,
    created_at   INTEGER NOT NULL DEFAULT 0,              -- the first requestCrawl
    domain       TEXT    NOT NULL DEFAULT '',             -- registrable domain, which the daily budgets of new hosts are counted by
    budgeted     INTEGER NOT NULL DEFAULT 0,              -- it came by a public requestCrawl, and counts against those budgets
    blocked      INTEGER NOT NULL DEFAULT 0,              -- neither crawled nor followed; bits: 1 its name, 2 its domain, 4 being forgotten
    account_limit     INTEGER,                            -- the operator's limits for this host; NULL: the default
    events_per_second INTEGER,
    events_per_hour   INTEGER,
    events_per_day    INTEGER
) STRICT;
CREATE INDEX hosts_by_created ON hosts (created_at) WHERE budgeted = 1;
CREATE INDEX hosts_blocked ON hosts (blocked) WHERE blocked <> 0;

-- What a host's accounts take, changed in the transactions that change them, so that its limits cost no count.
CREATE TABLE host_usage (
    host_id      INTEGER PRIMARY KEY REFERENCES hosts (host_id),
    accounts     INTEGER NOT NULL DEFAULT 0,              -- rows of `repos`
    records      INTEGER NOT NULL DEFAULT 0,              -- rows of `indexed_records`
    record_bytes INTEGER NOT NULL DEFAULT 0,              -- their record_data
    names        INTEGER NOT NULL DEFAULT 0,              -- rows of `collections` that it brought
    waiting      INTEGER NOT NULL DEFAULT 0               -- rows of `waiting_accounts`
) STRICT;

-- Accounts of a host that is at its limit: the first thousand, for the operator to see. They are listed again when it is raised.
CREATE TABLE waiting_accounts (
    host_id INTEGER NOT NULL REFERENCES hosts (host_id),
    did     TEXT    NOT NULL,
    PRIMARY KEY (host_id, did)
) STRICT, WITHOUT ROWID;

-- Domains whose hosts are refused, with all that lies below them.
CREATE TABLE domain_bans (
    domain    TEXT PRIMARY KEY,
    banned_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Accounts that the operator hides, known here or not (yet).
CREATE TABLE takedowns (
    did           TEXT PRIMARY KEY,
    taken_down_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every change that an operator made, with the change.
CREATE TABLE admin_log (
    entry_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,                            -- a host, a domain or a DID
    detail   TEXT                                         -- JSON: what it was set to
) STRICT;

-- One firehose per host that was reached. `host_cursor` is the low watermark: every event at or below it has a durable outcome. It
-- is written in the transaction that holds those outcomes. NULL: no event was ever heard.
CREATE TABLE subscriptions (
    host_id           INTEGER PRIMARY KEY REFERENCES hosts (host_id),
    host_cursor       INTEGER,
    ever_connected    INTEGER NOT NULL DEFAULT 0,
    connected_since   INTEGER,                            -- NULL: not connected now (also after a restart)
    last_event_at     INTEGER,
    restarts          INTEGER NOT NULL DEFAULT 0,         -- how often a silent connection was given up: a change asks for it
    relist_on_connect INTEGER NOT NULL DEFAULT 0,         -- repos were listed while the firehose was down: list them once more
    last_error        TEXT,
    events_since_start INTEGER NOT NULL DEFAULT 0,        -- events that arrived since this process started
    slowed_since      INTEGER                             -- since when it sends more events than its limits let through; NULL: it does not
) STRICT;

-- One narrow row per account, matching records or not: with rev and data its chain of commits can be followed.
-- AUTOINCREMENT, because list cursors point at repo_id: an id must never come back as another account.
CREATE TABLE repos (
    repo_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    did            TEXT    NOT NULL UNIQUE,
    host_id        INTEGER NOT NULL REFERENCES hosts (host_id),
    active         INTEGER NOT NULL,
    status         TEXT,                                  -- why it is not active, in the protocol's words
    desynchronized INTEGER NOT NULL DEFAULT 0,            -- a resync is queued; what is indexed stays listed
    unproven       INTEGER NOT NULL DEFAULT 0,            -- fetch it at the next comparison: an old host's ops could not be shown to be all
    stale_head     BLOB,                                  -- head of a fetched answer older than the row: taken once the host lists it too
    rev            TEXT,                                  -- of the signed commit that the rows below come from
    head           BLOB,                                  -- CID of that commit
    data           BLOB,                                  -- CID of its MST root; NULL: never fetched and verified
    taken_down     INTEGER NOT NULL DEFAULT 0,            -- hidden by the operator: its DID is in `takedowns`
    truncated      INTEGER NOT NULL DEFAULT 0,            -- a limit on its rows or its host's was met: some matching records are not kept
    record_bytes   INTEGER NOT NULL DEFAULT 0,            -- bytes of record_data in its rows
    record_count   INTEGER NOT NULL DEFAULT 0,            -- its rows of `indexed_records`
    collection_count INTEGER NOT NULL DEFAULT 0           -- its rows of `repo_collections`
) STRICT;
CREATE INDEX repos_by_host ON repos (host_id);
CREATE INDEX repos_truncated ON repos (host_id) WHERE truncated = 1;
-- Few of many, counted at every scrape.
CREATE INDEX repos_inactive ON repos (host_id) WHERE active = 0;
CREATE INDEX repos_desynchronized ON repos (host_id) WHERE desynchronized = 1;

-- The signing key that the DID document named when the repo was last resolved, as did:key. Only for repos that were fetched: a
-- good commit then costs no request, also after a restart.
CREATE TABLE identities (
    repo_id     INTEGER PRIMARY KEY REFERENCES repos (repo_id),
    signing_key TEXT    NOT NULL,
    resolved_at INTEGER NOT NULL,
    checked_at  INTEGER                                   -- when a bad signature last had it asked for
) STRICT;

-- The patterns of the filter that more than one collection can match; none of them covers another.
CREATE TABLE patterns (
    pattern_id INTEGER PRIMARY KEY,
    pattern    TEXT NOT NULL UNIQUE                       -- 'io.atcr.*' or '*'
) STRICT;

-- The text of each collection once: 100,000 rows of one collection share four bytes instead of repeating its NSID. It goes with the
-- last record.
CREATE TABLE collections (
    collection_id INTEGER PRIMARY KEY,
    nsid          TEXT NOT NULL UNIQUE,
    pattern_id    INTEGER REFERENCES patterns (pattern_id), -- the pattern that matches it; NULL: the filter names it
    brought_by    INTEGER                                 -- host_id whose record had it first: a host may bring only so many names
) STRICT;

-- The index. WITHOUT ROWID and in this order, so that the rows of one collection and repo lie together. Narrow: with the
-- records in it, each new row changed more than two pages that no other of its transaction did.
CREATE TABLE indexed_records (
    collection_id INTEGER NOT NULL REFERENCES collections (collection_id),
    repo_id       INTEGER NOT NULL REFERENCES repos (repo_id),
    rkey          TEXT    NOT NULL,
    cid           BLOB    NOT NULL,
    indexed_at    INTEGER NOT NULL,
    record_id     INTEGER NOT NULL,                       -- its row of `record_contents`, which is no other's
    PRIMARY KEY (collection_id, repo_id, rkey)
) STRICT, WITHOUT ROWID;

-- The records themselves, in the order in which they came: new ones fill one page after the other.
CREATE TABLE record_contents (
    record_id   INTEGER PRIMARY KEY,
    record_data TEXT NOT NULL                             -- the record as protocol JSON ($link, $bytes)
) STRICT;
CREATE TRIGGER record_went AFTER DELETE ON indexed_records BEGIN
    DELETE FROM record_contents WHERE record_id = old.record_id;
END;

-- Which repos hold which collection, and how many records. Changed in the transaction that changes the rows; a count that reaches 0 is
-- deleted. No foreign key to collections: it would ask for an index of its own.
CREATE TABLE repo_collections (
    collection_id INTEGER NOT NULL,
    repo_id       INTEGER NOT NULL REFERENCES repos (repo_id),
    record_count  INTEGER NOT NULL CHECK (record_count > 0),
    PRIMARY KEY (repo_id, collection_id)
) STRICT, WITHOUT ROWID;

-- What listReposByCollection answers, ready to be read: for each collection, and each of the filter's patterns (`io.atcr.*` costs what one
-- collection costs, however many names there are), the repos that hold it and are shown (active, not taken down), in the order of their
-- ids, with their DIDs, some sixty to a row. It says nothing that the tables above do not say in words, and goes with them: `signpost check`
-- compares the two. `up_to` is list << 34 | repo_id: the list is a collection_id or, below 0, -pattern_id; the row holds the repos after those
-- of the row before it, up to this repo_id. `repos` is packed: src/store/chunk.rs says how.
CREATE TABLE lists (
    up_to INTEGER PRIMARY KEY,
    repos BLOB NOT NULL
) STRICT;

-- Work to do. A host has one row for good (repo_id NULL): pending -> in_progress (probe, list its repos) -> subscribed, until it is
-- compared again. A repo has
-- a row only while there is work on it. `failed` waits for `next_attempt_at` like `pending`, and says why in `last_error`.
-- A row that is in_progress past its lease is claimable again: its process or task died.
CREATE TABLE crawl_queue (
    job_id           INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: a late worker must not take another claim for its own
    host_id          INTEGER NOT NULL REFERENCES hosts (host_id),
    repo_id          INTEGER REFERENCES repos (repo_id),
    kind             TEXT    NOT NULL CHECK (kind IN ('host', 'repo', 'status', 'identity')),
    status           TEXT    NOT NULL CHECK (status IN ('pending', 'in_progress', 'subscribed', 'failed')),
    attempts         INTEGER NOT NULL DEFAULT 0,
    next_attempt_at  INTEGER NOT NULL,                    -- 0: at the head of its host's share
    lease_expires_at INTEGER,
    again            TEXT CHECK (again IN ('host', 'repo', 'status', 'identity')), -- asked for while in progress: to be done once more after it
    reindex          INTEGER NOT NULL DEFAULT 0,          -- queued by a wider filter, and not tried yet
    page_cursor      TEXT,                                -- listRepos: saved with the page's repos
    last_error       TEXT,
    created_at       INTEGER NOT NULL,
    claim            INTEGER NOT NULL DEFAULT 0           -- 1: the host named another's repo; 2: the repo's DID document named the host
) STRICT;
CREATE INDEX crawl_queue_claims ON crawl_queue (host_id, claim) WHERE claim > 0;
CREATE UNIQUE INDEX crawl_queue_host ON crawl_queue (host_id) WHERE repo_id IS NULL;
CREATE UNIQUE INDEX crawl_queue_repo ON crawl_queue (repo_id, host_id) WHERE repo_id IS NOT NULL;
CREATE INDEX crawl_queue_due_repos ON crawl_queue (host_id, next_attempt_at)
    WHERE repo_id IS NOT NULL AND status IN ('pending', 'failed');
CREATE INDEX crawl_queue_due_hosts ON crawl_queue (next_attempt_at)
    WHERE repo_id IS NULL AND status IN ('pending', 'failed', 'subscribed');
CREATE INDEX crawl_queue_by_host ON crawl_queue (host_id, status);
CREATE INDEX crawl_queue_leases ON crawl_queue (lease_expires_at) WHERE status = 'in_progress';
CREATE INDEX crawl_queue_by_status ON crawl_queue (status);
CREATE INDEX crawl_queue_reindex ON crawl_queue (host_id) WHERE reindex = 1;

-- Live events of repos whose backfill or resync is not done: applied after it, in order. Bounded per repo and in all; past the
-- bound they are dropped and the repo is fetched again (crawl_queue.again).
CREATE TABLE held_events (
    repo_id INTEGER NOT NULL REFERENCES repos (repo_id),
    seq     INTEGER NOT NULL,
    host_id INTEGER NOT NULL REFERENCES hosts (host_id),
    frame   BLOB    NOT NULL,
    PRIMARY KEY (repo_id, host_id, seq)
) STRICT, WITHOUT ROWID;

-- For people with the sqlite3 shell: SELECT did, rkey, record_data ->> '$.name' FROM records WHERE collection = 'io.atcr.hold.captain';
-- The CID's text is the 58 base32 digits of 0x01711220 and the digest: digit i holds five bits, cut out of two hex digits.
CREATE VIEW records (did, collection, rkey, cid, record_data, indexed_at) AS
SELECT r.did, c.nsid, i.rkey,
       (WITH RECURSIVE digit (i, bytes) AS (
            VALUES (0, '01711220' || lower(hex(i.cid)) || '0')
            UNION ALL SELECT i + 1, bytes FROM digit WHERE i < 57)
        SELECT 'b' || group_concat(substr('abcdefghijklmnopqrstuvwxyz234567', 1 + ((
                   ((instr('0123456789abcdef', substr(bytes, 1 + i * 5 / 4, 1)) - 1) * 16
                   + instr('0123456789abcdef', substr(bytes, 2 + i * 5 / 4, 1)) - 1) >> (3 - i * 5 % 4)) & 31), 1), '')
        FROM digit),
       b.record_data,
       strftime('%Y-%m-%dT%H:%M:%fZ', i.indexed_at / 1000.0, 'unixepoch')
FROM indexed_records i
JOIN record_contents b USING (record_id)
JOIN collections c USING (collection_id)
JOIN repos r USING (repo_id);
