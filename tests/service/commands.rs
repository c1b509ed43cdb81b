//! The commands that need no database: `config`, `request-crawl`, `completions` and `man`, as the shell runs them.

use fake_network::Network;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::CAPTAIN;
use crate::await_condition::await_condition;
use crate::process::{Process, output, signpost};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_announced_to_every_relay_and_each_answer_is_told() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_accounts(1).remove(0);
    drop(host.put_record(&did, CAPTAIN, "self", json!({})));
    let relay = Process::start(&network);
    let url = format!("http://{}", relay.address());

    let told = output(signpost().args(["request-crawl", host.name(), "--relay", &url]));
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    relay.await_truth(&network).await;

    // Port 1 is nobody's; the other relay is asked all the same.
    let told = output(signpost().args(["request-crawl", host.name(), "--json", "--relay", "http://127.0.0.1:1", &url]));
    assert_eq!(told.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&said[0]["accepted"], &said[1]["accepted"]), (&json!(false), &json!(true)), "{said}");
    let why = said[0]["error"].as_str().unwrap();
    assert!(why.starts_with("no connection") && !why.contains("broke") && !why.contains("os error"), "{said}");
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert_eq!(stderr, format!("signpost: 1 of 2 relays did not accept {}\n", host.name()));

    let refused = output(signpost().args(["request-crawl", "not a host", "--relay", &url]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stdout).unwrap().contains("InvalidRequest"));
    assert_eq!(output(signpost().args(["request-crawl", host.name()])).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn config_shows_what_serve_would_use_or_fails_as_it_would() {
    let shown = output(signpost().args(["config", "--http-addr", ":9000"]).env("CRAWL_INTERVAL", "1h"));
    assert!(shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    let line = |flag: &str| {
        let line = text.lines().find(|line| line.starts_with(flag)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("--http-addr"), ["--http-addr", ":9000", "flag"]);
    assert_eq!(line("--crawl-interval"), ["--crawl-interval", "1h", "CRAWL_INTERVAL"]);
    assert_eq!(line("--log-format"), ["--log-format", "text", "default"]);
    let refused = output(signpost().args(["config", "--http-addr", "nowhere"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().starts_with("signpost: --http-addr: \"nowhere\" "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_and_the_manual_get_what_they_want() {
    for shell in ["bash", "zsh", "fish"] {
        let printed = output(signpost().args(["completions", shell]));
        assert!(printed.status.success() && String::from_utf8(printed.stdout).unwrap().contains("request-crawl"));
    }
    let directory = TempDir::new().unwrap();
    assert!(output(signpost().arg("man").arg(directory.path())).status.success());
    let page = std::fs::read_to_string(directory.path().join("signpost-request-crawl.1")).unwrap();
    assert!(page.contains("SYNOPSIS") && page.contains("relay"), "{page}");
    let refused = output(signpost().args(["man", "/nowhere/at/all"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().starts_with("signpost: cannot write to /nowhere/at/all: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_in_words_and_in_json_how_it_is() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_accounts(1).remove(0);
    drop(host.put_record(&did, CAPTAIN, "self", json!({})));
    let mut running = Process::start(&network);
    running.request_crawl(&host).await;
    running.await_truth(&network).await;
    host.wait_for_subscribers(1).await;
    let address = running.internal_url().trim_start_matches("http://").to_owned();
    let ask = |more: &[&str]| output(signpost().args(["status", "--internal-addr", &address]).args(more));
    let text = await_condition("all is well", async || {
        let text = String::from_utf8(ask(&[]).stdout).unwrap();
        if text.starts_with("All is well: 1 host is followed, nothing waits.\n") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(text.contains("records   1 in 1 collections"), "{text}");
    let json: Value = serde_json::from_slice(&ask(&["--json"]).stdout).unwrap();
    assert_eq!((&json["health"]["level"], &json["hosts"]["followed"]), (&json!("good"), &json!(1)));
    running.kill();
    let refused = ask(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("is signpost running"));
}
