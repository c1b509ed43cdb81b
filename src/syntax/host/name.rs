//! Takes the text that names a host apart, and refuses what the policy does not allow, one fault at a time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{HostPolicy, HostSyntaxError, Scheme};
use crate::syntax::printable;

/// Top-level labels that are not in the public DNS.
const RESERVED: [&str; 9] = ["localhost", "local", "internal", "test", "invalid", "example", "onion", "alt", "arpa"];

/// What a text says about a host.
pub(super) struct Parts {
    pub scheme: Option<Scheme>,
    /// In lower case without a trailing dot, or an address (IPv6 in brackets) in its canonical form.
    pub name: String,
    pub port: Option<u16>,
}

/// Takes a host name or URL apart.
pub(super) fn split(input: &str, policy: HostPolicy) -> Result<Parts, HostSyntaxError> {
    check_characters(input)?;
    let (scheme, rest) = split_scheme(input, policy)?;
    let authority = strip_tail(rest)?;
    if authority.contains('@') {
        return Err(HostSyntaxError::UserInfo);
    }
    let (name, port) = split_port(authority)?;
    let name = match name.starts_with('[') {
        true => ipv6(name, policy)?,
        false => domain_or_ipv4(name, policy)?,
    };
    let port = port.map(|port| parse_port(port, policy)).transpose()?;
    Ok(Parts { scheme, name, port })
}

/// Whether a name of `Parts` is this machine's own.
pub(super) fn is_loopback(name: &str) -> bool {
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// URL parsers decode labels in punycode: a name of which one does not decode could never be dialled.
pub(super) fn check_punycode(name: &str) -> Result<(), HostSyntaxError> {
    let has_punycode = name.split('.').any(|label| label.starts_with("xn--"));
    match has_punycode && url::Host::parse(name) != Ok(url::Host::Domain(name.to_owned())) {
        true => Err(HostSyntaxError::BadPunycode),
        false => Ok(()),
    }
}

fn check_characters(input: &str) -> Result<(), HostSyntaxError> {
    if input.is_empty() {
        return Err(HostSyntaxError::Empty);
    }
    if input.trim().len() < input.len() {
        return Err(HostSyntaxError::WhiteSpace);
    }
    if input.chars().any(char::is_control) {
        return Err(HostSyntaxError::ControlCharacter);
    }
    if !input.is_ascii() {
        return Err(HostSyntaxError::NotAscii);
    }
    Ok(())
}

fn split_scheme(input: &str, policy: HostPolicy) -> Result<(Option<Scheme>, &str), HostSyntaxError> {
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let Some((scheme, rest)) = input.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        // A single label may be called so, too: then its port follows.
        let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_half_a_url = |(before, behind): (&str, &str)| {
            !is_port(behind) && ["http", "https"].iter().any(|scheme| before.eq_ignore_ascii_case(scheme))
        };
        let is_malformed = input.split_once(':').is_some_and(is_half_a_url);
        return if is_malformed { Err(HostSyntaxError::MalformedUrl) } else { Ok((None, input)) };
    };
    match (scheme.to_ascii_lowercase().as_str(), policy) {
        ("https", _) => Ok((Some(Scheme::Https), rest)),
        ("http", HostPolicy::AllowPrivate) => Ok((Some(Scheme::Http), rest)),
        (other, policy) => {
            let accepted = match policy {
                HostPolicy::PublicOnly => "https://host",
                HostPolicy::AllowPrivate => "https://host or http://host",
            };
            Err(HostSyntaxError::Scheme(printable(other, 20).into(), accepted))
        }
    }
}

/// Cuts one slash off the end, and refuses all that a URL may have behind its host.
fn strip_tail(rest: &str) -> Result<&str, HostSyntaxError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let behind_slash = tail.strip_prefix('/').unwrap_or(tail);
    match behind_slash.chars().next() {
        None if authority.is_empty() => Err(HostSyntaxError::Empty),
        None => Ok(authority),
        Some('?') => Err(HostSyntaxError::Query),
        Some('#') => Err(HostSyntaxError::Fragment),
        Some(_) => Err(HostSyntaxError::Path),
    }
}

