//! The documents: their links lead somewhere, their commands are commands, and the examples of the API are answered.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use fake_network::Network;
use serde_json::json;
use tempfile::TempDir;

use crate::process::{Options, Process, output};
use crate::{CAPTAIN, CREW};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("CHANGELOG.md"), root.join("fuzz/README.md")];
    paths.extend(root.join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path()));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_link_within_the_project_leads_to_a_file() {
    let mut links = 0;
    for (path, text) in documents() {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            assert!(path.parent().unwrap().join(file).exists(), "{}: {target}", path.display());
            links += 1;
        }
        // A file that is named in passing.
        for name in text.split('`').filter(|name| {
            ["deploy/", "docs/", "src/", "tests/", "benches/"].iter().any(|folder| name.starts_with(folder))
                && !name.contains(['*', ' ', '{'])
        }) {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(name).exists(), "{}: {name}", path.display());
        }
    }
    assert!(links > 1);
}

/// What stands for something of the reader's own.
fn filled_in(word: &str) -> &str {
    match word {
        "HOST" => "hold01.example.com",
        "DID" => "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "DIRECTORY" | "FILE" => "file",
        "SHELL" => "bash",
        "NUMBER" => "7",
        word => word,
    }
}

#[test]
fn every_command_in_the_documents_is_one() {
    let mut commands = 0;
    for (path, text) in documents() {
        let blocks = text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned);
        let spans = text.split('`').skip(1).step_by(2).map(str::to_owned);
        for line in blocks.chain(spans).filter(|line| line.starts_with("signpost ")) {
            let line = line.split(" # ").next().unwrap().trim();
            if line.ends_with('\\') || line.contains("...") {
                continue;
            }
            let words = line.split_whitespace().map(|word| OsString::from(filled_in(word)));
            match signpost::cli::parse(words) {
                Ok(_) => commands += 1,
                // Help was asked for, or the name of a group of commands stands alone.
                Err(signpost::cli::Failure::Shown) => commands += 1,
                Err(signpost::cli::Failure::Usage(said))
                    if said.starts_with("no command: ") || said.contains("required arguments") => {}
                Err(error) => panic!("{}: {line}: {error}", path.display()),
            }
        }
    }
    assert!(commands > 20, "only {commands} were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_api_is_answered() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_accounts(1).remove(0);
    drop(host.put_record(&did, CAPTAIN, "self", json!({})));
    drop(host.put_record(&did, CREW, "one", json!({})));
    let options = Options { under: &[], flags: &["--admin-token", TOKEN] };
    let signpost = Process::start_in(TempDir::new().unwrap(), &network, options);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    let mut answered = 0;
    for line in include_str!("../../docs/api.md").lines().filter_map(|line| line.strip_prefix("    curl ")) {
        let line = line
            .replace("http://127.0.0.1:8080", &format!("http://{}", signpost.address()))
            .replace("http://127.0.0.1:8081", signpost.internal_url())
            .replace("hold01.example.com", host.name())
            .replace("q=hold01", "q=localhost")
            .replace("did:plc:ewvi7nxzyoun6zhxrhs64oiz", &did);
        let command = format!("curl -sS --fail-with-body {line}");
        let answer = output(Command::new("bash").args(["-c", &command]).env("SIGNPOST_ADMIN_TOKEN", TOKEN));
        let body = String::from_utf8(answer.stdout).unwrap();
        assert!(answer.status.success(), "{command}: {body}{}", String::from_utf8_lossy(&answer.stderr));
        if line.contains("listReposByCollection") {
            assert_eq!(body, format!("{{\"repos\":[{{\"did\":\"{did}\"}}]}}"), "{command}");
        }
        answered += 1;
    }
    assert!(answered > 15, "{answered}");
}
