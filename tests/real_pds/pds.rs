//! The PDSes of the network, and what their accounts do.

use serde_json::{Value, json};

use crate::network::{NETWORK, text};

/// A PDS of the network.
pub struct Pds {
    name: String,
    /// `http://localhost:PORT`
    pub url: String,
}

impl Pds {
    /// Starts a PDS of today without accounts.
    pub fn start() -> Pds {
        Pds::start_version("today")
    }

    /// Starts a PDS 0.4.95 without accounts: its events say neither what a commit continues (`prevData`) nor what an op replaced
    /// (`prev`), and it knows no `#sync`.
    pub fn start_legacy() -> Pds {
        Pds::start_version("legacy")
    }

    fn start_version(version: &str) -> Pds {
        let started = NETWORK.command("startPds", json!({ "version": version }));
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
        Account { did: text(&created["did"]), pds: None }
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
    /// The PDS on which things are done; None: the one where it lives.
    pds: Option<String>,
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
        let rkeys: Vec<String> = rkeys.map(|rkey| rkey.to_string()).collect();
        let create = |rkey| Write::Create(collection, rkey, json!({ "of": rkey }));
        self.write_at_once(&rkeys.iter().map(|rkey| create(rkey.as_str())).collect::<Vec<_>>());
    }

    /// Commands that name nothing but the account: deactivate, activate, takedown, untakedown, deleteAccount.
    pub fn act(&self, command: &str) {
        self.command(command, json!({}));
    }

    /// Several writes of any kind in one commit.
    pub fn write_at_once(&self, writes: &[Write]) {
        let writes: Vec<Value> = writes.iter().map(Write::to_json).collect();
        self.command("applyWrites", json!({ "writes": writes }));
    }

    /// Gives it another signing key, in its DID document too.
    pub fn rotate_key(&self) {
        self.command("rotateKey", json!({}));
    }

    /// Moves to another PDS, up to the activation there: the one that it leaves is not told.
    pub fn migrate(&self, to: &Pds) {
        self.command("migrate", json!({ "to": to.name }));
    }

    /// The same account, to do things to it on a PDS where it lives no more.
    pub fn left_behind_on(&self, pds: &Pds) -> Account {
        Account { did: self.did.clone(), pds: Some(pds.name.clone()) }
    }

    /// Changes the handle.
    pub fn rename(&self, handle: &str) {
        self.command("updateHandle", json!({ "handle": handle }));
    }

    fn command(&self, name: &str, mut parameters: Value) {
        parameters["did"] = json!(self.did);
        parameters["pds"] = json!(self.pds);
        NETWORK.command(name, parameters);
    }
}

/// One of several writes in one commit: collection, record key, record.
pub enum Write<'a> {
    Create(&'a str, &'a str, Value),
    Update(&'a str, &'a str, Value),
    Delete(&'a str, &'a str),
}

impl Write<'_> {
    fn to_json(&self) -> Value {
        let (action, collection, rkey, value) = match self {
            Write::Create(collection, rkey, value) => ("create", collection, rkey, Some(value)),
            Write::Update(collection, rkey, value) => ("update", collection, rkey, Some(value)),
            Write::Delete(collection, rkey) => ("delete", collection, rkey, None),
        };
        let mut write = json!({ "$type": format!("com.atproto.repo.applyWrites#{action}"),
            "collection": collection, "rkey": rkey });
        if let Some(value) = value {
            write["value"] = value.clone();
            write["value"]["$type"] = json!(collection);
        }
        write
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
