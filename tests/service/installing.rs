//! deploy/install into a folder: what it makes, that it may be run again, and what it leaves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::process::output;

const BINARY: &str = env!("CARGO_BIN_EXE_signpost");

fn install(root: &Path, argument: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install");
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

    assert!(install(root, "--uninstall").status.success());
    assert_eq!(files(root), all[..1], "settings stay");
    assert!(install(root, "--uninstall").status.success(), "twice is no fault");
}
