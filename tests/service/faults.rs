//! The disk and the process under faults: a disk that is full, a file that is damaged, no file descriptor left.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use fake_network::{AccountOptions, FakeHost, Network};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::await_condition::await_condition;
use crate::process::{Options, Process};
use crate::{CAPTAIN, CREW};

const BY_COLLECTION: &str = "/xrpc/com.atproto.sync.listReposByCollection?collection=io.atcr.*";

/// A file system of its own, as small as a test likes; gone with the value.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where that is not allowed: then only the store's own tests show what a full disk does.
    fn mount(size: &str) -> Option<SmallDisk> {
        let directory = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(directory.path());
        if !mount.output().is_ok_and(|output| output.status.success()) {
            eprintln!("not tested: a file system cannot be mounted here");
            return None;
        }
        Some(SmallDisk(directory))
    }

    /// Fills it up to the last byte but `left`.
    fn fill(&self, left: usize) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut filler = File::create(&path).unwrap();
        let mut written = 0;
        let end = [65536, 4096, 1].map(|step| {
            let block = vec![0x5A; step];
            loop {
                match filler.write(&block) {
                    Ok(bytes) => written += bytes as u64,
                    Err(error) => break error.raw_os_error(),
                }
            }
        });
        assert_eq!(end, [Some(28); 3], "ENOSPC");
        filler.set_len(written - left as u64).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

async fn ready(signpost: &Process) -> (u16, Value) {
    let answer = signpost.get_internal("/ready").await.unwrap();
    (answer.status, answer.json())
}

fn write_much(host: &FakeHost, dids: &[String], round: usize) {
    let text = "x".repeat(20_000);
    for did in dids {
        (0..20).for_each(|number| {
            let rkey = format!("{round}-{number}");
            drop(host.put_record(did, CREW, &rkey, json!({ "text": text })));
        });
    }
}

async fn a_full_disk_stops_intake_alone(flags: &'static [&'static str], left: usize) {
    let Some(disk) = SmallDisk::mount("32m") else { return };
    let network = Network::start().await;
    let (host, late) = (network.add_host(), network.add_host());
    let dids = host.create_accounts(10);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let late_did = late.create_account(AccountOptions::default());
    late.put_record(&late_did, CAPTAIN, "self", json!({}));
    let directory = TempDir::new_in(disk.0.path()).unwrap();
    let signpost = Process::start_in(directory, &network, Options { flags, ..Options::default() });
    signpost.request_crawl(&host).await;
    signpost.await_truth_of(&network, &[&late_did]).await;
    host.wait_for_subscribers(1).await;

    for round in 0..2 {
        let filler = disk.fill(left);
        write_much(&host, &dids, round);
        await_condition("the full disk is noticed", async || match ready(&signpost).await {
            (503, body) if body["reasons"][0].as_str().is_some_and(|reason| reason.contains("disk is full")) => Ok(()),
            (_, body) => Err(body.to_string()),
        })
        .await;
        // Queries go on; who announces a host is told to come back.
        let answer = signpost.get(BY_COLLECTION).await.unwrap();
        assert_eq!((answer.status, answer.json()["repos"].as_array().unwrap().len()), (200, 10));
        let refused = late.request_crawl(&format!("http://{}", signpost.address())).await.unwrap();
        assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("DiskFull")));
        assert!(signpost.metrics().await.contains("signpost_disk_full 1\n"));
        host.wait_for_subscribers(0).await;

        std::fs::remove_file(filler).unwrap();
        signpost.await_truth_of(&network, &[&late_did]).await;
        await_condition("it is ready again", async || match ready(&signpost).await {
            (200, _) => Ok(()),
            (_, body) => Err(body.to_string()),
        })
        .await;
        host.wait_for_subscribers(1).await;
        assert_eq!(signpost.index().wrong_counts(), 0);
    }
    signpost.request_crawl(&late).await;
    signpost.await_truth(&network).await;
    let log = signpost.log();
    let said = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    if left > 0 {
        assert_eq!((said("is full"), said("has room again")), (2, 2), "{log}");
    }
    assert_eq!(
        signpost.index().number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'", []),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_intake_stops_queries_go_on_and_it_resumes_by_itself() {
    a_full_disk_stops_intake_alone(&["--min-free-space", "4MiB"], 2 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_in_the_middle_of_a_write_loses_nothing() {
    a_full_disk_stops_intake_alone(&["--min-free-space", "0B"], 0).await;
}

/// Overwrites the middle of every page but the first.
fn scribble(path: &Path) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    for page in 1..file.metadata().unwrap().len() / 4096 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xA5; 256]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_ends_the_process_with_one_line() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(300);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let mut signpost = Process::start(&network);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    assert!(signpost.terminate().await.success());
    host.down().await;
    signpost.start_again();
    scribble(&signpost.database_path());
    let before = signpost.log().lines().count();
    // It has no answer, or one that says nothing.
    if let Ok(answer) = signpost.get(BY_COLLECTION).await {
        assert_eq!((answer.status, answer.json()["message"].as_str()), (500, Some("internal error")));
    }
    assert_eq!(signpost.await_end().await.code(), Some(1));
    let log = signpost.log();
    let lines: Vec<&str> = log.lines().skip(before).filter(|line| line.starts_with("signpost: ")).collect();
    assert!(matches!(lines[..], [line] if line.contains("database") && line.contains("malformed")), "{log}");
    // And so does a start, if it meets the damage; a file whose header is gone is no database.
    OpenOptions::new().write(true).open(signpost.database_path()).unwrap().write_all(&[0; 4096]).unwrap();
    let refused = crate::process::output(&mut crate::process::serve(&signpost.database_path(), network.plc_url()));
    assert_eq!((refused.status.code(), refused.stderr.iter().filter(|byte| **byte == b'\n').count()), (Some(1), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_nothing_dies_and_the_database_goes_on() {
    let network = Network::start().await;
    let (host, late) = (network.add_host(), network.add_host());
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    let late_did = late.create_account(AccountOptions::default());
    late.put_record(&late_did, CAPTAIN, "self", json!({}));
    let under: &[&str] = &["prlimit", "--nofile=64:64"];
    let signpost = Process::start_in(TempDir::new().unwrap(), &network, Options { under, ..Options::default() });
    signpost.request_crawl(&host).await;
    signpost.await_truth_of(&network, &[&late_did]).await;
    host.wait_for_subscribers(1).await;

    let mut idle = Vec::new();
    for _ in 0..120 {
        idle.push(TcpStream::connect(signpost.address()).await.unwrap());
    }
    await_condition("no descriptor is left", async || match signpost.log().contains("cannot accept a connection") {
        true => Ok(()),
        false => Err(format!("{} are open", signpost.proc().join("fd").read_dir().unwrap().count())),
    })
    .await;
    // What is connected goes on, what has to be dialled is tried again, and who asks waits for a place at most.
    host.put_record(&did, CREW, "1", json!({}));
    signpost.await_truth_of(&network, &[&late_did]).await;
    assert_eq!(signpost.get(BY_COLLECTION).await.unwrap().status, 200);
    signpost.request_crawl(&late).await;
    drop(idle);
    signpost.await_truth(&network).await;
}
