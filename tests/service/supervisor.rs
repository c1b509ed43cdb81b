//! The real binary under a supervisor that speaks sd_notify, such as systemd.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fake_network::Network;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::await_condition::await_condition;
use crate::process::serve;

/// How long a supervisor would wait for a sign of life.
const PATIENCE: Duration = Duration::from_secs(4);

/// A socket to be told on, with the name that a process knows it by.
struct Socket(UnixDatagram, OsString);

impl Socket {
    fn at_path(directory: &TempDir) -> Socket {
        let path = directory.path().join("notify");
        Socket(UnixDatagram::bind(&path).unwrap(), path.into())
    }

    fn abstract_name() -> Socket {
        let name = format!("signpost-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Socket(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}").into())
    }

    /// The next message; it must come in time.
    fn heard(&self) -> String {
        self.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut bytes = [0; 64];
        let len = block_in_place(|| self.0.recv(&mut bytes)).expect("told in time");
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }
}

fn start(directory: &TempDir, network: &Network, name: &OsStr) -> Child {
    let mut command = serve(&directory.path().join("signpost.db"), network.plc_url());
    command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", PATIENCE.as_micros().to_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Not before it has said where it listens is it ready.
    let mut line = String::new();
    block_in_place(|| BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap());
    assert!(line.contains("listens on"), "{line}");
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_hears_that_it_runs_that_it_is_alive_and_that_it_stops() {
    let network = Network::start().await;
    let directory = TempDir::new().unwrap();
    for socket in [Socket::at_path(&directory), Socket::abstract_name()] {
        let mut child = start(&directory, &network, &socket.1);
        assert_eq!(socket.heard(), "READY=1");
        let mut last = Instant::now();
        for _ in 0..3 {
            assert_eq!(socket.heard(), "WATCHDOG=1");
            assert!(last.elapsed() < PATIENCE / 2, "{:?} without a sign of life", last.elapsed());
            last = Instant::now();
        }
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let mut told = socket.heard();
        if told == "WATCHDOG=1" {
            told = socket.heard();
        }
        assert_eq!(told, "STOPPING=1");
        let status = await_condition("it ends", async || child.try_wait().unwrap().ok_or_else(|| "running".to_owned()));
        assert!(status.await.success());
    }
}
