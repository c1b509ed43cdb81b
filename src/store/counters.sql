-- What the counters say that the rows do not, and the other way round: 0 in a sound database. Read by tests. `lists` is not among them:
-- src/store/lists.rs compares it.
WITH
    counted_pairs AS (SELECT collection_id, repo_id, count(*) FROM indexed_records GROUP BY 1, 2),
    stored_pairs AS (SELECT collection_id, repo_id, record_count FROM repo_collections),
    counted_repos AS (
        SELECT r.repo_id, count(i.rkey), ifnull(sum(octet_length(b.record_data)), 0), count(DISTINCT i.collection_id)
        FROM repos r LEFT JOIN indexed_records i ON i.repo_id = r.repo_id
             LEFT JOIN record_contents b ON b.record_id = i.record_id GROUP BY 1),
    stored_repos AS (SELECT repo_id, record_count, record_bytes, collection_count FROM repos),
    counted_hosts AS (
        SELECT u.host_id, count(r.repo_id), ifnull(sum(r.record_count), 0), ifnull(sum(r.record_bytes), 0),
               (SELECT count(*) FROM collections c WHERE c.brought_by = u.host_id),
               (SELECT count(*) FROM waiting_accounts w WHERE w.host_id = u.host_id)
        FROM host_usage u LEFT JOIN repos r ON r.host_id = u.host_id GROUP BY 1),
    stored_hosts AS (SELECT host_id, accounts, records, record_bytes, names, waiting FROM host_usage)
SELECT (SELECT count(*) FROM (SELECT * FROM counted_pairs EXCEPT SELECT * FROM stored_pairs))
     + (SELECT count(*) FROM (SELECT * FROM stored_pairs EXCEPT SELECT * FROM counted_pairs))
     + (SELECT count(*) FROM (SELECT * FROM counted_repos EXCEPT SELECT * FROM stored_repos))
     + (SELECT count(*) FROM (SELECT * FROM counted_hosts EXCEPT SELECT * FROM stored_hosts))
     + (SELECT count(*) FROM indexed_records WHERE record_id NOT IN (SELECT record_id FROM record_contents))
     + (SELECT count(*) FROM record_contents WHERE record_id NOT IN (SELECT record_id FROM indexed_records))
     + (SELECT count(*) FROM repos WHERE host_id NOT IN (SELECT host_id FROM host_usage))
     + (SELECT count(*) FROM collections WHERE collection_id NOT IN (SELECT collection_id FROM repo_collections));
