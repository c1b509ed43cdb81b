//! Says in the log which requests took long, and where their time went.

use std::time::Duration;

use axum::body::HttpBody;
use axum::http::Method;
use axum::http::uri::PathAndQuery;
use axum::response::Response;

use crate::metrics::Lines;
use crate::store::Spent;
use crate::syntax::printable;

/// A page of a list takes well below a millisecond.
const SLOW: Duration = Duration::from_millis(500);
const LONGEST_QUERY: usize = 500;
/// What makes one slow makes all slow.
static LINES: Lines = Lines::a_minute(10);

/// Takes note of an answer, and tells of it when it was slow.
pub(super) fn note(verb: &Method, asked: Option<&PathAndQuery>, response: &Response, took: Duration, spent: Spent) {
    let in_database = spent.waiting + spent.reading + spent.writing;
    // What a client sends with its request comes as slowly as it likes.
    let counts = if verb == Method::POST { in_database } else { took };
    if counts < SLOW {
        return;
    }
    let Some(left_out) = LINES.take() else { return };
    let elsewhere = took.saturating_sub(in_database);
    tracing::warn!(
        asked = asked.map(|asked| printable(asked.as_str(), LONGEST_QUERY)),
        status = response.status().as_u16(),
        reason = reason(spent, elsewhere),
        took_ms = took.as_millis() as u64,
        waiting_ms = spent.waiting.as_millis() as u64,
        reading_ms = spent.reading.as_millis() as u64,
        writing_ms = spent.writing.as_millis() as u64,
        reads = spent.reads,
        bytes = response.body().size_hint().exact(),
        left_out,
        "a request took long"
    );
}

/// What most of the time went into, and what may be done.
fn reason(spent: Spent, elsewhere: Duration) -> &'static str {
    let parts = [
        (spent.waiting, "waiting for a reader of the database: others read for long"),
        (spent.reading, "reading: is the disk slow, or the question a large one?"),
        (spent.writing, "waiting for the writer: is the disk slow, or does much come in?"),
        (elsewhere, "outside the database: another asked the same at that time, or the processor is busy"),
    ];
    parts.into_iter().max_by_key(|(time, _)| *time).map_or("", |(_, words)| words)
}
