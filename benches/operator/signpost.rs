//! The real binary as a process: started on free ports, stopped, and what it used (from /proc, so Linux only).

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fake_network::{FakeHost, Network};
use tempfile::TempDir;

/// Built by cargo in the profile of the benches, which is release.
const BUILT: &str = env!("CARGO_BIN_EXE_signpost");
/// The core that signpost has for itself; this process keeps to the other one when `./bench` starts it.
const CORE: &str = "1";
/// Of /proc/PID/stat: USER_HZ, which is 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// The binary that is measured: `SIGNPOST_BENCH_BINARY`, else the one that cargo has built.
pub fn binary() -> String {
    std::env::var("SIGNPOST_BENCH_BINARY").unwrap_or_else(|_| BUILT.to_owned())
}

/// It is pinned to a core of its own where there are two.
pub fn is_pinned() -> bool {
    let has_taskset = || Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok();
    online_cores() > 1 && has_taskset()
}

/// All of the machine: this process may be kept to one of them.
fn online_cores() -> usize {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count()
}

/// A program on signpost's core.
pub fn pinned(program: &str) -> Command {
    if !is_pinned() {
        return Command::new(program);
    }
    let mut taskset = Command::new("taskset");
    // It becomes the program that it starts: what is waited for and measured is that.
    taskset.args(["-c", CORE, program]);
    taskset
}

/// A running `signpost serve`.
pub struct Signpost {
    process: Child,
    url: String,
    /// Kept open: a closed pipe would break what the process still prints.
    _stdout: BufReader<ChildStdout>,
}

/// What a process has used so far.
#[derive(Clone, Copy)]
pub struct Usage {
    /// User and system time, in steps of 10 ms.
    pub cpu: Duration,
    /// Resident now.
    pub rss_bytes: u64,
    /// The part of it that is no file's: what a mapped file shows the kernel can drop at any time.
    pub anonymous_bytes: u64,
    /// Most that was ever resident.
    pub peak_bytes: u64,
}

/// A directory for a database, which goes with the value.
pub fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written to")
}

/// The database in such a directory.
pub fn database_path(directory: &TempDir) -> PathBuf {
    directory.path().join("signpost.db")
}

impl Signpost {
    /// Starts it on a database, new or not; returns when it listens.
    pub fn start(database: &Path, network: &Network) -> Signpost {
        let log = File::create(database.with_extension("log")).expect("the log can be made");
        let mut process = pinned(&binary())
            .args(["serve", "--allow-private-hosts", "--plc-url", network.plc_url()])
            .args(["--http-addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0"])
            // The machine is measured, not our restraint.
            .args(["--plc-requests-per-second", "100000", "--host-events-per-second", "1000000"])
            .args(["--request-crawl-per-minute", "10000"])
            .arg("--database-path")
            .arg(database)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("signpost prints UTF-8");
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.expect("the first line says where it listens").to_owned();
        Signpost { process, url, _stdout: stdout }
    }

    /// Where its public listener is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has a host announce itself, as real ones do.
    pub async fn announce(&self, host: &FakeHost) {
        let answer = host.request_crawl(&self.url).await.expect("signpost answers");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// What it has used since its start.
    pub fn usage(&self) -> Usage {
        usage_of(self.process.id())
    }

    /// Ends it with SIGTERM and waits for its end.
    pub fn stop(mut self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIGTERM was not sent");
        let ended = self.process.wait().expect("it is our child");
        assert!(ended.success(), "signpost ended with {ended}");
    }
}

/// What a running process has used.
pub fn usage_of(pid: u32) -> Usage {
    running_usage_of(pid).expect("it runs, and this is Linux")
}

/// None: it has ended, though nobody has taken note of it yet.
pub fn running_usage_of(pid: u32) -> Option<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let (stat, status) = (read("stat")?, read("status")?);
    // After the name in parentheses: state is field 3 of proc(5), utime 14, stime 15.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number of kB");
        Some(kib * 1024)
    };
    Some(Usage {
        cpu: TICK * ticks,
        rss_bytes: bytes("VmRSS")?,
        anonymous_bytes: bytes("RssAnon")?,
        peak_bytes: bytes("VmHWM")?,
    })
}

impl Usage {
    /// What was used since an earlier moment; the memory is that of now.
    pub fn since(self, earlier: &Usage) -> Usage {
        Usage { cpu: self.cpu - earlier.cpu, ..self }
    }
}

impl Drop for Signpost {
    fn drop(&mut self) {
        // It has ended already when it was stopped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
