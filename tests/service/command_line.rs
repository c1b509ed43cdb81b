//! The binary as an operator meets it: how it starts, how it refuses to, how it ends.

use std::process::Command;
use std::time::Instant;

use fake_network::{AccountOptions, Network};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::CAPTAIN;
use crate::await_condition::await_condition;
use crate::process::{Process, output, serve, signpost};

/// Runs a command that must fail with exactly one line on stderr and nothing on stdout, and gives the line.
fn refusal(command: &mut Command) -> String {
    let output = output(command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{command:?} succeeded");
    assert_eq!(stderr.lines().count(), 1, "{command:?} said: {stderr}");
    assert!(output.stdout.is_empty(), "{command:?} printed {:?}", String::from_utf8_lossy(&output.stdout));
    stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_stops_the_start_with_one_line_that_names_it() {
    let directory = TempDir::new().unwrap();
    let settings = [
        ("--http-addr", "SIGNPOST_HTTP_ADDR", "nowhere"),
        ("--internal-addr", "SIGNPOST_INTERNAL_ADDR", "127.0.0.1"),
        ("--collections", "SIGNPOST_COLLECTIONS", "io.*.atcr"),
        ("--crawl-interval", "SIGNPOST_CRAWL_INTERVAL", "soon"),
        ("--plc-url", "SIGNPOST_PLC_URL", "ftp://plc.directory"),
        ("--public-hostname", "SIGNPOST_PUBLIC_HOSTNAME", "localhost"),
        ("--allow-private-hosts", "SIGNPOST_ALLOW_PRIVATE_HOSTS", "perhaps"),
        ("--max-connections", "SIGNPOST_MAX_CONNECTIONS", "none"),
        ("--max-connections-per-client", "SIGNPOST_MAX_CONNECTIONS_PER_CLIENT", "0"),
        ("--min-free-space", "SIGNPOST_MIN_FREE_SPACE", "64MB"),
        ("--log-format", "SIGNPOST_LOG_FORMAT", "xml"),
        ("--public-request-crawl", "SIGNPOST_PUBLIC_REQUEST_CRAWL", "perhaps"),
        ("--request-crawl-per-minute", "SIGNPOST_REQUEST_CRAWL_PER_MINUTE", "0"),
        ("--new-hosts-per-day", "SIGNPOST_NEW_HOSTS_PER_DAY", "many"),
        ("--new-hosts-per-domain-per-day", "SIGNPOST_NEW_HOSTS_PER_DOMAIN_PER_DAY", "1.5"),
        ("--trusted-domains", "SIGNPOST_TRUSTED_DOMAINS", "https://example.com"),
        ("--trusted-proxies", "SIGNPOST_TRUSTED_PROXIES", "proxy.example.com"),
    ];
    for (flag, variable, value) in settings {
        let line = refusal(signpost().current_dir(&directory).args(["serve", flag, value]));
        assert!(line.contains(flag) && line.contains(value), "{line}");
        let line = refusal(signpost().current_dir(&directory).arg("serve").env(variable, value));
        assert!(line.contains(variable) && line.contains(value), "{line}");
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing was made on the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_that_is_too_short_stops_the_start_and_is_not_shown() {
    let directory = TempDir::new().unwrap();
    let secret = "hunter2-hunter2-hunter2-hunter2";
    let by_flag = refusal(signpost().current_dir(&directory).args(["serve", "--admin-token", secret]));
    let by_variable = refusal(signpost().current_dir(&directory).arg("serve").env("SIGNPOST_ADMIN_TOKEN", secret));
    for (line, named) in [(by_flag, "--admin-token"), (by_variable, "SIGNPOST_ADMIN_TOKEN")] {
        assert!(line.contains(named) && line.contains("32") && !line.contains("hunter2"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_and_a_directory_that_is_missing_are_one_line() {
    let network = Network::start().await;
    let directory = TempDir::new().unwrap();
    let taken = network.plc_url().trim_start_matches("http://").to_owned();
    let mut command = signpost();
    command.current_dir(&directory).args(["serve", "--internal-addr", "off", "--http-addr", &taken]);
    let line = refusal(&mut command);
    assert!(line.contains(&taken), "{line}");
    let line = refusal(&mut serve(&directory.path().join("missing/signpost.db"), network.plc_url()));
    assert!(line.contains("missing/signpost.db"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_serve_on_the_same_file_is_refused_while_the_file_stays_readable() {
    let network = Network::start().await;
    let first = Process::start(&network);
    let line = refusal(&mut serve(&first.database_path(), network.plc_url()));
    assert!(line.contains("in use"), "{line}");
    assert_eq!(first.index().number("SELECT count(*) FROM records", []), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_newer_version_or_of_another_program_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let network = Network::start().await;
    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
    let line = refusal(&mut serve(&foreign, network.plc_url()));
    assert!(line.contains("not a signpost database"), "{line}");

    let mut signpost = Process::start(&network);
    assert!(signpost.terminate().await.success());
    let newer = Connection::open(signpost.database_path()).unwrap();
    newer.pragma_update(None, "user_version", 9).unwrap();
    let line = refusal(&mut serve(&signpost.database_path(), network.plc_url()));
    assert!(line.contains('9') && line.contains("newer"), "{line}");
    let version: i64 = newer.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_hosts_are_allowed_with_a_warning_at_the_start() {
    let signpost = Process::start(&Network::start().await);
    await_condition("it warns", async || {
        let log = signpost.log();
        let warned = log.lines().any(|line| line.contains("WARN") && line.contains("--allow-private-hosts is on"));
        if warned { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_order_with_exit_code_0() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    host.wait_for_subscribers(1).await;
    let started = Instant::now();
    let status = signpost.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(started.elapsed().as_secs() < 10);
    host.wait_for_subscribers(0).await;
    let log = signpost.database_path().with_extension("db-wal").metadata();
    assert!(log.is_ok_and(|log| log.len() == 0), "the write-ahead log is written back");
    signpost.start_again();
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_does_not_wait_for_hosts_that_do_not_answer() {
    let network = Network::start().await;
    let host = network.add_host();
    host.create_accounts(4);
    let silent = fake_network::Fault::Hang { method: crate::GET_RECORD };
    host.fault(silent.clone(), fake_network::FaultScope::Always);
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    host.wait_fired(&silent, 4).await;
    let started = Instant::now();
    assert_eq!(signpost.terminate().await.code(), Some(0));
    assert!(started.elapsed().as_secs() < 10);
}
