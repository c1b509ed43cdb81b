//! The real binary as a process: started on a free port, asked through the official client, killed or stopped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::await_condition::await_condition;
use crate::network::{NETWORK, directory, text};
use crate::pds::{Account, Pds};

const START_DEADLINE: Duration = Duration::from_secs(30);

/// A running `signpost serve` with a database of its own.
pub struct Signpost {
    directory: PathBuf,
    process: Child,
    addresses: Addresses,
    /// Kept open: a closed pipe would break what the process still prints.
    _stdout: BufReader<ChildStdout>,
}

/// Where it listens, on loopback.
struct Addresses {
    public: String,
    internal: String,
}

impl Signpost {
    /// Starts with an empty database.
    pub fn start() -> Signpost {
        static STARTED: AtomicU64 = AtomicU64::new(1);
        let plc_url = &NETWORK.plc_url;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = directory().join(format!("signpost-{number}"));
        std::fs::create_dir_all(&directory).unwrap();
        let (process, stdout, addresses) = serve(&directory, plc_url);
        Signpost { directory, process, addresses, _stdout: stdout }
    }

    /// The SQLite file.
    pub fn database_path(&self) -> PathBuf {
        self.directory.join("signpost.db")
    }

    /// Ends the process with SIGKILL and starts another on the same database, on another port.
    pub fn kill_and_restart(&mut self) {
        self.kill_and_restart_after(|| ());
    }

    /// As `kill_and_restart`, with something done while no signpost runs.
    pub fn kill_and_restart_after(&mut self, meanwhile: impl FnOnce()) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        meanwhile();
        (self.process, self._stdout, self.addresses) = serve(&self.directory, &NETWORK.plc_url);
    }

    /// Ends the process with SIGTERM and gives its exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        await_condition("signpost ends after SIGTERM", || {
            self.process.try_wait().unwrap().ok_or_else(|| "running".to_owned())
        })
    }

    /// An answer from the method `com.atproto.sync.NAME`: `{body}`, or `{status, error, message}`.
    pub fn ask(&self, name: &str, parameters: Value) -> Value {
        let method = format!("com.atproto.sync.{name}");
        NETWORK.command("xrpc", json!({ "service": self.addresses.public, "method": method, "params": parameters }))
    }

    /// The sum of a counter's series whose labels contain all of these: `(name, ["kind=\"commit\"", ..])`.
    pub fn counter(&self, name: &str, labels: &[&str]) -> u64 {
        let answer = NETWORK.command("get", json!({ "url": format!("{}/metrics", self.addresses.internal) }));
        let text = text(&answer["text"]);
        let series = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        series
            .filter(|(series, _)| series.starts_with('{') && labels.iter().all(|label| series.contains(label)))
            .map(|(_, value)| value.parse::<u64>().unwrap_or_else(|_| panic!("{value} is a count")))
            .sum()
    }

    /// How many commits of firehoses ended with this outcome since it was started.
    pub fn commits(&self, outcome: &str) -> u64 {
        let outcome = format!("outcome=\"{outcome}\"");
        self.counter("signpost_events_total", &["kind=\"commit\"", &outcome])
    }

    /// Waits until this many commits ended with this outcome.
    pub fn await_commits(&self, outcome: &str, count: u64) {
        await_condition(&format!("{count} commits are {outcome}"), || match self.commits(outcome) {
            seen if seen >= count => Ok(()),
            seen => Err(format!("at {seen}")),
        });
        assert_eq!(self.commits(outcome), count, "commits that are {outcome}");
    }

    /// Waits until a host was compared since it was started.
    pub fn await_compared(&self) {
        await_condition("a host was compared", || {
            match self.counter("signpost_crawl_jobs_total", &["kind=\"host\"", "outcome=\"done\""]) {
                0 => Err("none".to_owned()),
                _ => Ok(()),
            }
        });
    }

    /// Waits until no job is queued or in progress.
    pub fn await_idle(&self) {
        await_condition("nothing is left to do", || {
            match self.counter("signpost_queue_jobs", &["status=\"pending\""])
                + self.counter("signpost_queue_jobs", &["status=\"in_progress\""])
            {
                0 => Ok(()),
                jobs => Err(format!("{jobs} jobs")),
            }
        });
    }

    /// How many repos were fetched since it was started, and taken in.
    pub fn fetches(&self) -> u64 {
        self.counter("signpost_crawl_jobs_total", &["kind=\"repo\"", "outcome=\"done\""])
    }

    /// Announces a PDS as the PDS itself would.
    pub fn request_crawl(&self, pds: &Pds) {
        let method = "com.atproto.sync.requestCrawl";
        let input = json!({ "hostname": pds.hostname() });
        let answer =
            NETWORK.command("xrpc", json!({ "service": self.addresses.public, "method": method, "input": input }));
        assert!(answer["error"].is_null(), "requestCrawl was refused: {answer}");
    }

    /// The DIDs that listReposByCollection gives for a collection or pattern, page by page to the end, in order of their names.
    pub fn listed(&self, collection: &str) -> Vec<String> {
        let mut dids = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let mut parameters = json!({ "collection": collection });
            if !cursor.is_null() {
                parameters["cursor"] = cursor;
            }
            let answer = self.ask("listReposByCollection", parameters);
            let repos = answer["body"]["repos"].as_array().unwrap_or_else(|| panic!("not a list: {answer}"));
            dids.extend(repos.iter().map(|repo| repo["did"].as_str().unwrap().to_owned()));
            cursor = answer["body"]["cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        dids.sort();
        dids
    }

    /// Waits until exactly these accounts are listed for a collection or pattern.
    pub fn await_listed(&self, collection: &str, accounts: &[&Account]) {
        let mut expected: Vec<&str> = accounts.iter().map(|account| account.did.as_str()).collect();
        expected.sort();
        await_condition(&format!("the list for {collection} is {expected:?}"), || {
            let listed = self.listed(collection);
            if listed == expected { Ok(()) } else { Err(format!("{listed:?}")) }
        });
    }

    /// Waits until getRepoStatus answers with this status, `None` standing for active.
    pub fn await_status(&self, account: &Account, status: Option<&str>) {
        await_condition(&format!("the status of {} is {status:?}", account.did), || {
            let answer = self.ask("getRepoStatus", json!({ "did": account.did }));
            let body = &answer["body"];
            let holds = body["active"] == json!(status.is_none()) && body["status"].as_str() == status;
            if holds { Ok(()) } else { Err(answer.to_string()) }
        });
    }
}

