//! What strangers may ask of us: the section, its settings, and how their values are read.

use std::ops::RangeInclusive;

use super::flags::QuotaFlags;
use super::setting::{ConfigError, Resolver, Setting};
use super::values;
use crate::syntax::{AddressBlock, Domain};

/// Who may have hosts crawled, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Whether anybody may call requestCrawl.
    pub public_request_crawl: bool,
    /// Calls of requestCrawl by one client, at once and in a minute.
    pub request_crawl_per_minute: u32,
    /// New hosts within 24 hours.
    pub new_hosts_per_day: u32,
    /// New hosts of one registrable domain within 24 hours.
    pub new_hosts_per_domain_per_day: u32,
    /// Domains whose hosts are not counted.
    pub trusted_domains: Vec<Domain>,
    /// Whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<AddressBlock>,
}

pub(super) const PUBLIC_REQUEST_CRAWL: Setting =
    Setting { flag: "--public-request-crawl", variables: &["SIGNPOST_PUBLIC_REQUEST_CRAWL"], default: Some("true") };
pub(super) const REQUEST_CRAWL_PER_MINUTE: Setting = Setting {
    flag: "--request-crawl-per-minute",
    variables: &["SIGNPOST_REQUEST_CRAWL_PER_MINUTE"],
    default: Some("120"),
};
pub(super) const NEW_HOSTS_PER_DAY: Setting =
    Setting { flag: "--new-hosts-per-day", variables: &["SIGNPOST_NEW_HOSTS_PER_DAY"], default: Some("200") };
pub(super) const NEW_HOSTS_PER_DOMAIN_PER_DAY: Setting = Setting {
    flag: "--new-hosts-per-domain-per-day",
    variables: &["SIGNPOST_NEW_HOSTS_PER_DOMAIN_PER_DAY"],
    default: Some("20"),
};
pub(super) const TRUSTED_DOMAINS: Setting =
    Setting { flag: "--trusted-domains", variables: &["SIGNPOST_TRUSTED_DOMAINS"], default: None };
pub(super) const TRUSTED_PROXIES: Setting =
    Setting { flag: "--trusted-proxies", variables: &["SIGNPOST_TRUSTED_PROXIES"], default: Some("127.0.0.0/8,::1") };

impl QuotaConfig {
    pub(super) fn resolve(resolver: &Resolver, flags: QuotaFlags) -> Result<QuotaConfig, ConfigError> {
        let daily = |value: &str| number(value, 0..=1_000_000);
        Ok(QuotaConfig {
            public_request_crawl: resolver.require(
                &PUBLIC_REQUEST_CRAWL,
                flags.public_request_crawl,
                values::yes_or_no,
            )?,
            request_crawl_per_minute: resolver.require(
                &REQUEST_CRAWL_PER_MINUTE,
                flags.request_crawl_per_minute,
                |value| number(value, 1..=10_000),
            )?,
            new_hosts_per_day: resolver.require(&NEW_HOSTS_PER_DAY, flags.new_hosts_per_day, daily)?,
            new_hosts_per_domain_per_day: resolver.require(
                &NEW_HOSTS_PER_DOMAIN_PER_DAY,
                flags.new_hosts_per_domain_per_day,
                daily,
            )?,
            trusted_domains: resolver.optional(&TRUSTED_DOMAINS, flags.trusted_domains, domains)?.unwrap_or_default(),
            trusted_proxies: resolver.require(&TRUSTED_PROXIES, flags.trusted_proxies, address_blocks)?,
        })
    }
}

fn number(value: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    // `u32::from_str` would take a plus sign.
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|number| digits && range.contains(number)).ok_or_else(|| {
        let (least, most) = range.into_inner();
        format!("is not a number that is accepted: give {least} to {most}")
    })
}

fn domains(value: &str) -> Result<Vec<Domain>, String> {
    list(value).map(Domain::parse).collect::<Result<_, _>>().map_err(|error| {
        format!("is not a list of domains ({error}): give names separated by commas, for example example.com,atcr.io")
    })
}

fn address_blocks(value: &str) -> Result<Vec<AddressBlock>, String> {
    if value == "none" {
        return Ok(Vec::new());
    }
    list(value).map(AddressBlock::parse).collect::<Result<_, _>>().map_err(|error| {
        format!(
            "is not a list of addresses ({error}): give addresses and blocks separated by commas, for example \
             127.0.0.1,10.0.0.0/8, or none"
        )
    })
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: QuotaFlags) -> Result<QuotaConfig, String> {
        QuotaConfig::resolve(&Resolver::new(&|_| None), flags).map_err(|error| error.to_string())
    }

    fn some(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn strangers_have_small_quotas_by_default() {
        let quotas = resolve(QuotaFlags::default()).unwrap();
        assert!(quotas.public_request_crawl);
        assert_eq!((quotas.request_crawl_per_minute, quotas.new_hosts_per_day), (120, 200));
        assert_eq!(quotas.new_hosts_per_domain_per_day, 20);
        assert!(quotas.trusted_domains.is_empty());
        let proxies: Vec<String> = quotas.trusted_proxies.iter().map(AddressBlock::to_string).collect();
        assert_eq!(proxies, ["127.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn numbers_are_in_their_range() {
        for value in ["0", "10001", "+1", "-1", "ten", "", "1.0"] {
            let error =
                resolve(QuotaFlags { request_crawl_per_minute: some(value), ..QuotaFlags::default() }).unwrap_err();
            assert!(error.ends_with("give 1 to 10000"), "{error}");
        }
        let none = resolve(QuotaFlags { new_hosts_per_day: some("0"), ..QuotaFlags::default() }).unwrap();
        assert_eq!(none.new_hosts_per_day, 0);
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let quotas = resolve(QuotaFlags {
            trusted_domains: some("Example.com, *.host.example.net"),
            trusted_proxies: some("10.0.0.0/8,2001:db8::1"),
            ..QuotaFlags::default()
        })
        .unwrap();
        let domains: Vec<&str> = quotas.trusted_domains.iter().map(Domain::as_str).collect();
        assert_eq!(domains, ["example.com", "host.example.net"]);
        assert_eq!(quotas.trusted_proxies.len(), 2);
        let nobody = resolve(QuotaFlags { trusted_proxies: some("none"), ..QuotaFlags::default() }).unwrap();
        assert!(nobody.trusted_proxies.is_empty());
        for value in ["a.com,", "https://a.com", "a_b"] {
            assert!(resolve(QuotaFlags { trusted_domains: some(value), ..QuotaFlags::default() }).is_err(), "{value}");
        }
        for value in ["", "localhost", "127.0.0.1,,::1", "10.0.0.0/40"] {
            assert!(resolve(QuotaFlags { trusted_proxies: some(value), ..QuotaFlags::default() }).is_err(), "{value}");
        }
    }
}
