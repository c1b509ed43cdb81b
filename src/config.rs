//! The configuration: flags and environment in, validated and typed sections out.
//!
//! Every setting goes through one road: the flag, else the `SIGNPOST_` variable, else the unprefixed variable
//! of ATCR's deployment notes, else the default. An empty variable counts as unset. Nothing here touches the
//! network or the disk. Invariant: a `Config` that exists is valid, and an error is one line that names the
//! setting, its value and what is accepted.

mod admin;
mod flags;
mod limits;
mod quotas;
mod setting;
#[cfg(test)]
mod tests;
mod values;

pub use admin::{AdminToken, admin_token, read_admin_token};
pub use flags::{
    AdminTokenFlag, BackupFlags, DatabaseFlag, Flags, InternalAddrFlag, LimitFlags, QuotaFlags, RepoFlags, SurfaceFlags,
};
pub use limits::{EventLimits, Limits};
pub use quotas::QuotaConfig;
pub use setting::{ConfigError, EffectiveSetting, Source};

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::syntax::{CollectionFilter, Host, HostPolicy};
use setting::Resolver;

/// Everything that an operator can set, one section for each part of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The database file and what is kept in it.
    pub store: StoreConfig,
    /// Free space on the database's disk below which nothing is taken in, in bytes.
    pub min_free_bytes: u64,
    /// The two listeners.
    pub http: HttpConfig,
    /// How signpost meets other hosts.
    pub outbound: OutboundConfig,
    /// When hosts are looked at again.
    pub crawl: CrawlConfig,
    /// What a repo may cost.
    pub repos: ReposConfig,
    /// Who may have hosts crawled, and how many.
    pub quotas: QuotaConfig,
    /// What opens the admin calls; `None`: nothing does.
    pub admin_token: Option<AdminToken>,
    /// The form of the log lines on stderr.
    pub log_format: LogFormat,
}

/// The database file and what is kept in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The SQLite file, made at the first start.
    pub path: PathBuf,
    /// The collections whose records are indexed.
    pub filter: CollectionFilter,
    /// What hosts may take of it.
    pub limits: Limits,
}

/// The two listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The public listener: XRPC and nothing that an operator would hide.
    pub addr: SocketAddr,
    /// The internal listener (metrics, readiness, hosts), or `None` when it is off.
    pub internal: Option<SocketAddr>,
    /// Connections of the public listener at once.
    pub max_connections: usize,
    /// Those of one client address.
    pub max_connections_per_client: usize,
}

/// How signpost meets other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Which hosts may be crawled.
    pub policy: HostPolicy,
    /// The `User-Agent` of every request that signpost makes.
    pub user_agent: String,
    /// The origin (and path) of the PLC directory, without a trailing slash.
    pub plc_url: String,
    /// Signpost's own public name, which is never crawled.
    pub public_hostname: Option<Host>,
}

/// When hosts are looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrawlConfig {
    /// How often a known host's list of repos is compared with the index.
    pub interval: Duration,
}

/// What a repo may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReposConfig {
    /// The largest repo that is fetched.
    pub max_bytes: usize,
    /// What all repos that are being fetched and verified may take of memory together.
    pub memory_bytes: usize,
}

/// The form of the log lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

impl Config {
    /// Resolves every setting; `variable` looks up one environment variable (`std::env::var_os` outside
    /// tests).
    pub fn resolve(flags: Flags, variable: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        Config::resolve_with(&Resolver::new(&variable), flags)
    }

