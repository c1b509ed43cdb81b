//! What stands in the log: a quiet day is a few lines, and what a line is about stands in fields of its own.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_network::{Damage, FakeHost, Fault, FaultScope, Network};
use serde_json::{Value, json};
use signpost::cli::logging;
use tempfile::TempDir;
use tracing_subscriber::util::SubscriberInitExt;

use crate::await_condition::await_condition;
use crate::process::{Options, Process, output, signpost};
use crate::signpost::{Signpost, comparing, impatient};
use crate::{CAPTAIN, LIST_REPOS, POST};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What is logged on this thread, where a service in this process runs with all its tasks, as `--log-format json` writes it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Log, impl Drop) {
        let log = Log::default();
        let writer = log.clone();
        (log, logging::json(logging::default_levels(), move || writer.clone()).set_default())
    }

    fn lines(&self) -> Vec<Value> {
        lines(&String::from_utf8(self.0.lock().unwrap().clone()).unwrap())
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn of<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

fn put(host: &FakeHost, did: &str, collection: &str, number: usize) {
    drop(host.put_record(did, collection, "self", json!({ "number": number })));
}

#[tokio::test]
async fn a_day_in_small_is_a_few_lines_however_often_a_host_blinks() {
    let (log, _ends) = Log::start();
    let network = Network::start().await;
    let signpost = Signpost::start_with(&network, comparing()).await;
    let hosts: Vec<(FakeHost, Vec<String>)> = (0..4)
        .map(|_| {
            let host = network.add_host();
            let dids = host.create_accounts(2);
            put(&host, &dids[0], CAPTAIN, 0);
            (host, dids)
        })
        .collect();
    for (host, _) in &hosts {
        signpost.request_crawl(host).await;
    }
    signpost.await_truth(&network).await;

    let damages =
        [Fault::Event(Damage::FlippedBit), Fault::Event(Damage::MissingNode), Fault::GarbageFrame, Fault::Info];
    for round in 0..50 {
        let (host, dids) = &hosts[round % hosts.len()];
        host.fault(damages[round % damages.len()].clone(), FaultScope::Next(1));
        put(host, &dids[0], CAPTAIN, round);
        put(host, &dids[1], POST, round);
        host.restart().await;
        signpost.request_crawl(host).await;
        host.wait_for_subscribers(1).await;
    }
    let listed: Vec<usize> = hosts.iter().map(|(host, _)| host.requests(LIST_REPOS)).collect();
    await_condition("all hosts are compared again", async || {
        let is_compared = hosts.iter().zip(&listed).all(|((host, _), before)| host.requests(LIST_REPOS) >= before + 3);
        if is_compared { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    signpost.await_truth(&network).await;
    assert!(signpost.firehose_connects("connected").await >= 50.0);
    signpost.end().await;

    let lines = log.lines();
    let names: Vec<&str> = hosts.iter().map(|(host, _)| host.name()).collect();
    for message in ["new host", "the host is followed from now on"] {
        let mut told: Vec<&str> = of(&lines, message).iter().map(|line| line["host"].as_str().unwrap()).collect();
        let mut expected = names.clone();
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected, "{message}");
    }
    // And one for the #info of each host.
    let others: Vec<&Value> = lines.iter().filter(|line| line["host"].is_null()).collect();
    assert!(lines.len() <= 3 * hosts.len() + 3 && others.len() <= 3, "{} lines: {lines:#?}", lines.len());
    assert!(lines.iter().all(|line| line["level"] != "ERROR"), "{lines:#?}");
}

#[tokio::test]
async fn a_repo_that_takes_long_has_a_line_with_its_reason() {
    let (log, _ends) = Log::start();
    let network = Network::start().await;
    let mut timing = impatient();
    timing.crawl.slow_after = Duration::ZERO;
    let signpost = Signpost::start_with(&network, timing).await;
    let host = network.add_host();
    let did = host.create_accounts(1).remove(0);
    put(&host, &did, CAPTAIN, 0);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    signpost.end().await;

    let lines = log.lines();
    let [line] = of(&lines, "a repo took long")[..] else { panic!("{lines:#?}") };
    assert_eq!((&line["host"], &line["did"]), (&json!(host.name()), &json!(did)), "{line}");
    assert_eq!(
        (&line["outcome"], &line["records"], &line["left_out"]),
        (&json!("done"), &json!(1), &json!(0)),
        "{line}"
    );
    assert!(line["reason"].is_string() && line["bytes"].as_u64() > Some(0), "{line}");
    let steps = ["asking", "identity", "waiting", "downloading", "memory", "verifying", "writing"];
    let sum: u64 = steps.iter().map(|step| line[format!("{step}_ms")].as_u64().unwrap()).sum();
    assert!(line["took_ms"].as_u64() >= Some(sum), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_and_how_the_process_ends_stands_in_the_log() {
    let network = Network::start().await;
    let flags: &[&str] = &["--log-format", "json", "--admin-token", TOKEN];
    let mut relay = Process::start_in(TempDir::new().unwrap(), &network, Options { under: &[], flags });
    let host = network.add_host();
    let did = host.create_accounts(1).remove(0);
    put(&host, &did, CAPTAIN, 0);
    relay.request_crawl(&host).await;
    relay.await_truth(&network).await;
    for call in [["takedown", did.as_str()], ["block", host.name()]] {
        let internal = relay.internal_url().trim_start_matches("http://").to_owned();
        let mut command = signpost();
        command.args(["admin", call[0], call[1], "--internal-addr", &internal]).env("SIGNPOST_ADMIN_TOKEN", TOKEN);
        let done = output(&mut command);
        assert!(done.status.success(), "{call:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(relay.terminate().await.success());

    let lines = lines(&relay.log());
    assert_eq!(
        (&lines[0]["message"], &lines[0]["public"]),
        (&json!("listening"), &json!(relay.address())),
        "{lines:#?}"
    );
    let [account] = of(&lines, "the operator changed an account")[..] else { panic!("{lines:#?}") };
    assert_eq!((&account["did"], &account["action"]), (&json!(did), &json!("takedown")));
    let [blocked] = of(&lines, "the operator changed a host")[..] else { panic!("{lines:#?}") };
    assert_eq!((&blocked["host"], &blocked["action"]), (&json!(host.name()), &json!("block_host")));
    let last: Vec<&Value> = lines.iter().rev().take(2).map(|line| &line["message"]).collect();
    assert_eq!(last, ["stopped", "SIGTERM: stopping"]);
}
