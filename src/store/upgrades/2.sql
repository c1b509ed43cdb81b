-- From 1 to 2: limits, bans and takedowns.
ALTER TABLE hosts ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN domain TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN budgeted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN account_limit INTEGER;
ALTER TABLE hosts ADD COLUMN events_per_second INTEGER;
ALTER TABLE hosts ADD COLUMN events_per_hour INTEGER;
ALTER TABLE hosts ADD COLUMN events_per_day INTEGER;
CREATE INDEX hosts_by_created ON hosts (created_at) WHERE budgeted = 1;
CREATE INDEX hosts_blocked ON hosts (blocked) WHERE blocked <> 0;
ALTER TABLE subscriptions ADD COLUMN events_since_start INTEGER NOT NULL DEFAULT 0;
UPDATE hosts SET created_at = requested_at;

CREATE TABLE host_usage (
    host_id      INTEGER PRIMARY KEY REFERENCES hosts (host_id),
    accounts     INTEGER NOT NULL DEFAULT 0,
    records      INTEGER NOT NULL DEFAULT 0,
    record_bytes INTEGER NOT NULL DEFAULT 0,
    names        INTEGER NOT NULL DEFAULT 0,
    waiting      INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE waiting_accounts (
    host_id INTEGER NOT NULL REFERENCES hosts (host_id),
    did     TEXT    NOT NULL,
    PRIMARY KEY (host_id, did)
) STRICT, WITHOUT ROWID;

CREATE TABLE domain_bans (
    domain    TEXT PRIMARY KEY,
    banned_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE takedowns (
    did           TEXT PRIMARY KEY,
    taken_down_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE admin_log (
    entry_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    detail   TEXT
) STRICT;

ALTER TABLE repos ADD COLUMN taken_down INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repos ADD COLUMN truncated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repos ADD COLUMN record_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repos ADD COLUMN record_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repos ADD COLUMN collection_count INTEGER NOT NULL DEFAULT 0;
CREATE INDEX repos_truncated ON repos (host_id) WHERE truncated = 1;

ALTER TABLE crawl_queue ADD COLUMN claim INTEGER NOT NULL DEFAULT 0;
UPDATE crawl_queue SET claim = 1 WHERE repo_id IS NOT NULL
    AND host_id <> (SELECT host_id FROM repos r WHERE r.repo_id = crawl_queue.repo_id);
CREATE INDEX crawl_queue_claims ON crawl_queue (host_id, claim) WHERE claim > 0;

ALTER TABLE subscriptions ADD COLUMN slowed_since INTEGER;

-- The start that follows fills these from its filter.
CREATE TABLE patterns (
    pattern_id INTEGER PRIMARY KEY,
    pattern    TEXT NOT NULL UNIQUE
) STRICT;
ALTER TABLE collections ADD COLUMN pattern_id INTEGER REFERENCES patterns (pattern_id);
ALTER TABLE collections ADD COLUMN brought_by INTEGER;
CREATE TABLE pattern_repos (
    pattern_id   INTEGER NOT NULL REFERENCES patterns (pattern_id),
    repo_id      INTEGER NOT NULL,
    record_count INTEGER NOT NULL CHECK (record_count > 0),
    PRIMARY KEY (pattern_id, repo_id)
) STRICT, WITHOUT ROWID;
DELETE FROM collections WHERE collection_id NOT IN (SELECT collection_id FROM repo_collections);

UPDATE repos SET
    record_count = (SELECT ifnull(sum(c.record_count), 0) FROM repo_collections c WHERE c.repo_id = repos.repo_id),
    collection_count = (SELECT count(*) FROM repo_collections c WHERE c.repo_id = repos.repo_id),
    record_bytes = (SELECT ifnull(sum(octet_length(i.record_data)), 0) FROM repo_collections c
        JOIN indexed_records i ON i.collection_id = c.collection_id AND i.repo_id = c.repo_id WHERE c.repo_id = repos.repo_id);
INSERT INTO host_usage (host_id, accounts, records, record_bytes)
SELECT host_id, count(repo_id), ifnull(sum(record_count), 0), ifnull(sum(record_bytes), 0)
FROM hosts LEFT JOIN repos USING (host_id) GROUP BY host_id;
