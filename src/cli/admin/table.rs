//! Answers as text for a terminal: what a host made up cannot harm it.

use serde_json::Value;

use crate::cli::columns::table;
use crate::syntax::printable;

const LONGEST_ERROR: usize = 60;

/// Text of one line.
pub(super) fn cell(text: &str, most: usize) -> String {
    printable(text, most)
}

pub(super) fn hosts(hosts: &Value) -> String {
    let heads = ["HOST", "STATUS", "CONNECTED", "ACCOUNTS", "LIMIT", "WAITING", "EVENTS", "LAG", "LAST ERROR"];
    let row = |host: &Value| {
        vec![
            text(&host["Host"], 253),
            text(&host["Status"], 20),
            if host["HasActiveConnection"] == true { "yes" } else { "no" }.to_owned(),
            text(&host["RepoCount"], 20),
            limit(&host["RepoLimit"]),
            text(&host["WaitingAccounts"], 20),
            text(&host["EventsSeenSinceStartup"], 20),
            host["LagSeconds"].as_u64().map_or("-".to_owned(), |seconds| format!("{seconds} s")),
            text(&host["LastError"], LONGEST_ERROR),
        ]
    };
    table(&heads, hosts.as_array().into_iter().flatten().map(row))
}

pub(super) fn log(entries: &Value) -> String {
    let row = |entry: &Value| {
        vec![
            text(&entry["at"], 30),
            text(&entry["action"], 30),
            text(&entry["subject"], 253),
            text(&entry["detail"], 200),
        ]
    };
    table(&["AT", "ACTION", "SUBJECT", "DETAIL"], entries.as_array().into_iter().flatten().map(row))
}

pub(super) fn limits(host: &Value) -> String {
    let row = vec![
        text(&host["Host"], 253),
        limit(&host["RepoLimit"]),
        limit(&host["PerSecondEventRate"]["Max"]),
        limit(&host["PerHourEventRate"]["Max"]),
        limit(&host["PerDayEventRate"]["Max"]),
    ];
    table(&["HOST", "ACCOUNTS", "EVENTS/SECOND", "EVENTS/HOUR", "EVENTS/DAY"], [row].into_iter())
}

/// A list of texts, one on each line.
pub(super) fn lines(list: &Value) -> String {
    list.as_array().into_iter().flatten().map(|line| format!("{}\n", text(line, 2048))).collect()
}

fn limit(value: &Value) -> String {
    match value.as_i64() {
        None | Some(0) => "-".to_owned(),
        Some(limit) => limit.to_string(),
    }
}

fn text(value: &Value, most: usize) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => cell(text, most),
        other => cell(&other.to_string(), most),
    }
}
