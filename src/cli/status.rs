//! `signpost status`: the first screen of the operator's page, in a terminal.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::Value;

use super::Failure;
use super::columns::table;
use super::internal_call::{Call, reachable};
use crate::config::{self, InternalAddrFlag};
use crate::syntax::printable;

const WATCH_EVERY: Duration = Duration::from_secs(2);
const STATUS: Call = Call {
    method: "GET",
    path: "/status",
    token: None,
    body: None,
    timeout: Duration::from_secs(30),
    largest_answer_bytes: 1 << 20,
};
/// The terminal's words for: to the top, and clear what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Whom to ask, and how often.
#[derive(Debug, Args)]
pub struct StatusFlags {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub internal_addr: InternalAddrFlag,

    /// Print what the service answers, as JSON
    #[arg(long)]
    pub json: bool,

    /// Show it again every two seconds, until it is interrupted
    #[arg(long)]
    pub watch: bool,
}

/// Prints it once, or again and again.
pub fn run(flags: StatusFlags) -> Result<(), Failure> {
    let StatusFlags { internal_addr, json, watch } = flags;
    let address = config::internal_addr(internal_addr, |name| std::env::var_os(name))?
        .ok_or_else(|| anyhow!("the internal listener is off, so there is nobody to ask: set --internal-addr"))?;
    let address = reachable(address);
    loop {
        let answer = ask(address);
        // Who watches waits for a service that is being started again.
        let text = match (answer, watch) {
            (Ok(status), _) if json => format!("{status}\n"),
            (Ok(status), _) => as_text(&status),
            (Err(error), true) => format!("{error:#}\n"),
            (Err(error), false) => return Err(error.into()),
        };
        let clear = if watch && std::io::stdout().is_terminal() { CLEAR } else { "" };
        print!("{clear}{text}");
        if !watch {
            return Ok(());
        }
        std::io::stdout().flush().context("cannot write to stdout")?;
        std::thread::sleep(WATCH_EVERY);
    }
}

fn ask(address: SocketAddr) -> anyhow::Result<Value> {
    let reply = STATUS.send(address).with_context(|| {
        format!("no answer from http://{address}: is signpost running (systemctl status signpost), and its internal listener there (--internal-addr)?")
    })?;
    match (reply.status, serde_json::from_str(&reply.body)) {
        (Some(200), Ok(status)) => Ok(status),
        (Some(status), _) => {
            Err(anyhow!("http://{address}/status answered {status}: is it a signpost of this version?"))
        }
        (None, _) => Err(anyhow!("http://{address} did not answer in HTTP: is it signpost's internal listener?")),
    }
}

fn as_text(status: &Value) -> String {
    let mut text = format!("{}\n", line(&status["health"]["sentence"]));
    for advice in list(&status["health"]["advice"]) {
        text.push_str(&format!("  - {}\n", line(advice)));
    }
    let filter: Vec<String> = list(&status["filter"]).map(line).collect();
    let running = Duration::from_millis((number(&status["now"]) - number(&status["started_at"])).max(0) as u64);
    text.push_str(&format!(
        "\nsignpost {}, running for {}, indexes {}\n\n",
        line(&status["version"]),
        span(running),
        filter.join(", ")
    ));
    let (hosts, repos, queue) = (&status["hosts"], &status["repos"], &status["queue"]);
    let (rates, database) = (&status["rates"], &status["database"]);
    let megabytes = |value: &Value| format!("{} MiB", number(value) >> 20);
    let rows = [
        ["hosts", &format!("{} followed of {}, {} blocked", hosts["followed"], hosts["total"], hosts["blocked"])],
        ["lag", &lag(hosts)],
        ["accounts", &format!("{} active, {} inactive", repos["active"], repos["inactive"])],
        ["records", &format!("{} in {} collections", status["records"], status["collections"])],
        ["events", &format!("{:.1} a second in the last minute", rates["events"].as_f64().unwrap_or_default())],
        [
            "queue",
            &format!(
                "{} wait, {} in progress, {} failed and are tried again",
                queue["pending"], queue["in_progress"], queue["failed"]
            ),
        ],
        [
            "database",
            &format!("{}, {} free on its disk", megabytes(&database["bytes"]), megabytes(&database["free_bytes"])),
        ],
    ];
    for [name, value] in rows {
        text.push_str(&format!("{name:<10}{value}\n"));
    }
    let crawling: Vec<Vec<String>> = list(&status["crawling"]).map(crawl).collect();
    if !crawling.is_empty() {
        text.push('\n');
        text.push_str(&table(&["BEING CRAWLED", "DONE", "OF", "FAILED", "LEFT"], crawling.into_iter()));
    }
    text
}

