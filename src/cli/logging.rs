//! Starts the log: lines of text or JSON on stderr, the level by RUST_LOG.

use std::ffi::OsString;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat};

/// What is logged when RUST_LOG is unset or empty.
const DEFAULT_LEVELS: &str = "warn,signpost=info";

/// Starts the log of this process; the error is about RUST_LOG.
pub(super) fn start(format: LogFormat) -> Result<(), ConfigError> {
    let levels = levels(std::env::var_os("RUST_LOG"))?;
    let log = tracing_subscriber::fmt().with_env_filter(levels).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
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
    use super::*;

    #[test]
    fn an_unset_or_empty_rust_log_means_info_for_signpost() {
        for value in [None, Some(OsString::new())] {
            let mut parts: Vec<String> = levels(value).unwrap().to_string().split(',').map(str::to_owned).collect();
            parts.sort();
            assert_eq!(parts, ["signpost=info", "warn"]);
        }
    }

    #[test]
    fn a_wrong_rust_log_is_named_in_one_line() {
        let error = levels(Some("signpost=loud".into())).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG: \"signpost=loud\" is not a log level ("), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
