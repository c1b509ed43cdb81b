//! Reads one value each: text in, a typed value out, or what is wrong and what is accepted.
//!
//! A problem completes the sentence that `ConfigError` begins with the quoted value.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::LogFormat;
use crate::syntax::{CollectionFilter, Host, HostPolicy};

const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
const LONGEST_INTERVAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Units of sizes, the smallest first.
const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

pub(super) fn path(value: &str) -> Result<PathBuf, String> {
    if value.trim().is_empty() || value.contains('\0') {
        return Err("is not a path: give the name of a file, for example ./signpost.db".to_owned());
    }
    Ok(PathBuf::from(value))
}

pub(super) fn address(value: &str) -> Result<SocketAddr, String> {
    parse_address(value).ok_or_else(|| {
        "is not an address to listen on: give an IP address and a port, for example 127.0.0.1:8080, [::1]:8080, \
         localhost:8080, or :8080 for all interfaces"
            .to_owned()
    })
}

pub(super) fn address_or_off(value: &str) -> Result<Option<SocketAddr>, String> {
    if value == "off" {
        return Ok(None);
    }
    parse_address(value).map(Some).ok_or_else(|| {
        "is not an address to listen on: give an IP address and a port, for example 127.0.0.1:8081, \
         or off for no internal listener"
            .to_owned()
    })
}

/// No name is looked up: `localhost` is 127.0.0.1, and an empty host is every IPv4 interface.
fn parse_address(value: &str) -> Option<SocketAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let (host, port) = value.rsplit_once(':')?;
    let ip = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        _ => return None,
    };
    // `u16::from_str` would take a plus sign.
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    Some(SocketAddr::new(IpAddr::V4(ip), port))
}

pub(super) fn filter(value: &str) -> Result<CollectionFilter, String> {
    CollectionFilter::parse(value).map_err(|error| {
        format!(
            "is not a list of collections ({error}): give NSIDs and patterns separated by commas, for example \
             io.atcr.*,app.bsky.feed.post, or * for everything"
        )
    })
}

pub(super) fn interval(value: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(value)
        .map_err(|_| "is not a duration: give a number with a unit, for example 30m, 12h or 1d".to_owned())?;
    if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        return Err("is out of range: give 1m to 30d".to_owned());
    }
    Ok(interval)
}

/// A whole number.
pub(super) fn number<T: TryFrom<u64>>(value: &str, accepted: RangeInclusive<u64>) -> Result<T, String> {
    let number = digits(value).filter(|number| accepted.contains(number)).and_then(|number| number.try_into().ok());
    number
        .ok_or_else(|| format!("is not accepted: give a whole number from {} to {}", accepted.start(), accepted.end()))
}

/// A size in bytes, in binary units, for that is what memory and disks are divided by.
pub(super) fn size<T: TryFrom<u64>>(value: &str, accepted: RangeInclusive<u64>) -> Result<T, String> {
    let (number, unit) = value.split_at(value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len()));
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, bytes)| *bytes);
    let size = unit.zip(digits(number)).and_then(|(unit, number)| number.checked_mul(unit));
    let size = size.filter(|size| accepted.contains(size)).and_then(|size| size.try_into().ok());
    size.ok_or_else(|| {
        let (least, most) = (in_units(*accepted.start()), in_units(*accepted.end()));
        format!(
            "is not accepted: give a size from {least} to {most}, a whole number with B, KiB, MiB or GiB, such as 64MiB"
        )
    })
}

/// `u64::from_str` would take a plus sign.
fn digits(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

fn in_units(bytes: u64) -> String {
    let largest = UNITS.iter().rev().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    largest.map_or(format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

pub(super) fn plc_url(value: &str) -> Result<String, String> {
    let accepted = "give an http or https URL without user, query or fragment, for example https://plc.directory";
    let url = Url::parse(value).map_err(|error| format!("is not a URL ({error}): {accepted}"))?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !plain {
        return Err(format!("is not the URL of a PLC directory: {accepted}"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

pub(super) fn hostname(value: &str, policy: HostPolicy) -> Result<Host, String> {
    Host::parse(value, policy)
        .map_err(|error| format!("is not a public hostname ({error}): give a bare name, for example relay.example.com"))
}

pub(super) fn host_policy(value: &str) -> Result<HostPolicy, String> {
    Ok(if yes_or_no(value)? { HostPolicy::AllowPrivate } else { HostPolicy::PublicOnly })
}

pub(super) fn yes_or_no(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("is not a yes or no: give true or false (also 1/0, yes/no, on/off)".to_owned()),
    }
}

pub(super) fn log_format(value: &str) -> Result<LogFormat, String> {
    match value {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is not a log format: give text or json".to_owned()),
    }
}