/// The name, and what stands behind its colon.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), HostSyntaxError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(HostSyntaxError::BadIpv6)? + 1;
        return match authority.split_at(end) {
            (name, "") => Ok((name, None)),
            (name, tail) => tail.strip_prefix(':').map(|port| (name, Some(port))).ok_or(HostSyntaxError::BadIpv6),
        };
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((_, port)) if port.contains(':') => Err(match authority.parse::<Ipv6Addr>() {
            Ok(_) => HostSyntaxError::BadIpv6,
            Err(_) => HostSyntaxError::BadPort,
        }),
        Some((name, port)) => Ok((name, Some(port))),
    }
}

fn parse_port(port: &str, policy: HostPolicy) -> Result<u16, HostSyntaxError> {
    if policy == HostPolicy::PublicOnly {
        return Err(HostSyntaxError::Port);
    }
    let is_plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    port.parse().ok().filter(|_| is_plain).ok_or(HostSyntaxError::BadPort)
}

fn ipv6(bracketed: &str, policy: HostPolicy) -> Result<String, HostSyntaxError> {
    if policy == HostPolicy::PublicOnly {
        return Err(HostSyntaxError::Address);
    }
    let inner = bracketed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    let address: Ipv6Addr = inner.parse().map_err(|_| HostSyntaxError::BadIpv6)?;
    match address.is_loopback() || address.is_unique_local() {
        true => Ok(format!("[{address}]")),
        false => Err(HostSyntaxError::PublicAddress(address.into())),
    }
}

fn domain_or_ipv4(name: &str, policy: HostPolicy) -> Result<String, HostSyntaxError> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    check_domain(&name)?;
    let top_level = name.rsplit('.').next().unwrap_or_default();
    if is_number(top_level) {
        return ipv4(&name, top_level, policy);
    }
    if policy == HostPolicy::PublicOnly {
        if RESERVED.contains(&top_level) {
            return Err(HostSyntaxError::Reserved(top_level.into()));
        }
        if top_level.len() == name.len() {
            return Err(HostSyntaxError::SingleLabel(top_level.into()));
        }
    }
    Ok(name)
}

fn check_domain(name: &str) -> Result<(), HostSyntaxError> {
    if name.is_empty() {
        return Err(HostSyntaxError::Empty);
    }
    if let Some(c) = name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-' && *c != '.') {
        return Err(if c == '_' { HostSyntaxError::Underscore } else { HostSyntaxError::Character(c) });
    }
    for label in name.split('.') {
        match label {
            "" => return Err(HostSyntaxError::EmptyLabel),
            label if label.len() > 63 => return Err(HostSyntaxError::LabelTooLong),
            label if label.starts_with('-') || label.ends_with('-') => return Err(HostSyntaxError::Hyphen),
            _ => {}
        }
    }
    if name.len() > 253 {
        return Err(HostSyntaxError::NameTooLong);
    }
    Ok(())
}

/// Whether URL parsers take a name that ends in this label for an IPv4 address.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn ipv4(name: &str, top_level: &str, policy: HostPolicy) -> Result<String, HostSyntaxError> {
    let is_address = name.split('.').count() <= 4 && name.split('.').all(is_number);
    match name.parse::<Ipv4Addr>() {
        _ if !is_address => Err(HostSyntaxError::NumericTopLevel(top_level.into())),
        _ if policy == HostPolicy::PublicOnly => Err(HostSyntaxError::Address),
        Err(_) => Err(HostSyntaxError::UnusualAddress),
        Ok(address) if address.is_loopback() || address.is_private() => Ok(address.to_string()),
        Ok(address) => Err(HostSyntaxError::PublicAddress(address.into())),
    }
}
