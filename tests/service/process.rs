//! The real binary as a process: started on free ports, asked over HTTP, killed or stopped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use fake_network::{FakeHost, Network};
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::await_condition::await_condition;
use crate::index::{Index, is_atcr};

/// A running `signpost serve` with a database of its own.
pub struct Process {
    directory: TempDir,
    plc_url: String,
    child: Child,
    url: String,
    /// Kept open: a closed pipe would break what the process still prints.
    _stdout: BufReader<ChildStdout>,
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
        .args(["--http-addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0"])
        .args(["--request-crawl-per-minute", "10000", "--trusted-domains", "localhost,127.0.0.1"])
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
        let directory = TempDir::new().unwrap();
        let (child, stdout, url) = spawn(directory.path(), network.plc_url());
        Process { directory, plc_url: network.plc_url().to_owned(), child, url, _stdout: stdout }
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
        (self.child, self._stdout, self.url) = spawn(self.directory.path(), &self.plc_url);
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

fn spawn(directory: &Path, plc_url: &str) -> (Child, BufReader<ChildStdout>, String) {
    let log = File::options().create(true).append(true).open(directory.join("signpost.log")).unwrap();
    let mut command = serve(&directory.join("signpost.db"), plc_url);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    block_in_place(|| stdout.read_line(&mut line).unwrap());
    let url = line.split_whitespace().find(|word| word.starts_with("http://"));
    let url = url.unwrap_or_else(|| panic!("signpost says where it listens: {line:?}")).to_owned();
    (child, stdout, url)
}
