//! `signpost dump` and `signpost restore`: the restored instance is the dumped one, and goes on without crawling again.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Output;

use fake_network::Network;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::await_condition::await_condition;
use crate::process::{Options, Process, output, signpost};
use crate::{CAPTAIN, CREW, GET_RECORD, GET_REPO, LIST_REPOS};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const WITH_TOKEN: Options = Options { under: &[], flags: &["--admin-token", TOKEN] };

fn dump(database: &Path, to: &Path) -> Output {
    output(signpost().arg("dump").arg(to).arg("--database-path").arg(database))
}

fn restore(from: &Path, database: &Path) -> Output {
    output(signpost().arg("restore").arg(from).arg("--database-path").arg(database))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn admin(signpost_at: &Process, arguments: &[&str]) {
    let address = signpost_at.internal_url().trim_start_matches("http://");
    let done =
        output(signpost().arg("admin").args(arguments).args(["--internal-addr", address, "--admin-token", TOKEN]));
    assert!(done.status.success(), "{}", stderr(&done));
}

/// All rows that a restored database has to have as they were.
fn rows(database: &Path) -> Vec<String> {
    let db = Connection::open(database).unwrap();
    let mut rows = Vec::new();
    for query in [
        "SELECT hostname, host_cursor, blocked, created_at, account_limit FROM hosts LEFT JOIN subscriptions USING (host_id) ORDER BY 1",
        "SELECT repo_id, did, active, status, taken_down, rev, hex(head), hex(data), record_count, record_bytes, truncated FROM repos ORDER BY 1",
        "SELECT repo_id, signing_key FROM identities ORDER BY 1",
        "SELECT did, collection, rkey, cid, record_data, indexed_at FROM records ORDER BY 1, 2, 3",
        "SELECT did FROM takedowns ORDER BY 1",
        "SELECT action, subject, at FROM admin_log ORDER BY entry_id",
        "SELECT value FROM meta WHERE key = 'instance_id'",
    ] {
        let mut statement = db.prepare(query).unwrap();
        let columns = statement.column_count();
        let found = statement.query_map([], |row| {
            let values =
                (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at).map(|value| format!("{value:?}")));
            Ok(values.collect::<Result<Vec<_>, _>>()?.join(" "))
        });
        rows.extend(found.unwrap().map(Result::unwrap));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_instance_is_the_dumped_one_and_asks_only_for_what_it_missed() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(20);
    for (number, did) in dids.iter().enumerate().filter(|(number, _)| number % 4 > 0) {
        drop(host.put_record(did, CAPTAIN, "self", json!({ "number": number, "text": "é\u{1}\"" })));
    }
    let mut source = Process::start_in(TempDir::new().unwrap(), &network, WITH_TOKEN);
    source.request_crawl(&host).await;
    source.await_truth(&network).await;
    host.wait_for_subscribers(1).await;
    drop(host.put_record(&dids[1], CREW, "one", json!({})));
    source.await_truth(&network).await;
    admin(&source, &["takedown", &dids[2]]);
    admin(&source, &["limits", host.name(), "--accounts", "77"]);
    // A raised limit has it listed once more.
    await_condition("the host was listed and heard to the end", async || {
        let hosts: Value = serde_json::from_slice(&source.get_internal("/hosts").await.unwrap().body).unwrap();
        let report = &hosts["hosts"][0];
        let is_done = report["crawl"] == "subscribed" && report["cursor"] == host.latest_seq();
        if is_done { Ok(()) } else { Err(hosts.to_string()) }
    })
    .await;

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("signpost.dump");
    let dumped = dump(&source.database_path(), &file);
    assert!(dumped.status.success(), "{}", stderr(&dumped));
    assert!(String::from_utf8(dumped.stdout).unwrap().ends_with(": 1 host, 20 accounts, 16 records\n"));
    assert!(stderr(&dump(&source.database_path(), &file)).contains("exists: give another name, or --force"));
    source.terminate().await;
    let before = rows(&source.database_path());

    // What happens while nobody looks.
    drop(host.put_record(&dids[3], CREW, "missed", json!({})));
    let elsewhere = TempDir::new().unwrap();
    let restored = restore(&file, &elsewhere.path().join("signpost.db"));
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert_eq!(rows(&elsewhere.path().join("signpost.db")), before);
    let again = restore(&file, &elsewhere.path().join("signpost.db"));
    assert!(stderr(&again).contains("exists: a dump is restored to a new file"), "{}", stderr(&again));

    let asked = |method| host.requests(method);
    let (fetched, listed) = (asked(GET_REPO) + asked(GET_RECORD), asked(LIST_REPOS));
    let target = Process::start_in(elsewhere, &network, WITH_TOKEN);
    target.await_truth(&network).await;
    assert_eq!((asked(GET_REPO) + asked(GET_RECORD), asked(LIST_REPOS)), (fetched, listed), "nothing is crawled again");
    let sound = output(signpost().arg("check").arg("--database-path").arg(target.database_path()));
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_cut_or_broken_or_of_a_later_format_leaves_nothing() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(3);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    let source = Process::start(&network);
    source.request_crawl(&host).await;
    source.await_truth(&network).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("whole.dump");
    assert!(dump(&source.database_path(), &file).status.success());
    let mut text = String::new();
    MultiGzDecoder::new(std::fs::File::open(&file).unwrap()).read_to_string(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len() - 1;
    let cases = [
        ("without its end", lines[..last].join("\n") + "\n", "the end is missing"),
        ("in the middle of a line", text[..text.len() / 2].to_owned(), "line "),
        (
            "another count",
            text.replace("\"end\":{\"hosts\":1,\"repos\":3", "\"end\":{\"hosts\":1,\"repos\":4"),
            "it should have",
        ),
        ("a record of nobody", [lines[0], lines[last - 1]].join("\n"), "without its repo"),
        ("a CID that is none", text.replacen("bafy", "bafz", 1), "line "),
        ("a later format", text.replacen("\"format\":1", "\"format\":2", 1), "use a newer signpost"),
        ("something else", "{}\n".to_owned(), "line 1"),
    ];
    for (what, text, said) in cases {
        let broken = folder.path().join("broken.dump");
        let mut zipped = GzEncoder::new(std::fs::File::create(&broken).unwrap(), Compression::fast());
        zipped.write_all(text.as_bytes()).unwrap();
        zipped.finish().unwrap();
        let target = TempDir::new().unwrap();
        let refused = restore(&broken, &target.path().join("signpost.db"));
        assert_eq!(refused.status.code(), Some(1), "{what}");
        assert!(stderr(&refused).contains(said), "{what}: {}", stderr(&refused));
        assert_eq!(stderr(&refused).lines().count(), 1, "{what}");
        let left: Vec<_> = target.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["signpost.db.lock"], "{what}");
    }
    let cut = folder.path().join("cut.dump");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
    assert_eq!(restore(&cut, &folder.path().join("cut.db")).status.code(), Some(1));
    assert!(!folder.path().join("cut.db").exists());
}
