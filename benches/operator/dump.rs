//! `signpost dump` and `signpost restore`, as processes of their own.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::report;
use crate::signpost::{Usage, binary, database_path, directory, pinned, running_usage_of, usage_of};
use crate::store::{self, Filled};

const REPOS: usize = 200_000;
/// How often it is asked what it uses.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// 1,000,000 records of 200,000 repos.
pub async fn run() {
    let directory = directory();
    let (path, file, restored) =
        (database_path(&directory), directory.path().join("dump"), directory.path().join("restored.db"));
    let repos = store::repos_or(REPOS);
    let Filled { rows, json_bytes, .. } = store::fill(&path, repos).await;
    let bytes = |path: &Path| path.metadata().map_or(0, |file| file.len());
    let corpus = format!("{rows} records of {repos} repos, {:.0} MB of JSON", json_bytes as f64 / 1e6);
    for (command, database) in [("dump", &path), ("restore", &restored)] {
        let (took, used) = spent(command, database, &file).await;
        report::line(
            "dump",
            &format!("{command}, {corpus}"),
            &[
                report::ms("took", took),
                report::cpu(&used),
                report::mib("peak", used.peak_bytes),
                report::mib("database", bytes(database)),
                report::mib("dump", bytes(&file)),
            ],
        );
    }
}

/// Runs a command to its end; what it has used is some milliseconds old then.
async fn spent(command: &str, database: &Path, file: &Path) -> (Duration, Usage) {
    let began = Instant::now();
    let mut process = pinned(&binary())
        .arg(command)
        .arg(file)
        .arg("--database-path")
        .arg(database)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut used = usage_of(process.id());
    loop {
        if let Some(ended) = process.try_wait().expect("it is our child") {
            assert!(ended.success(), "{command} ended with {ended}");
            return (began.elapsed(), used);
        }
        used = running_usage_of(process.id()).unwrap_or(used);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
