//! The documents: their links lead somewhere, and their commands are commands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
