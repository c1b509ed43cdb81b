//! The flags of what strangers may ask of us.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use clap::Args;

/// Who may have hosts crawled, and how many.
#[derive(Debug, Clone, Default, Args)]
pub struct QuotaFlags {
    /// Whether anybody may announce a host by requestCrawl
    ///
    /// false answers 403 to all; hosts are then added by "signpost admin add" only. Takes true or false (also
    /// 1/0, yes/no, on/off).
    ///
    /// [environment: SIGNPOST_PUBLIC_REQUEST_CRAWL] [default: true]
    #[arg(long, value_name = "BOOL")]
    pub public_request_crawl: Option<String>,

    /// How often one client may call requestCrawl in a minute
    ///
    /// A client is an IPv4 address or an IPv6 /64. So many calls may also come at once. From 1 to 10000.
    ///
    /// [environment: SIGNPOST_REQUEST_CRAWL_PER_MINUTE] [default: 120]
    #[arg(long, value_name = "NUMBER")]
    pub request_crawl_per_minute: Option<String>,

    /// How many new hosts are taken in within 24 hours
    ///
    /// A host that is known is never refused for it, nor one that an operator adds. 0 to 1000000.
    ///
    /// [environment: SIGNPOST_NEW_HOSTS_PER_DAY] [default: 200]
    #[arg(long, value_name = "NUMBER")]
    pub new_hosts_per_day: Option<String>,

    /// How many new hosts of one registrable domain are taken in within 24 hours
    ///
    /// What is registrable is told by the public suffix list: hold1.example.com and hold2.example.com count
    /// together. 0 to 1000000.
    ///
    /// [environment: SIGNPOST_NEW_HOSTS_PER_DOMAIN_PER_DAY] [default: 20]
    #[arg(long, value_name = "NUMBER")]
    pub new_hosts_per_domain_per_day: Option<String>,

    /// Domains whose hosts are taken in whatever the budgets of new hosts say, separated by commas
    ///
    /// Each stands for itself and all names below it.
    ///
    /// [environment: SIGNPOST_TRUSTED_DOMAINS] [default: none]
    #[arg(long, value_name = "LIST")]
    pub trusted_domains: Option<String>,

    /// The reverse proxies whose X-Forwarded-For is believed, separated by commas; "none" for nobody's
    ///
    /// Addresses or blocks such as 10.0.0.0/8. Who calls is then the rightmost address in that header that is
    /// not one of these.
    ///
    /// [environment: SIGNPOST_TRUSTED_PROXIES] [default: 127.0.0.0/8,::1]
    #[arg(long, value_name = "LIST")]
    pub trusted_proxies: Option<String>,
}
