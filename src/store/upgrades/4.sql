-- From 3 to 4: what a record says leaves the index, which is narrow from now on.
DROP VIEW records;
CREATE TABLE record_contents (
    record_id   INTEGER PRIMARY KEY,
    record_data TEXT NOT NULL
) STRICT;
INSERT INTO record_contents (record_id, record_data)
SELECT row_number() OVER (ORDER BY collection_id, repo_id, rkey), record_data FROM indexed_records;
CREATE TABLE narrow (
    collection_id INTEGER NOT NULL REFERENCES collections (collection_id),
    repo_id       INTEGER NOT NULL REFERENCES repos (repo_id),
    rkey          TEXT    NOT NULL,
    cid           BLOB    NOT NULL,
    indexed_at    INTEGER NOT NULL,
    record_id     INTEGER NOT NULL,
    PRIMARY KEY (collection_id, repo_id, rkey)
) STRICT, WITHOUT ROWID;
INSERT INTO narrow (collection_id, repo_id, rkey, cid, indexed_at, record_id)
SELECT collection_id, repo_id, rkey, cid, indexed_at, row_number() OVER (ORDER BY collection_id, repo_id, rkey) FROM indexed_records;
DROP TABLE indexed_records;
ALTER TABLE narrow RENAME TO indexed_records;
CREATE TRIGGER record_went AFTER DELETE ON indexed_records BEGIN
    DELETE FROM record_contents WHERE record_id = old.record_id;
END;
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
