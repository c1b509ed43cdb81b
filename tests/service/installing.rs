//! deploy/install into a folder: what it makes, that it may be run again, and what it leaves. And that what a release consists of fits together;
//! tests/machine installs one for real.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::process::output;

const BINARY: &str = env!("CARGO_BIN_EXE_signpost");

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn install(root: &Path, argument: &str) -> Output {
    let script = project().join("deploy/install");
    output(Command::new(script).arg(argument).env("DESTDIR", root))
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in root.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn it_makes_what_it_says_keeps_what_is_set_and_goes_again() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let named = |names: &[&str]| names.iter().map(|name| root.join(name)).collect::<Vec<_>>();
    let all = named(&["etc/signpost/signpost.env", "etc/systemd/system/signpost.service", "usr/local/bin/signpost"]);

    let done = install(root, BINARY);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    all.iter().for_each(|path| assert!(said.contains(path.to_str().unwrap()), "{said}"));
    assert_eq!(files(root), all, "nothing that it does not say");
    assert_eq!(all[0].metadata().unwrap().permissions().mode() & 0o777, 0o600, "it may hold the token");
    assert!(output(Command::new(&all[2]).arg("--version")).status.success());

    std::fs::write(&all[0], "SIGNPOST_HTTP_ADDR=:9000\n").unwrap();
    assert!(install(root, BINARY).status.success());
    assert_eq!(std::fs::read_to_string(&all[0]).unwrap(), "SIGNPOST_HTTP_ADDR=:9000\n");
    assert_eq!(files(root), all);

    let refused = install(root, "/nowhere/signpost");
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("there is no binary at /nowhere/signpost"));

    // In a release's archive the binary lies beside deploy/.
    let archive = TempDir::new().unwrap();
    std::fs::create_dir(archive.path().join("deploy")).unwrap();
    for (from, to) in [
        (BINARY, "signpost"),
        ("deploy/install", "deploy/install"),
        ("deploy/signpost.service", "deploy/signpost.service"),
    ] {
        std::fs::copy(project().join(from), archive.path().join(to)).unwrap();
    }
    assert!(output(Command::new(archive.path().join("deploy/install")).env("DESTDIR", root)).status.success());

    assert!(install(root, "--uninstall").status.success());
    assert_eq!(files(root), all[..1], "settings stay");
    assert!(install(root, "--uninstall").status.success(), "twice is no fault");
}

/// Every word of a text that begins so, up to what cannot be part of a name.
fn words<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.match_indices(start)
        .map(|(at, _)| text[at..].split(|c: char| !(c.is_ascii_alphanumeric() || "_-./".contains(c))).next().unwrap())
        .collect()
}

#[test]
fn the_documents_name_the_files_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let operating = include_str!("../../docs/operating.md");
    for start in ["signpost_", "signpost-"] {
        let named = words(operating, start);
        let named: Vec<&str> =
            named.into_iter().filter(|name| name[start.len()..].starts_with(|c: char| c.is_ascii_digit())).collect();
        assert!(!named.is_empty(), "{start}");
        named.iter().for_each(|name| assert!(name[start.len()..].starts_with(version), "{name} is not of {version}"));
    }
}

#[test]
fn a_release_is_built_with_the_rust_that_is_asked_for_and_by_scripts_that_exist() {
    let workflow = include_str!("../../.github/workflows/release.yml");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(workflow.contains(&format!("rustup toolchain install {rust}.")), "not {rust}");
    assert!(include_str!("../../Dockerfile").contains(&format!("FROM rust:{rust}.")), "not {rust}");
    let scripts = words(workflow, "deploy/");
    assert!(!scripts.is_empty());
    for script in scripts {
        assert!(project().join(script).metadata().unwrap().permissions().mode() & 0o111 != 0, "{script}");
    }
}

#[test]
fn the_compose_file_names_settings_and_files_that_exist() {
    let compose = include_str!("../../deploy/docker-compose.yml");
    let settings = include_str!("../../deploy/signpost.env");
    for name in words(compose, "SIGNPOST_") {
        assert!(settings.contains(&format!("#{name}=")), "{name} is no setting");
    }
    assert!(compose.contains("build: ..") && project().join("Dockerfile").exists());
}
