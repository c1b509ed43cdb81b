//! Starts the log: lines of text or JSON on stderr, the level by RUST_LOG.

use std::ffi::OsString;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{ConfigError, LogFormat};

/// What is logged when RUST_LOG is unset or empty.
const DEFAULT_LEVELS: &str = "warn,signpost=info";

/// Starts the log of this process; the error is about RUST_LOG.
pub(super) fn start(format: LogFormat) -> Result<(), ConfigError> {
    let levels = levels(std::env::var_os("RUST_LOG"))?;
    match format {
        LogFormat::Text => {
            let log = tracing_subscriber::fmt().with_env_filter(levels).with_writer(std::io::stderr);
            log.with_ansi(std::io::stderr().is_terminal()).init();
        }
        LogFormat::Json => json(levels, std::io::stderr).init(),
    }
    Ok(())
}

/// A line is one object, with what it is about (`host`, `did`) beside its `message`.
pub fn json<W>(levels: EnvFilter, writer: W) -> impl SubscriberInitExt
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_env_filter(levels).with_writer(writer).json().flatten_event(true).finish()
}

/// What is logged when nothing else is asked for.
pub fn default_levels() -> EnvFilter {
    EnvFilter::new(DEFAULT_LEVELS)
}

fn levels(rust_log: Option<OsString>) -> Result<EnvFilter, ConfigError> {
    let given = rust_log.unwrap_or_default();
    let given = given.to_string_lossy();
    let text = if given.is_empty() { DEFAULT_LEVELS } else { &given };
    EnvFilter::builder().parse(text).map_err(|error| {
        let problem = format!(
            "is not a log level ({error}): give error, warn, info, debug, trace or off, or a list like \
             warn,signpost::crawl=debug"
        );
        ConfigError::of_variable("RUST_LOG", text, problem)
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn an_unset_or_empty_rust_log_means_info_for_signpost() {
        for value in [None, Some(OsString::new())] {
            let mut parts: Vec<String> = levels(value).unwrap().to_string().split(',').map(str::to_owned).collect();
            parts.sort();
            assert_eq!(parts, ["signpost=info", "warn"]);
        }
    }

    /// What stands between the parentheses of a call, and the text literal that it ends with.
    fn fields_and_message(rest: &str) -> (&str, &str) {
        let (mut depth, mut in_text, mut escaped, mut text_at, mut text) = (0, false, false, 0, "");
        for (at, letter) in rest.char_indices() {
            match letter {
                _ if escaped => escaped = false,
                '\\' if in_text => escaped = true,
                '"' if in_text => (in_text, text) = (false, &rest[text_at..at]),
                '"' => (in_text, text_at) = (true, at + 1),
                _ if in_text => {}
                '(' => depth += 1,
                ')' if depth == 0 => return (&rest[..text_at], text),
                ')' => depth -= 1,
                _ => {}
            }
        }
        panic!("no end: {rest:.200}")
    }

    /// Every call of a logging macro below a folder: its file, fields and message.
    fn log_calls(folder: &Path, found: &mut Vec<(PathBuf, String, String)>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                log_calls(&path, found);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap_or_default();
            for call in ["error!(", "warn!(", "info!(", "debug!("].map(|level| format!("tracing::{level}")) {
                for (at, _) in source.match_indices(&call) {
                    let (fields, message) = fields_and_message(&source[at + call.len()..]);
                    found.push((path.clone(), fields.to_owned(), message.to_owned()));
                }
            }
        }
    }

    #[test]
    fn what_a_line_is_about_stands_in_fields_of_its_own() {
        let mut calls = Vec::new();
        log_calls(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut calls);
        assert!(calls.len() > 30, "{}", calls.len());
        for (path, fields, message) in calls {
            let place = format!("{}: {fields} {message}", path.display());
            // The message is the same for all hosts: what differs is a field.
            assert!(!["{host", "{did", "{subject"].iter().any(|inline| message.contains(inline)), "{place}");
            let about_one = ["the host", "new host", "firehose", "a repo", "the repo"].iter().any(|words| {
                message.match_indices(words).any(|(at, words)| !message[at + words.len()..].starts_with('s'))
            });
            let has_field = ["%host", "host = ", " host,", "host_id = "].iter().any(|field| fields.contains(field));
            assert!(has_field || !about_one, "{place}");
        }
    }

    #[test]
    fn a_wrong_rust_log_is_named_in_one_line() {
        let error = levels(Some("signpost=loud".into())).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG: \"signpost=loud\" is not a log level ("), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
