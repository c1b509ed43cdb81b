//! The flags of the bounds on what clients and the disk can take from us.

use clap::Args;

/// The flags of `serve` that bound connections and disk.
#[derive(Debug, Clone, Default, Args)]
pub struct SurfaceFlags {
    /// The most connections that the public listener holds at once
    ///
    /// When all are taken, the one that has kept signpost waiting longest (for its request, or with an answer
    /// that it does not read) is closed for the next. Each costs a file descriptor and a few KiB. From 1 to
    /// 100000.
    ///
    /// [environment: SIGNPOST_MAX_CONNECTIONS] [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    pub max_connections: Option<String>,

    /// The most connections of one client address: an IPv4 address, or an IPv6 network of 64 bits
    ///
    /// Further ones are closed at once. Trusted proxies are exempt, for they speak for many. From 1 to 100000.
    ///
    /// [environment: SIGNPOST_MAX_CONNECTIONS_PER_CLIENT] [default: 32]
    #[arg(long, value_name = "NUMBER")]
    pub max_connections_per_client: Option<String>,

    /// The free space on the database's disk below which nothing new is taken in
    ///
    /// Hosts are not followed then and requestCrawl answers 503, while queries go on; /ready says why. It goes
    /// on by itself when there is space again. A number with a unit (KiB, MiB, GiB); 0 waits until the disk is
    /// full.
    ///
    /// [environment: SIGNPOST_MIN_FREE_SPACE] [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<String>,
}
