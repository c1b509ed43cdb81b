//! `signpost admin`: the admin calls of the running signpost on this machine, as commands.
//!
//! Owns the commands, their answers as tables, and what to do next when one is refused. What they do is in `api::admin`.

mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Failure;
use super::internal_call::{Call, reachable};
use crate::config::{self, AdminTokenFlag, InternalAddrFlag};

/// A host with 100,000 accounts is marked for a resync in some seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A list of a hundred thousand hosts.
const LARGEST_ANSWER_BYTES: u64 = 64 << 20;

/// The flags of `signpost admin`, and what is to be done.
#[derive(Debug, Args)]
pub struct AdminFlags {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub internal_addr: InternalAddrFlag,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub admin_token: AdminTokenFlag,

    /// A file that holds the admin token and nothing else
    #[arg(long, value_name = "PATH", global = true)]
    pub admin_token_file: Option<PathBuf>,

    /// Print what the service answers, as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// What is to be done.
    #[command(subcommand)]
    pub action: Action,
}

/// What an operator can do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List every host: its state, accounts, limit and last error
    Hosts,
    /// Have a host crawled, whatever the budgets of new hosts say
    Add(HostArgument),
    /// Keep a host out: its firehose closes now, and what is indexed of it stays listed
    Block(HostArgument),
    /// Let a blocked host in again
    Unblock(HostArgument),
    /// Keep out every host of a domain, known or not
    Ban(DomainArgument),
    /// Let the hosts of a banned domain in again
    Unban(DomainArgument),
    /// List the banned domains
    Bans,
    /// Hide an account from every list, known here or not
    Takedown(DidArgument),
    /// Show an account that was taken down again
    Restore(DidArgument),
    /// List the accounts that are taken down
    Takedowns,
    /// Fetch an account, or every account of a host, once more
    Resync {
        /// A DID or a host
        #[arg(value_name = "DID|HOST")]
        subject: String,
    },
    /// Delete a host with all that is indexed of its accounts
    ///
    /// It may announce itself again after that. To keep it out, block it first, or ban its domain.
    Forget(HostArgument),
    /// Show or set what a host may have and send
    Limits(Limits),
    /// List what operators did, the newest first
    Log {
        /// How many entries, up to 1000
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: u16,
    },
}

/// A host.
#[derive(Debug, Args)]
pub struct HostArgument {
    /// Its name
    host: String,
}

/// A domain.
#[derive(Debug, Args)]
pub struct DomainArgument {
    /// Its name: it covers itself and all names below it
    domain: String,
}

/// An account.
#[derive(Debug, Args)]
pub struct DidArgument {
    /// Its DID
    did: String,
}

/// A host, and the limits to be set.
#[derive(Debug, Args)]
pub struct Limits {
    /// Its name
    host: String,
    /// Accounts, or "default"
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    accounts: Option<Limit>,
    /// Firehose events in a second, or "default"
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    events_per_second: Option<Limit>,
    /// Firehose events in an hour, or "default"
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    events_per_hour: Option<Limit>,
    /// Firehose events in a day, or "default"
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    events_per_day: Option<Limit>,
}

/// A number, or none: the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "default" => Ok(Limit(None)),
        text => text.parse().map(|number| Limit(Some(number))).map_err(|_| "give a number or default".to_owned()),
    }
}

/// Does it, and prints the outcome.
pub fn run(flags: AdminFlags) -> Result<(), Failure> {
    let AdminFlags { internal_addr, admin_token, admin_token_file, json, action } = flags;
    let address = config::internal_addr(internal_addr, |name| std::env::var_os(name))?
        .ok_or_else(|| anyhow!("the internal listener is off, so there is nobody to ask: set --internal-addr"))?;
    let token = token(admin_token, admin_token_file)?;
    let service = Service { address: reachable(address), token };
    let outcome = action.perform(&service)?;
    print!("{}", if json { format!("{}\n", outcome.json) } else { outcome.text });
    Ok(())
}

/// The flag, else the file, else the variable.
fn token(flag: AdminTokenFlag, file: Option<PathBuf>) -> Result<String, Failure> {
    let found = match file.filter(|_| flag.admin_token.is_none()) {
        Some(file) => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read --admin-token-file {}", file.display()))?;
            let token = config::read_admin_token(text.trim()).map_err(|problem| {
                Failure::Usage(format!("--admin-token-file: what is in {} {problem}", file.display()))
            })?;
            Some(token.to_owned())
        }
        None => config::admin_token(flag, |name| std::env::var_os(name))?,
    };
    found.ok_or_else(|| {
        Failure::Usage(
            "no admin token: set SIGNPOST_ADMIN_TOKEN or --admin-token-file to the one of the service".into(),
        )
    })
}

/// A running signpost.
struct Service {
    address: SocketAddr,
    token: String,
}

/// What came of it, in both forms.
struct Outcome {
    json: Value,
    text: String,
}

