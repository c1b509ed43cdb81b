//! A small did:web hold on loopback, with real keys and a real signed repo. It announces itself to signpost, takes
//! writes from its terminal, and shows up.
//!
//!     cargo run --release -- serve --allow-private-hosts       (in one terminal)
//!     cargo run --release --example hold                       (in another)
//!
//! Its repo lives in memory: when the hold ends, the records are gone.

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use fake_network::{AccountOptions, FakeHost, HostOptions, Network, Record, client, now_micros};
use serde_json::json;
use tokio::sync::mpsc;

const CAPTAIN: &str = "io.atcr.hold.captain";

const USAGE: &str = "usage: hold [--signpost http://127.0.0.1:8080] [--port 2583]";

const HELP: &str = r#"Commands:
  put COLLECTION RKEY JSON   write a record:  put io.atcr.hold.crew alice {"role":"admin"}
  delete COLLECTION RKEY     delete it again
  deactivate | activate      take the hold off the network, and bring it back
  list [COLLECTION]          ask signpost who holds records of the collection
  help | quit"#;

struct Arguments {
    signpost: String,
    port: Option<u16>,
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{USAGE}\n\n{HELP}");
        return ExitCode::SUCCESS;
    }
    match hold().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn hold() -> anyhow::Result<()> {
    let Arguments { signpost, port } = arguments()?;
    let network = Network::start().await;
    let host = start_host(&network, port)?;
    let did = host.create_account(AccountOptions::web());
    let captain = json!({ "$type": CAPTAIN, "owner": did, "public": true, "allowAllCrew": true });
    host.put_record(&did, CAPTAIN, "self", captain);
    println!("The hold {did} is up at {}. It has written one record, {CAPTAIN}/self.", host.origin());

    announce(&host, &signpost).await?;
    println!("Announced to signpost at {signpost}. See the hold there:\n");
    println!("  curl '{}'\n", list_url(&signpost, CAPTAIN));
    println!("{HELP}\n");

    let mut lines = terminal();
    while let Some(line) = lines.recv().await {
        match line.trim() {
            "" => {}
            "quit" | "exit" => return Ok(()),
            command => {
                let answer = run(command, &host, &did, &signpost).await;
                println!("{}", answer.unwrap_or_else(|why| format!("{why:#}")));
            }
        }
    }
    println!("The terminal is closed; the hold goes on serving until it is stopped.");
    std::future::pending().await
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut found = Arguments { signpost: "http://127.0.0.1:8080".to_owned(), port: None };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let value = given.next();
        match (flag.as_str(), value) {
            ("--signpost", Some(url)) => found.signpost = url.trim_end_matches('/').to_owned(),
            ("--port", Some(port)) => found.port = Some(port.parse().context("--port takes a number up to 65535")?),
            _ => bail!(USAGE),
        }
    }
    Ok(found)
}

/// The hold's host, on port 2583 or, if nobody asked for a port and that one is taken, on any.
///
/// Its events are numbered by the time of the start, so that a later run goes on where this one ends.
fn start_host(network: &Network, port: Option<u16>) -> anyhow::Result<FakeHost> {
    let options = |port| HostOptions { port, first_seq: now_micros() as i64, ..HostOptions::default() };
    match port {
        Some(port) => network.add_host_with(options(port)).with_context(|| format!("port {port} cannot be used")),
        None => Ok(network.add_host_with(options(2583)).or_else(|_| network.add_host_with(options(0)))?),
    }
}

/// Sends requestCrawl until signpost takes it; fails only if signpost says that the request is wrong.
async fn announce(host: &FakeHost, signpost: &str) -> anyhow::Result<()> {
    let mut said = String::new();
    loop {
        let trouble = match host.request_crawl(signpost).await {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) if answer.status == 400 => {
                let why = message(&answer);
                bail!("signpost refuses {}: {why} (was it started with --allow-private-hosts?)", host.name())
            }
            Ok(answer) => format!("signpost at {signpost} answers {}", answer.status),
            Err(error) => format!("signpost at {signpost} is not reachable ({error})"),
        };
        if trouble != said {
            eprintln!("{trouble}; trying again every 3 s");
            said = trouble;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// Does what a line of the terminal says, and gives the answer to print.
async fn run(line: &str, host: &FakeHost, did: &str, signpost: &str) -> anyhow::Result<String> {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    Ok(match words[..] {
        ["put", collection, rkey, json] => {
            let record = Record::parse(json).map_err(|why| anyhow::anyhow!("not a record: {why}"))?;
            let cid = host.put_record(did, collection, rkey, record);
            format!("wrote at://{did}/{collection}/{rkey} as {cid}")
        }
        ["delete", collection, rkey] => match host.record_cid(did, collection, rkey) {
            None => format!("there is no {collection}/{rkey}"),
            Some(_) => {
                host.delete_record(did, collection, rkey);
                format!("deleted at://{did}/{collection}/{rkey}")
            }
        },
        ["deactivate"] => {
            host.deactivate(did);
            "deactivated: signpost stops listing the hold".to_owned()
        }
        ["activate"] => {
            host.activate(did);
            "active again".to_owned()
        }
        ["list"] => list(signpost, CAPTAIN, did).await?,
        ["list", collection] => list(signpost, collection, did).await?,
        _ => HELP.to_owned(),
    })
}

async fn list(signpost: &str, collection: &str, own: &str) -> anyhow::Result<String> {
    let answer = client::get(&list_url(signpost, collection)).await.context("signpost is not reachable")?;
    if answer.status != 200 {
        bail!("signpost answers {}: {}", answer.status, message(&answer));
    }
    let body = answer.json();
    let dids = body["repos"].as_array().into_iter().flatten().filter_map(|repo| repo["did"].as_str());
    let lines: Vec<String> =
        dids.map(|did| if did == own { format!("{did} (this hold)") } else { did.to_owned() }).collect();
    Ok(if lines.is_empty() { format!("nobody holds {collection}") } else { lines.join("\n") })
}

fn list_url(signpost: &str, collection: &str) -> String {
    format!("{signpost}/xrpc/com.atproto.sync.listReposByCollection?collection={collection}")
}

fn message(answer: &client::Answer) -> String {
    answer.json()["message"].as_str().unwrap_or("no reason given").to_owned()
}

/// The lines of the terminal, from a thread of their own; the channel closes at the end of input, and holds one line.
fn terminal() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