    fn resolve_with(resolver: &Resolver, flags: Flags) -> Result<Config, ConfigError> {
        // First, because it decides which public hostnames are acceptable.
        let policy = resolver.require(&setting::ALLOW_PRIVATE_HOSTS, flags.allow_private_hosts, values::host_policy)?;
        let public_hostname = resolver
            .optional(&setting::PUBLIC_HOSTNAME, flags.public_hostname, |value| values::hostname(value, policy))?;
        Ok(Config {
            store: StoreConfig {
                path: resolver.require(&setting::DATABASE_PATH, flags.database.database_path, values::path)?,
                filter: resolver.require(&setting::COLLECTIONS, flags.collections, values::filter)?,
                limits: limits::resolve(resolver, flags.limits)?,
            },
            http: HttpConfig {
                addr: resolver.require(&setting::HTTP_ADDR, flags.http_addr, values::address)?,
                internal: resolve_internal_addr(resolver, flags.internal_addr)?,
                max_connections: resolver.require(
                    &setting::MAX_CONNECTIONS,
                    flags.surface.max_connections,
                    |value| values::number(value, 1..=100_000),
                )?,
                max_connections_per_client: resolver.require(
                    &setting::MAX_CONNECTIONS_PER_CLIENT,
                    flags.surface.max_connections_per_client,
                    |value| values::number(value, 1..=100_000),
                )?,
            },
            min_free_bytes: resolver.require(&setting::MIN_FREE_SPACE, flags.surface.min_free_space, |value| {
                values::size(value, 0..=1 << 40)
            })?,
            crawl: CrawlConfig {
                interval: resolver.require(&setting::CRAWL_INTERVAL, flags.crawl_interval, values::interval)?,
            },
            repos: ReposConfig {
                max_bytes: resolver.require(&setting::MAX_REPO_SIZE, flags.repos.max_repo_size, |value| {
                    // What an offset of 32 bits reaches, with something to spare.
                    values::size(value, 1 << 20..=3 << 30)
                })?,
                memory_bytes: resolver.require(&setting::REPO_MEMORY, flags.repos.repo_memory, |value| {
                    values::size(value, 16 << 20..=64 << 30)
                })?,
            },
            admin_token: admin::resolve(resolver, flags.admin_token)?.as_deref().map(AdminToken::of),
            quotas: QuotaConfig::resolve(resolver, flags.quotas)?,
            log_format: resolver.require(&setting::LOG_FORMAT, flags.log_format, values::log_format)?,
            outbound: OutboundConfig {
                policy,
                user_agent: user_agent(public_hostname.as_ref()),
                plc_url: resolver.require(&setting::PLC_URL, flags.plc_url, values::plc_url)?,
                public_hostname,
            },
        })
    }
}

/// Resolves only the database's file, for the commands that work on it.
pub fn database_path(flag: DatabaseFlag, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ConfigError> {
    Resolver::new(&variable).require(&setting::DATABASE_PATH, flag.database_path, values::path)
}

/// Resolves only the internal listener's address, which is all that `signpost health` needs; `None` when it
/// is off.
pub fn internal_addr(
    flag: InternalAddrFlag,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<SocketAddr>, ConfigError> {
    resolve_internal_addr(&Resolver::new(&variable), flag)
}

fn resolve_internal_addr(resolver: &Resolver, flag: InternalAddrFlag) -> Result<Option<SocketAddr>, ConfigError> {
    resolver.require(&setting::INTERNAL_ADDR, flag.internal_addr, values::address_or_off)
}

/// Every setting of `serve` as it would be found, by flag; the admin token is named and not shown.
pub fn effective(
    flags: Flags,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<EffectiveSetting>, ConfigError> {
    let resolver = Resolver::new(&variable);
    Config::resolve_with(&resolver, flags)?;
    let mut found = resolver.into_found();
    for setting in &mut found {
        if setting.flag == admin::ADMIN_TOKEN.flag {
            setting.value = setting.value.take().map(|_| "(set, not shown)".to_owned());
        }
    }
    found.sort_by_key(|setting| setting.flag);
    Ok(found)
}

fn user_agent(public_hostname: Option<&Host>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match public_hostname {
        Some(host) => format!("signpost/{version} (+https://{})", host.as_str()),
        None => format!("signpost/{version}"),
    }
}
