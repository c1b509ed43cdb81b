//! The table of settings, and the one way in which each finds its value.
//!
//! Owns the names and defaults, and the error line; what a value means is in `values`.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;

#[cfg(test)]
use super::{admin, quotas};

/// One setting: its flag, its environment variables in the order in which they are asked, and its default.
pub(super) struct Setting {
    pub(super) flag: &'static str,
    pub(super) variables: &'static [&'static str],
    pub(super) default: Option<&'static str>,
}

pub(super) const DATABASE_PATH: Setting = Setting {
    flag: "--database-path",
    variables: &["SIGNPOST_DATABASE_PATH", "DATABASE_PATH"],
    default: Some("./signpost.db"),
};
pub(super) const HTTP_ADDR: Setting =
    Setting { flag: "--http-addr", variables: &["SIGNPOST_HTTP_ADDR", "HTTP_ADDR"], default: Some("127.0.0.1:8080") };
pub(super) const INTERNAL_ADDR: Setting =
    Setting { flag: "--internal-addr", variables: &["SIGNPOST_INTERNAL_ADDR"], default: Some("127.0.0.1:8081") };
pub(super) const COLLECTIONS: Setting =
    Setting { flag: "--collections", variables: &["SIGNPOST_COLLECTIONS"], default: Some("io.atcr.*") };
pub(super) const CRAWL_INTERVAL: Setting = Setting {
    flag: "--crawl-interval",
    variables: &["SIGNPOST_CRAWL_INTERVAL", "CRAWL_INTERVAL"],
    default: Some("12h"),
};
pub(super) const MAX_REPO_SIZE: Setting =
    Setting { flag: "--max-repo-size", variables: &["SIGNPOST_MAX_REPO_SIZE"], default: Some("512MiB") };
pub(super) const REPO_MEMORY: Setting =
    Setting { flag: "--repo-memory", variables: &["SIGNPOST_REPO_MEMORY"], default: Some("96MiB") };
pub(super) const PLC_URL: Setting =
    Setting { flag: "--plc-url", variables: &["SIGNPOST_PLC_URL"], default: Some("https://plc.directory") };
pub(super) const PUBLIC_HOSTNAME: Setting =
    Setting { flag: "--public-hostname", variables: &["SIGNPOST_PUBLIC_HOSTNAME"], default: None };
pub(super) const ALLOW_PRIVATE_HOSTS: Setting =
    Setting { flag: "--allow-private-hosts", variables: &["SIGNPOST_ALLOW_PRIVATE_HOSTS"], default: Some("false") };
pub(super) const MAX_CONNECTIONS: Setting =
    Setting { flag: "--max-connections", variables: &["SIGNPOST_MAX_CONNECTIONS"], default: Some("1024") };
pub(super) const MAX_CONNECTIONS_PER_CLIENT: Setting = Setting {
    flag: "--max-connections-per-client",
    variables: &["SIGNPOST_MAX_CONNECTIONS_PER_CLIENT"],
    default: Some("32"),
};
pub(super) const MIN_FREE_SPACE: Setting =
    Setting { flag: "--min-free-space", variables: &["SIGNPOST_MIN_FREE_SPACE"], default: Some("64MiB") };
pub(super) const LOG_FORMAT: Setting =
    Setting { flag: "--log-format", variables: &["SIGNPOST_LOG_FORMAT"], default: Some("text") };

