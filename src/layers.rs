//! Holds the layers of the crate's documentation: reads every `crate::` path in the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part may use, besides `syntax`.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("syntax", &[]),
    ("repo", &[]),
    ("metrics", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("host", &["repo"]),
    ("identity", &["repo", "host"]),
    ("store", &["repo", "config", "clock"]),
    ("index", &["repo", "host", "store"]),
    ("api", &["repo", "config", "store", "metrics", "clock"]),
    ("crawl", &["repo", "host", "identity", "store", "index", "metrics", "clock"]),
    ("subscribe", &["repo", "host", "store", "index", "metrics", "clock"]),
    (
        "service",
        &["config", "repo", "host", "identity", "store", "index", "api", "crawl", "subscribe", "metrics", "clock"],
    ),
    ("cli", &["config", "host", "service", "store"]),
    ("layers", &[]),
    ("simulation", &["config", "host", "identity", "repo", "store", "index", "crawl", "subscribe", "metrics", "clock"]),
];

#[test]
fn each_part_uses_only_parts_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut offences = BTreeSet::new();
    let mut parts_seen = BTreeSet::new();
    for file in rust_files(&src).filter(|file| !is_test(file)) {
        let relative = file.strip_prefix(&src).expect("below src");
        let part = relative.components().next().expect("a name").as_os_str().to_string_lossy().replace(".rs", "");
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == part) else {
            assert!(matches!(part.as_str(), "lib" | "main"), "{part} has no layer");
            continue;
        };
        parts_seen.insert(part.clone());
        for used in parts_named_in(&fs::read_to_string(&file).expect("readable")) {
            if used != part && used != "syntax" && !allowed.contains(&used.as_str()) {
                offences.insert(format!("{} uses {used}", relative.display()));
            }
        }
    }
    assert_eq!(parts_seen.len(), MAY_USE.len());
    assert_eq!(offences, BTreeSet::new());
}

#[test]
fn only_the_store_speaks_sql() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let speakers: Vec<PathBuf> = rust_files(&src)
        .filter(|file| !file.starts_with(src.join("store")) && !file.ends_with("layers.rs"))
        .filter(|file| fs::read_to_string(file).expect("readable").contains("rusqlite::"))
        .filter(|file| !is_test(file))
        .collect();
    assert_eq!(speakers, Vec::<PathBuf>::new());
}

#[test]
fn only_two_rooms_are_unsafe() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: Vec<PathBuf> = rust_files(&src)
        .filter(|file| !file.ends_with("layers.rs"))
        .filter(|file| fs::read_to_string(file).expect("readable").contains("unsafe"))
        .collect();
    let named = ["host/mapped.rs", "cli/allocator.rs"].map(|room| src.join(room));
    assert_eq!(rooms.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(named));
}

/// Tests may look anywhere.
fn is_test(file: &Path) -> bool {
    file.to_string_lossy().contains("tests")
}

fn rust_files(folder: &Path) -> Box<dyn Iterator<Item = PathBuf>> {
    let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    Box::new(entries.flat_map(|path| -> Box<dyn Iterator<Item = PathBuf>> {
        if path.is_dir() {
            rust_files(&path)
        } else {
            Box::new(Some(path).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")))
        }
    }))
}

/// The parts named in `crate::part` paths, also in `use crate::{a, b::c}`.
fn parts_named_in(source: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split(&['}', ';'][..]).next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String =
                name.trim().chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
            if MAY_USE.iter().any(|(part, _)| *part == name) {
                parts.insert(name);
            }
        }
    }
    parts
}
