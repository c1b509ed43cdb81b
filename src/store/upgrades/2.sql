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
    record_bytes INTEGER NOT NULL DEFAULT 0
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
UPDATE repos SET record_bytes = (SELECT ifnull(sum(length(CAST(record_data AS BLOB))), 0) FROM indexed_records i
    JOIN repo_collections c ON c.collection_id = i.collection_id AND c.repo_id = i.repo_id WHERE c.repo_id = repos.repo_id);
INSERT INTO host_usage (host_id, accounts, records, record_bytes)
SELECT host_id, count(repo_id),
       ifnull(sum((SELECT sum(record_count) FROM repo_collections c WHERE c.repo_id = r.repo_id)), 0), ifnull(sum(record_bytes), 0)
FROM hosts LEFT JOIN repos r USING (host_id) GROUP BY host_id;
