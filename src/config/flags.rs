//! The flags of the commands, with the text that `--help` shows for each.
//!
//! Every flag stays an unread string here: `Config::resolve` reads it beside its environment variables, so
//! that a wrong value gives the same one line wherever it came from. A test holds these texts against the
//! table of settings.
// Its comments are clap's help texts, not rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

mod admin;
mod files;
mod limits;
mod quotas;
mod repos;
mod surface;

use clap::Args;

pub use admin::AdminTokenFlag;
pub use files::{BackupFlags, DatabaseFlag};
pub use limits::LimitFlags;
pub use quotas::QuotaFlags;
pub use repos::RepoFlags;
pub use surface::SurfaceFlags;

/// The flags of `signpost serve`; an absent one falls back to the environment, then to the default.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseFlag,

    /// The address of the public listener: the XRPC queries and requestCrawl
    ///
    /// An IP address (or localhost) and a port. ":8080" is every IPv4 interface, "[::]:8080" every interface
    /// of both families; port 0 takes a free port. There is no TLS in signpost: put a reverse proxy in front
    /// for that.
    ///
    /// [environment: SIGNPOST_HTTP_ADDR, else HTTP_ADDR] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub http_addr: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub internal_addr: InternalAddrFlag,

    /// The collections to index: NSIDs and "prefix.*" patterns, separated by commas
    ///
    /// A pattern matches whole segments: "io.atcr.*" has io.atcr.hold.captain and never io.atcrx.y. "*" is
    /// everything. The list is kept in the database. When it grows, every known repo is fetched again, and
    /// until that is done /ready says that the index is not complete; when it shrinks, the rows that no
    /// longer match are dropped.
    ///
    /// [environment: SIGNPOST_COLLECTIONS] [default: io.atcr.*]
    #[arg(long, value_name = "LIST")]
    pub collections: Option<String>,

    /// How often a known host's repos are compared with the index again
    ///
    /// A number with a unit, such as 30m, 12h or 1d; from 1m to 30d.
    ///
    /// [environment: SIGNPOST_CRAWL_INTERVAL, else CRAWL_INTERVAL] [default: 12h]
    #[arg(long, value_name = "DURATION")]
    pub crawl_interval: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub repos: RepoFlags,

    /// The PLC directory that did:plc identities are read from
    ///
    /// An http or https URL, without query or fragment.
    ///
    /// [environment: SIGNPOST_PLC_URL] [default: https://plc.directory]
    #[arg(long, value_name = "URL")]
    pub plc_url: Option<String>,

    /// The name under which the world reaches this signpost
    ///
    /// It goes into the User-Agent, so that the operators of hosts know whom to ask, and is itself never
    /// crawled.
    ///
    /// [environment: SIGNPOST_PUBLIC_HOSTNAME] [default: none]
    #[arg(long, value_name = "NAME")]
    pub public_hostname: Option<String>,

    /// For development: crawl hosts on private addresses, on any port, and over http too
    ///
    /// Off, a host is a public DNS name, reached by https on port 443 at public addresses only. Leave it off
    /// on any machine that strangers can ask to crawl. Takes true or false (also 1/0, yes/no, on/off); the
    /// bare flag is true.
    ///
    /// [environment: SIGNPOST_ALLOW_PRIVATE_HOSTS] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub allow_private_hosts: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub surface: SurfaceFlags,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub limits: LimitFlags,

    /// The form of the log on stderr: text or json
    ///
    /// RUST_LOG sets the level, by part if wanted: "debug", or "warn,signpost::crawl=debug". Without it
    /// signpost logs at info, and the libraries that it uses at warn.
    ///
    /// [environment: SIGNPOST_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub quotas: QuotaFlags,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub admin_token: AdminTokenFlag,
}

/// The flag that `serve`, `health` and `admin` share.
#[derive(Debug, Clone, Default, Args)]
pub struct InternalAddrFlag {
    /// The address of the internal listener: /metrics, /ready, /hosts, /admin; "off" for none
    ///
    /// Written like --http-addr. What it shows is for the operator: keep it on loopback or on a private
    /// network.
    ///
    /// [environment: SIGNPOST_INTERNAL_ADDR] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", global = true)]
    pub internal_addr: Option<String>,
}
