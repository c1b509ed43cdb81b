//! Any text as a host name: what is accepted is canonical, and every URL parser reads the same host from it.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use signpost::syntax::{Host, HostPolicy, Scheme};
use url::Url;

fuzz_target!(|text: &str| {
    let public = parse(text, HostPolicy::PublicOnly);
    let private = parse(text, HostPolicy::AllowPrivate);
    let Some(public) = public else { return };
    assert!(public.ip().is_none() && public.port() == 443 && public.scheme() == Scheme::Https);
    assert!(public.name().contains('.'));
    let private = private.expect("what is allowed in public is allowed in development");
    assert_eq!(private, public);
});

fn parse(text: &str, policy: HostPolicy) -> Option<Host> {
    let host = match Host::parse(text, policy) {
        Ok(host) => host,
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() < 500 && !message.contains(char::is_control));
            return None;
        }
    };
    assert_eq!(Host::parse(&host.origin(), policy).as_ref(), Ok(&host));
    assert_eq!(Host::from_key(host.as_str(), host.scheme()).as_ref(), Ok(&host));
    assert_eq!(host.check(policy), Ok(()));
    assert!(host.as_str().bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));

    let url = Url::parse(&host.origin()).expect("an origin is a URL");
    assert_eq!(url.host_str(), Some(host.name()), "no other host than the one that was judged");
    assert_eq!(url.port_or_known_default(), Some(host.port()));
    let ip = url.host().and_then(|host| match host {
        url::Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        url::Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        url::Host::Domain(_) => None,
    });
    assert_eq!(ip, host.ip());
    Some(host)
}
