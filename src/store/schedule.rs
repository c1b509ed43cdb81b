//! The times in the rows, when the wall clock went back since the last run: what was planned goes back with it. While the process
//! runs, its own clock cannot be set (`clock::now_millis`).

use rusqlite::{Connection, named_params};

/// Less than this is no step: two clocks of one machine, or a leap second.
const LEAST_STEP_MS: i64 = 1000;

/// Compares the latest time that the last run noted with `now` (Unix milliseconds); answers by how much the clock went back. To be
/// called before anything is written.
pub(super) fn follow_clock_back(db: &Connection, now: i64) -> rusqlite::Result<Option<i64>> {
    let latest: i64 = db.query_row(
        "SELECT max((SELECT ifnull(max(last_event_at), 0) FROM subscriptions),
                    (SELECT ifnull(max(max(requested_at, state_since, woken_at, created_at)), 0) FROM hosts),
                    (SELECT ifnull(max(created_at), 0) FROM crawl_queue))",
        [],
        |row| row.get(0),
    )?;
    let step = latest - now;
    if step < LEAST_STEP_MS {
        return Ok(None);
    }
    let transaction = db.unchecked_transaction()?;
    transaction.execute(
        "UPDATE crawl_queue SET next_attempt_at = max(next_attempt_at - :step, 0), created_at = min(created_at, :now)",
        named_params! {":step": step, ":now": now},
    )?;
    for noted in [
        "UPDATE hosts SET requested_at = min(requested_at, :now), state_since = min(state_since, :now),
             woken_at = min(woken_at, :now), reached_at = min(reached_at, :now), created_at = min(created_at, :now)",
        "UPDATE subscriptions SET last_event_at = min(last_event_at, :now) WHERE last_event_at > :now",
        "UPDATE identities SET resolved_at = min(resolved_at, :now), checked_at = min(checked_at, :now)
         WHERE max(resolved_at, ifnull(checked_at, 0)) > :now",
    ] {
        transaction.execute(noted, named_params! {":now": now})?;
    }
    transaction.commit()?;
    Ok(Some(step))
}
