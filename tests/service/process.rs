//! The real binary as a process: started on free ports, asked over HTTP, killed or stopped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use fake_network::client::{Answer, get};
use fake_network::{FakeHost, Network};
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::await_condition::await_condition;
use crate::index::{Index, is_atcr};

/// A running `signpost serve` with a database of its own.
pub struct Process {
    directory: TempDir,
    plc_url: String,
    options: Options,
    child: Child,
    url: String,
    internal_url: String,
    /// Kept open: a closed pipe would break what the process still prints.
    _stdout: BufReader<ChildStdout>,
}

/// How a process is started, beyond the usual.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// A program that starts it, with its own arguments.
    pub under: &'static [&'static str],
    /// More flags.
    pub flags: &'static [&'static str],
}

/// The binary, without the settings of whoever runs the tests.
pub fn signpost() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signpost"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// `signpost serve` on free ports.
pub fn serve(database: &Path, plc_url: &str) -> Command {
    let mut command = signpost();
    command
        .args(["serve", "--allow-private-hosts", "--plc-url", plc_url])
        .args(["--http-addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0", "--plc-requests-per-second", "10000"])
        .args(["--request-crawl-per-minute", "10000"])
        .arg("--database-path")
        .arg(database);
    command
}

/// Runs a command that is expected to end by itself.
pub fn output(command: &mut Command) -> Output {
    block_in_place(|| command.output().unwrap())
}

impl Process {
    /// Starts with an empty database.
    pub fn start(network: &Network) -> Process {
        Process::start_in(TempDir::new().unwrap(), network, Options::default())
    }

    /// The same in a directory of the test's choice, and in another way.
    pub fn start_in(directory: TempDir, network: &Network, options: Options) -> Process {
        let (child, stdout, [url, internal_url]) = spawn(directory.path(), network.plc_url(), options);
        let plc_url = network.plc_url().to_owned();
        Process { directory, plc_url, options, child, url, internal_url, _stdout: stdout }
    }

    /// GET of a path of the public listener.
    pub async fn get(&self, path: &str) -> std::io::Result<Answer> {
        get(&format!("{}{path}", self.url)).await
    }

    /// GET of a path of the internal listener.
    pub async fn get_internal(&self, path: &str) -> std::io::Result<Answer> {
        get(&format!("{}{path}", self.internal_url())).await
    }

    /// Where the public listener is.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Where the internal listener is: `http://127.0.0.1:PORT`.
    pub fn internal_url(&self) -> &str {
        &self.internal_url
    }

    /// Waits until it has ended by itself.
    pub async fn await_end(&mut self) -> ExitStatus {
        await_condition("signpost ends by itself", async || {
            self.child.try_wait().unwrap().ok_or_else(|| "running".to_owned())
        })
        .await
    }

    /// The `/proc` directory of the process.
    pub fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }

    /// The SQLite file.
    pub fn database_path(&self) -> PathBuf {
        self.directory.path().join("signpost.db")
    }

    /// The index, as the file shows it now.
    pub fn index(&self) -> Index {
        Index::open(&self.database_path())
    }

    /// Ends the process with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        block_in_place(|| self.child.wait().unwrap());
    }

    /// Starts again on the same database.
    pub fn start_again(&mut self) {
        let urls;
        (self.child, self._stdout, urls) = spawn(self.directory.path(), &self.plc_url, self.options);
        [self.url, self.internal_url] = urls;
    }

    /// Ends the process with SIGTERM and gives its exit status.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        await_condition("signpost ends after SIGTERM", async || {
            self.child.try_wait().unwrap().ok_or_else(|| "running".to_owned())
        })
        .await
    }

    /// Announces a host as the host itself would.
    pub async fn request_crawl(&self, host: &FakeHost) {
        assert_eq!(host.request_crawl(&self.url).await.unwrap().status, 200);
    }

    /// Waits until the index equals the truth under the default filter.
    pub async fn await_truth(&self, network: &Network) {
        await_condition("the index equals the truth", async || self.index().equals(network, is_atcr)).await;
    }

    /// The same, without what these accounts hold.
    pub async fn await_truth_of(&self, network: &Network, but: &[&str]) {
        let truth = || {
            let mut truth = network.expected(is_atcr);
            truth.retain(|(did, ..), _| !but.contains(&did.as_str()));
            truth
        };
        await_condition("the index equals the truth", async || {
            let (index, truth) = (self.index().records(), truth());
            if index == truth { Ok(()) } else { Err(format!("{} records for {}", index.len(), truth.len())) }
        })
        .await;
    }

    /// All metrics.
    pub async fn metrics(&self) -> String {
        String::from_utf8(self.get_internal("/metrics").await.unwrap().body).unwrap()
    }

    /// What was logged, from all runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("signpost.log")).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("signpost's log:\n{}", self.log());
        }
    }
}

fn spawn(directory: &Path, plc_url: &str, options: Options) -> (Child, BufReader<ChildStdout>, [String; 2]) {
    let log = File::options().create(true).append(true).open(directory.join("signpost.log")).unwrap();
    let usual = serve(&directory.join("signpost.db"), plc_url);
    let mut command = match options.under {
        [] => usual,
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(usual.get_program()).args(usual.get_args()).stdin(Stdio::null());
            command
        }
    };
    let mut child = command.args(options.flags).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    block_in_place(|| stdout.read_line(&mut line).unwrap());
    let words = line.split_whitespace().map(|word| word.trim_end_matches("),"));
    let urls: Vec<String> = words.filter(|word| word.starts_with("http://")).map(str::to_owned).collect();
    let urls = urls.try_into().unwrap_or_else(|_| panic!("signpost says where it listens: {line:?}"));
    (child, stdout, urls)
}