/// How far behind the firehoses are.
fn lag(hosts: &Value) -> String {
    let span = |seconds: &Value| span(Duration::from_secs(seconds.as_u64().unwrap_or_default()));
    let most = match number(&hosts["lag_seconds"]) {
        0 => "none".to_owned(),
        _ => format!("at most {}", span(&hosts["lag_seconds"])),
    };
    let events = match number(&hosts["lag_events"]) {
        0 => String::new(),
        events => format!(", {events} events to be stored"),
    };
    let lagging = match number(&hosts["lagging"]) {
        0 => String::new(),
        hosts => format!(", hosts more than 10 minutes behind: {hosts}"),
    };
    format!("{most}{events}{lagging}")
}

fn crawl(crawl: &Value) -> Vec<String> {
    let left = number(&crawl["waiting"]) + number(&crawl["in_progress"]);
    let done = (number(&crawl["repos"]) - left - number(&crawl["failed"])).max(0);
    let of = match crawl["listing"].as_bool() {
        Some(true) => format!("{} and more, it is being listed", crawl["repos"]),
        _ => crawl["repos"].to_string(),
    };
    let left = match crawl["seconds_left"].as_u64() {
        Some(seconds) => format!("about {}", span(Duration::from_secs(seconds))),
        None => "nothing tells yet".to_owned(),
    };
    vec![line(&crawl["hostname"]), done.to_string(), of, crawl["failed"].to_string(), left]
}

/// To the minute where it is long.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let kept = if seconds < 120 { seconds } else { seconds / 60 * 60 };
    humantime::format_duration(Duration::from_secs(kept)).to_string()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// What a host made up cannot harm the terminal.
fn line(value: &Value) -> String {
    printable(value.as_str().unwrap_or("-"), 500)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sentence_comes_first_and_a_crawl_has_a_line() {
        let status = json!({
            "version": "0.1.0", "now": 3_600_000, "started_at": 0, "filter": ["io.atcr.*"],
            "health": { "level": "warn", "sentence": "a\u{1b}[31m.com cannot be followed.", "advice": ["Wait."] },
            "hosts": { "followed": 1, "total": 2, "blocked": 0, "lag_seconds": 700, "lag_events": 3, "lagging": 1 }, "repos": { "active": 3, "inactive": 0 },
            "records": 4, "collections": 1, "rates": { "events": 0.5 },
            "queue": { "pending": 5, "in_progress": 1, "failed": 0 },
            "database": { "bytes": 3 << 20, "free_bytes": 5 << 20 },
            "crawling": [{ "hostname": "b.com", "listing": false, "repos": 10, "waiting": 5, "in_progress": 1, "failed": 0, "seconds_left": 61 }],
        });
        let text = as_text(&status);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.lines().next().is_some_and(|first| first.ends_with("cannot be followed.")), "{text}");
        for expected in [
            "  - Wait.",
            "running for 1h, indexes io.atcr.*",
            "hosts     1 followed of 2, 0 blocked",
            "lag       at most 11m, 3 events to be stored, hosts more than 10 minutes behind: 1",
            "0.5 a second",
            "3 MiB, 5 MiB free",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(text.ends_with("b.com          4     10  0       about 1m 1s\n"), "{text}");
    }
}