/// Every setting, in the order of the manual.
#[cfg(test)]
pub(super) const ALL: &[&Setting] = &[
    &DATABASE_PATH,
    &HTTP_ADDR,
    &INTERNAL_ADDR,
    &COLLECTIONS,
    &CRAWL_INTERVAL,
    &MAX_REPO_SIZE,
    &REPO_MEMORY,
    &PLC_URL,
    &PUBLIC_HOSTNAME,
    &ALLOW_PRIVATE_HOSTS,
    &MAX_CONNECTIONS,
    &MAX_CONNECTIONS_PER_CLIENT,
    &MIN_FREE_SPACE,
    &LOG_FORMAT,
    &quotas::PUBLIC_REQUEST_CRAWL,
    &quotas::REQUEST_CRAWL_PER_MINUTE,
    &quotas::NEW_HOSTS_PER_DAY,
    &quotas::NEW_HOSTS_PER_DOMAIN_PER_DAY,
    &quotas::TRUSTED_DOMAINS,
    &quotas::TRUSTED_PROXIES,
    &admin::ADMIN_TOKEN,
];

/// What carried a value: named in the error line, so that an operator knows what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A command line flag, by its name.
    Flag(&'static str),
    /// An environment variable, by its name.
    Variable(&'static str),
    /// The built-in default of the flag of this name.
    Default(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) | Source::Variable(name) => f.write_str(name),
            Source::Default(name) => write!(f, "the default of {name}"),
        }
    }
}

/// A value that a setting does not accept; its text is one line, whatever the value holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {value:?} {problem}")]
pub struct ConfigError {
    /// What carried the value.
    pub origin: Source,
    /// The value as it was given.
    pub value: String,
    /// What is wrong with it, and what is accepted.
    pub problem: String,
}

impl ConfigError {
    /// The error of a variable that is no setting of ours, such as RUST_LOG.
    pub fn of_variable(name: &'static str, value: &str, problem: String) -> ConfigError {
        ConfigError { origin: Source::Variable(name), value: value.to_owned(), problem: one_line(&problem) }
    }
}

/// A setting as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// Its flag.
    pub flag: &'static str,
    /// Its value as it was given; None: it has none.
    pub value: Option<String>,
    /// What carried the value.
    pub source: Source,
}

/// Finds and reads the settings of one command.
pub(super) struct Resolver<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    found: RefCell<Vec<EffectiveSetting>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Resolver<'a> {
        Resolver { variable, found: RefCell::default() }
    }

    /// What was found so far, in the order in which it was asked for.
    pub(super) fn into_found(self) -> Vec<EffectiveSetting> {
        self.found.into_inner()
    }

    /// The value of a setting that has a default. `read` gives the problem as text on failure.
    pub(super) fn require<T>(
        &self,
        setting: &Setting,
        flag: Option<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let value = self.optional(setting, flag, read)?;
        Ok(value.expect("only a setting with a default is required"))
    }

    /// The value of a setting that may be absent.
    pub(super) fn optional<T>(
        &self,
        setting: &Setting,
        flag: Option<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((origin, value)) = self.find(setting, flag)? else {
            let source = Source::Default(setting.flag);
            self.found.borrow_mut().push(EffectiveSetting { flag: setting.flag, value: None, source });
            return Ok(None);
        };
        let found = EffectiveSetting { flag: setting.flag, value: Some(value.clone()), source: origin };
        self.found.borrow_mut().push(found);
        match read(&value) {
            Ok(read) => Ok(Some(read)),
            Err(problem) => Err(ConfigError { origin, value, problem: one_line(&problem) }),
        }
    }

    fn find(&self, setting: &Setting, flag: Option<String>) -> Result<Option<(Source, String)>, ConfigError> {
        if let Some(value) = flag {
            return Ok(Some((Source::Flag(setting.flag), value)));
        }
        for &name in setting.variables {
            let Some(value) = (self.variable)(name).filter(|value| !value.is_empty()) else {
                continue;
            };
            let origin = Source::Variable(name);
            return match value.into_string() {
                Ok(value) => Ok(Some((origin, value))),
                Err(raw) => Err(ConfigError {
                    origin,
                    value: raw.to_string_lossy().into_owned(),
                    problem: "is not UTF-8".to_owned(),
                }),
            };
        }
        Ok(setting.default.map(|value| (Source::Default(setting.flag), value.to_owned())))
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