impl Drop for Signpost {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("signpost's log and database: {}", self.directory.display());
        }
    }
}

fn serve(directory: &Path, plc_url: &str) -> (Child, BufReader<ChildStdout>, Addresses) {
    let log = File::options().create(true).append(true).open(directory.join("signpost.log")).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_signpost"))
        .args(["serve", "--allow-private-hosts", "--plc-url", plc_url])
        .args(["--http-addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0"])
        .args(["--request-crawl-per-minute", "10000"])
        .arg("--database-path")
        .arg(directory.join("signpost.db"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let (sender, started) = mpsc::channel();
    std::thread::spawn(move || {
        let addresses = first_addresses(&mut stdout);
        let _ = sender.send((stdout, addresses));
    });
    let (stdout, addresses) = started.recv_timeout(START_DEADLINE).expect("signpost says where it listens");
    let Some(addresses) = addresses else {
        let _ = process.kill();
        panic!("signpost ended before it listened: {}", directory.join("signpost.log").display());
    };
    (process, stdout, addresses)
}

/// From the first line with two `http://` addresses, the public and the internal one, or `None` when the process ends without.
fn first_addresses(stdout: &mut impl BufRead) -> Option<Addresses> {
    for line in stdout.lines() {
        let line = line.expect("signpost prints UTF-8");
        let mut words = line.split_whitespace().filter(|word| word.starts_with("http://"));
        let mut address = || Some(words.next()?.trim_end_matches(['/', ',', '.', ')']).to_owned());
        if let (Some(public), Some(internal)) = (address(), address()) {
            return Some(Addresses { public, internal });
        }
    }
    None
}