impl Service {
    fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, None)
    }

    fn post(&self, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        self.call("POST", path, body)
    }

    fn call(&self, method: &'static str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let call = Call {
            method,
            path,
            token: Some(&self.token),
            body: body.map(|body| body.to_string()),
            timeout: TIMEOUT,
            largest_answer_bytes: LARGEST_ANSWER_BYTES,
        };
        let address = self.address;
        let reply = call.send(address).with_context(|| {
            format!("no answer from http://{address}: is signpost running, and its internal listener there (--internal-addr)?")
        })?;
        let json: Option<Value> = serde_json::from_str(&reply.body).ok();
        let message = || {
            let message = json.as_ref().and_then(|json| json["message"].as_str());
            message.map_or_else(|| "no reason was given".to_owned(), |message| table::cell(message, 300))
        };
        match (reply.status, json.as_ref()) {
            (Some(200), Some(json)) => Ok(json.clone()),
            (Some(401), _) => Err(anyhow!(
                "the service has another admin token: give the one that it was started with (SIGNPOST_ADMIN_TOKEN, --admin-token-file)"
            )),
            (Some(status), _) => Err(anyhow!("{} ({status})", message())),
            (None, _) => Err(anyhow!("http://{address} did not answer in HTTP: is it signpost's internal listener?")),
        }
    }
}

impl Action {
    fn perform(self, service: &Service) -> anyhow::Result<Outcome> {
        let done = |json: Value, text: String| Ok(Outcome { json, text: format!("{text}\n") });
        match self {
            Action::Hosts => {
                let json = service.get("/admin/pds/list")?;
                Ok(Outcome { text: table::hosts(&json), json })
            }
            Action::Add(HostArgument { host }) => {
                let json = service.post("/admin/pds/requestCrawl", Some(json!({ "hostname": host })))?;
                done(json, format!("{host} is crawled"))
            }
            Action::Block(HostArgument { host }) => {
                let json = service.post(&with_host("/admin/pds/block", &host), None)?;
                done(
                    json,
                    format!("{host} is blocked; what is indexed of it stays listed (signpost admin forget deletes it)"),
                )
            }
            Action::Unblock(HostArgument { host }) => {
                let json = service.post(&with_host("/admin/pds/unblock", &host), None)?;
                done(json, format!("{host} is not blocked any more"))
            }
            Action::Ban(DomainArgument { domain }) => {
                let json = service.post("/admin/subs/banDomain", Some(json!({ "domain": domain })))?;
                done(json, format!("{domain} is banned, with all names below it"))
            }
            Action::Unban(DomainArgument { domain }) => {
                let json = service.post("/admin/subs/unbanDomain", Some(json!({ "domain": domain })))?;
                done(json, format!("{domain} is not banned any more"))
            }
            Action::Bans => {
                let json = service.get("/admin/subs/listDomainBans")?;
                Ok(Outcome { text: table::lines(&json["banned_domains"]), json })
            }
            Action::Takedown(DidArgument { did }) => {
                let json = service.post("/admin/repo/takeDown", Some(json!({ "did": did })))?;
                done(json, format!("{did} is taken down"))
            }
            Action::Restore(DidArgument { did }) => {
                let json = service.post("/admin/repo/reverseTakedown", Some(json!({ "did": did })))?;
                done(json, format!("{did} is restored"))
            }
            Action::Takedowns => {
                let json = takedowns(service)?;
                Ok(Outcome { text: table::lines(&json["dids"]), json })
            }
            Action::Resync { subject } if subject.starts_with("did:") => {
                let json = service.post("/admin/repo/resync", Some(json!({ "did": subject })))?;
                done(json, format!("{subject} is fetched again"))
            }
            Action::Resync { subject } => {
                let json = service.post(&with_host("/admin/pds/resync", &subject), None)?;
                done(json, format!("every account of {subject} is fetched again"))
            }
            Action::Forget(HostArgument { host }) => {
                let json = service.post(&with_host("/admin/pds/forget", &host), None)?;
                let accounts = json["accounts"].as_i64().unwrap_or(0);
                done(
                    json,
                    format!(
                        "{host} is being forgotten, with {accounts} accounts (signpost admin hosts shows it until then)"
                    ),
                )
            }
            Action::Limits(limits) => limits.perform(service),
            Action::Log { limit } => {
                let json = service.get(&format!("/admin/log?limit={limit}"))?;
                Ok(Outcome { text: table::log(&json["entries"]), json })
            }
        }
    }
}

impl Limits {
    fn perform(self, service: &Service) -> anyhow::Result<Outcome> {
        let Limits { host, accounts, events_per_second, events_per_hour, events_per_day } = self;
        let mut body = Map::new();
        for (name, limit) in [
            ("repo_limit", accounts),
            ("per_second", events_per_second),
            ("per_hour", events_per_hour),
            ("per_day", events_per_day),
        ] {
            if let Some(Limit(number)) = limit {
                body.insert(name.to_owned(), json!(number));
            }
        }
        if !body.is_empty() {
            body.insert("host".to_owned(), json!(host));
            service.post("/admin/pds/changeLimits", Some(Value::Object(body)))?;
        }
        let hosts = service.get("/admin/pds/list")?;
        let found = hosts
            .as_array()
            .into_iter()
            .flatten()
            .find(|listed| listed["Host"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&host)));
        let found =
            found.ok_or_else(|| anyhow!("{host} is not known here: signpost admin hosts lists all that are"))?;
        Ok(Outcome { text: table::limits(found), json: found.clone() })
    }
}

/// All pages as one.
fn takedowns(service: &Service) -> anyhow::Result<Value> {
    let mut dids = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = service.get(&format!("/admin/repo/takedowns?size=1000&cursor={}", encoded(&cursor)))?;
        if let Value::Array(page) = page["dids"].take() {
            dids.extend(page);
        }
        match page["cursor"].as_str() {
            Some(next) if !next.is_empty() => cursor = next.to_owned(),
            _ => return Ok(json!({ "dids": dids })),
        }
    }
}

fn with_host(path: &str, host: &str) -> String {
    format!("{path}?host={}", encoded(host))
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
