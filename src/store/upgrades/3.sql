-- From 2 to 3: lists with their DIDs. They are filled in the transaction of this step (`lists::rebuild`).
CREATE TABLE pairs (
    collection_id INTEGER NOT NULL,
    repo_id       INTEGER NOT NULL REFERENCES repos (repo_id),
    record_count  INTEGER NOT NULL CHECK (record_count > 0),
    PRIMARY KEY (repo_id, collection_id)
) STRICT, WITHOUT ROWID;
INSERT INTO pairs (collection_id, repo_id, record_count)
SELECT collection_id, repo_id, record_count FROM repo_collections ORDER BY repo_id, collection_id;
DROP TABLE repo_collections;
ALTER TABLE pairs RENAME TO repo_collections;
DROP TABLE pattern_repos;
CREATE TABLE lists (
    up_to INTEGER PRIMARY KEY,
    repos BLOB NOT NULL
) STRICT;

CREATE INDEX repos_inactive ON repos (host_id) WHERE active = 0;
CREATE INDEX repos_desynchronized ON repos (host_id) WHERE desynchronized = 1;
