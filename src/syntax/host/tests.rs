//! What is accepted and refused as a host name, input by input.

use proptest::prelude::*;

use super::HostPolicy::{AllowPrivate, PublicOnly};
use super::HostSyntaxError as E;
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn public_names_are_accepted_in_one_form() {
    let longest_label = format!("{}.com", "a".repeat(63));
    let longest_name = format!("{}{}.com", "abc.".repeat(61), "a".repeat(5));
    assert_eq!(longest_name.len(), 253);
    let cases = [
        ("hold01.example.com", "hold01.example.com"),
        ("hold01.example.com/", "hold01.example.com"),
        ("https://hold01.example.com", "hold01.example.com"),
        ("https://hold01.example.com/", "hold01.example.com"),
        ("HTTPS://Hold01.EXAMPLE.com/", "hold01.example.com"),
        ("hold01.example.com.", "hold01.example.com"),
        ("hold01.example.com./", "hold01.example.com"),
        ("https://HOLD01.example.com./", "hold01.example.com"),
        ("xn--bcher-kva.tld", "xn--bcher-kva.tld"),
        ("pds.xn--fiqs8s", "pds.xn--fiqs8s"),
        ("a.b", "a.b"),
        ("4chan.org", "4chan.org"),
        ("120.0.0.1.com", "120.0.0.1.com"),
        ("0x7f000001.com", "0x7f000001.com"),
        ("pds.0xyz", "pds.0xyz"),
        ("a--b.com", "a--b.com"),
        ("localhost.com", "localhost.com"),
        ("test.local.com", "test.local.com"),
        (&longest_label, &longest_label),
        (&longest_name, &longest_name),
    ];
    for policy in [PublicOnly, AllowPrivate] {
        for (input, key) in cases {
            let host = Host::parse(input, policy).expect(input);
            assert_eq!(host.as_str(), key);
            assert_eq!((host.scheme(), host.port(), host.ip()), (Scheme::Https, 443, None), "{input}");
            assert_eq!(host.origin(), format!("https://{key}"));
            assert_eq!(host.websocket_origin(), format!("wss://{key}"));
        }
    }
}

/// Refused under either policy, with the same fault.
#[test]
fn nonsense_is_refused_with_its_own_fault() {
    let long_label = format!("{}.com", "a".repeat(64));
    let long_name = format!("{}{}.com", "abc.".repeat(61), "a".repeat(6));
    let cases = [
        ("", E::Empty),
        ("/", E::Empty),
        (".", E::Empty),
        ("https://", E::Empty),
        ("https:///", E::Empty),
        (" pds.example.com", E::WhiteSpace),
        ("pds.example.com ", E::WhiteSpace),
        ("pds.example.com\n", E::WhiteSpace),
        ("\tpds.example.com", E::WhiteSpace),
        ("\u{a0}pds.example.com", E::WhiteSpace),
        (" ", E::WhiteSpace),
        ("pds.exa\nmple.com", E::ControlCharacter),
        ("pds.example.com\0", E::ControlCharacter),
        ("pds\u{7f}.example.com", E::ControlCharacter),
        ("bücher.com", E::NotAscii),
        ("pds。example.com", E::NotAscii),
        ("１２７.0.0.1", E::NotAscii),
        ("https:/pds.example.com", E::MalformedUrl),
        ("https:pds.example.com", E::MalformedUrl),
        ("HTTP:pds.example.com", E::MalformedUrl),
        ("https:", E::MalformedUrl),
        ("me@pds.example.com", E::UserInfo),
        ("https://me:secret@pds.example.com", E::UserInfo),
        ("https://public.com@127.0.0.1/", E::UserInfo),
        ("pds.example.com/xrpc", E::Path),
        ("pds.example.com//", E::Path),
        ("https://pds.example.com/xrpc/", E::Path),
        ("https://pds.example.com/a?b#c", E::Path),
        ("pds.example.com?a=b", E::Query),
        ("pds.example.com?", E::Query),
        ("https://pds.example.com/?a=b", E::Query),
        ("pds.example.com#top", E::Fragment),
        ("https://pds.example.com/#", E::Fragment),
        ("pds.example.com?u=https://other.com", E::Query),
        (".pds.example.com", E::EmptyLabel),
        ("pds..example.com", E::EmptyLabel),
        ("pds.example.com..", E::EmptyLabel),
        (&long_label, E::LabelTooLong),
        (&long_name, E::NameTooLong),
        ("my_pds.example.com", E::Underscore),
        ("-pds.example.com", E::Hyphen),
        ("pds-.example.com", E::Hyphen),
        ("pds.example.-com", E::Hyphen),
        ("xn--w.example.com", E::BadPunycode),
        ("pds.xn--0.com", E::BadPunycode),
        ("XN--a.example.com", E::BadPunycode),
        ("pds.example com", E::Character(' ')),
        ("pds.example.com\\x", E::Character('\\')),
        ("pds%2eexample.com", E::Character('%')),
        ("*.example.com", E::Character('*')),
        ("pds.example.com,a.b", E::Character(',')),
        ("pds.example.123", E::NumericTopLevel("123".into())),
        ("1.2.3.4.5", E::NumericTopLevel("5".into())),
        ("pds.0x1f", E::NumericTopLevel("0x1f".into())),
        ("pds.example.0x", E::NumericTopLevel("0x".into())),
        ("did:web:pds.example.com", E::BadPort),
        ("a.com:1:2", E::BadPort),
        ("::1", E::BadIpv6),
        ("2001:db8::1", E::BadIpv6),
        ("[::1", E::BadIpv6),
        ("[::1]x", E::BadIpv6),
    ];
    for (input, fault) in cases {
        for policy in [PublicOnly, AllowPrivate] {
            assert_eq!(Host::parse(input, policy), Err(fault.clone()), "{input:?} {policy:?}");
        }
    }
}

#[test]
fn what_is_not_public_is_refused_in_public() {
    let reserved = |top: &str| E::Reserved(top.into());
    let scheme = |name: &str| E::Scheme(name.into(), "https://host");
    let cases = [
        ("localhost", reserved("localhost")),
        ("localhost.", reserved("localhost")),
        ("pds.localhost", reserved("localhost")),
        ("LOCALHOST", reserved("localhost")),
        ("pds.local", reserved("local")),
        ("pds.INTERNAL", reserved("internal")),
        ("pds.test", reserved("test")),
        ("pds.test.", reserved("test")),
        ("pds.invalid", reserved("invalid")),
        ("pds.example", reserved("example")),
        ("expyuzz4wqqyqhjn.onion", reserved("onion")),
        ("pds.alt", reserved("alt")),
        ("1.0.0.127.in-addr.arpa", reserved("arpa")),
        ("pds", E::SingleLabel("pds".into())),
        ("com.", E::SingleLabel("com".into())),
        ("http://pds.example.com", scheme("http")),
        ("wss://pds.example.com", scheme("wss")),
        ("ftp://pds.example.com", scheme("ftp")),
        ("at://pds.example.com", scheme("at")),
        ("pds.example.com:443", E::Port),
        ("https://pds.example.com:443/", E::Port),
        ("pds.example.com:8443", E::Port),
        ("pds.example.com:", E::Port),
        ("pds.example.com:abc", E::Port),
        ("127.0.0.1", E::Address),
        ("127.0.0.1.", E::Address),
        ("8.8.8.8", E::Address),
        ("https://10.0.0.1/", E::Address),
        ("127.1", E::Address),
        ("2130706433", E::Address),
        ("0x7f000001", E::Address),
        ("0X7F.1", E::Address),
        ("0177.0.0.1", E::Address),
        ("[::1]", E::Address),
        ("https://[2001:4860:4860::8888]/", E::Address),
        ("[::ffff:127.0.0.1]", E::Address),
        ("127.0.0.1:80", E::Address),
    ];
    for (input, fault) in cases {
        assert_eq!(Host::parse(input, PublicOnly), Err(fault), "{input:?}");
    }
}

#[test]
fn private_hosts_are_accepted_in_development() {
    let cases = [
        ("localhost", "localhost", "http://localhost"),
        ("LOCALHOST./", "localhost", "http://localhost"),
        ("localhost:2583", "localhost:2583", "http://localhost:2583"),
        ("http://localhost:2583/", "localhost:2583", "http://localhost:2583"),
        ("http:1", "http:1", "http://http:1"),
        ("http://https:8443", "https:8443", "http://https:8443"),
        ("https://localhost", "localhost", "https://localhost"),
        ("http://localhost:80", "localhost", "http://localhost"),
        ("localhost:443", "localhost:443", "http://localhost:443"),
        ("https://localhost:443", "localhost", "https://localhost"),
        ("http://localhost:443", "localhost:443", "http://localhost:443"),
        ("pds1.localhost", "pds1.localhost", "http://pds1.localhost"),
        ("pds", "pds", "https://pds"),
        ("pds:3000", "pds:3000", "http://pds:3000"),
        ("pds.test", "pds.test", "https://pds.test"),
        ("https://pds.internal:8443", "pds.internal:8443", "https://pds.internal:8443"),
        ("pds.example.com:8443", "pds.example.com:8443", "http://pds.example.com:8443"),
        ("http://pds.example.com", "pds.example.com", "http://pds.example.com"),
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1"),
        ("127.8.9.10:65535", "127.8.9.10:65535", "http://127.8.9.10:65535"),
        ("10.1.2.3", "10.1.2.3", "https://10.1.2.3"),
        ("172.16.0.1", "172.16.0.1", "https://172.16.0.1"),
        ("192.168.1.1:3000", "192.168.1.1:3000", "http://192.168.1.1:3000"),
        ("[::1]", "[::1]", "http://[::1]"),
        ("[0:0:0:0:0:0:0:1]:2583", "[::1]:2583", "http://[::1]:2583"),
        ("https://[FD00::1]", "[fd00::1]", "https://[fd00::1]"),
    ];
    for (input, key, origin) in cases {
        let host = Host::parse(input, AllowPrivate).expect(input);
        assert_eq!((host.as_str(), host.origin().as_str()), (key, origin), "{input}");
        assert_eq!(host.scheme_is_explicit(), input.contains("://"), "{input}");
        assert_eq!(Host::from_key(key, host.scheme()), Ok(host), "{input}");
    }
}

#[test]
fn unusable_addresses_are_refused_in_development_too() {
    let public = |text| E::PublicAddress(ip(text));
    let cases = [
        ("8.8.8.8", public("8.8.8.8")),
        ("0.0.0.0", public("0.0.0.0")),
        ("169.254.169.254", public("169.254.169.254")),
        ("100.64.0.1", public("100.64.0.1")),
        ("172.32.0.1", public("172.32.0.1")),
        ("224.0.0.1", public("224.0.0.1")),
        ("255.255.255.255", public("255.255.255.255")),
        ("[::]", public("::")),
        ("[fe80::1]", public("fe80::1")),
        ("[2001:4860:4860::8888]", public("2001:4860:4860::8888")),
        ("[::ffff:127.0.0.1]", public("::ffff:127.0.0.1")),
        ("[fe80::1%eth0]", E::BadIpv6),
        ("[127.0.0.1]", E::BadIpv6),
        ("[]", E::BadIpv6),
        ("[[::1]", E::BadIpv6),
        ("[::1]]", E::BadIpv6),
        ("0x7f000001", E::UnusualAddress),
        ("0177.0.0.1", E::UnusualAddress),
        ("127.1", E::UnusualAddress),
        ("2130706433", E::UnusualAddress),
        ("127.0.0.1.127", E::NumericTopLevel("127".into())),
        ("localhost:", E::BadPort),
        ("localhost:0", E::BadPort),
        ("localhost:080", E::BadPort),
        ("localhost:+80", E::BadPort),
        ("localhost:65536", E::BadPort),
        ("[::1]:", E::BadPort),
        (":2583", E::Empty),
        ("ws://localhost:2583", E::Scheme("ws".into(), "https://host or http://host")),
    ];
    for (input, fault) in cases {
        assert_eq!(Host::parse(input, AllowPrivate), Err(fault), "{input:?}");
    }
}

#[test]
fn same_service_compares_name_and_port() {
    let same = |a, b| {
        let parse = |text| Host::parse(text, AllowPrivate).expect(text);
        parse(a).same_service(&parse(b))
    };
    assert!(same("http://localhost:443", "https://localhost"));
    assert!(same("pds.example.com", "https://PDS.example.com./"));
    assert!(!same("http://pds.example.com", "https://pds.example.com"));
    assert!(!same("localhost:2583", "localhost:2584"));
    assert!(!same("localhost:2583", "127.0.0.1:2583"));
}

#[test]
fn local_hosts_are_addresses_and_localhost() {
    for (input, is_local) in [
        ("localhost:2583", true),
        ("a.localhost", true),
        ("127.0.0.1", true),
        ("[::1]:2583", true),
        ("localhost.example.com", false),
        ("localhost-one.com", false),
        ("hold.example", false),
    ] {
        assert_eq!(Host::parse(input, AllowPrivate).expect(input).is_local(), is_local, "{input}");
    }
}

#[test]
fn the_registrable_domain_is_what_somebody_had_to_register() {
    let cases = [
        ("hold01.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        // Everybody can have one of these, as with any registry.
        ("one.app.fly.dev", "app.fly.dev"),
        ("fly.dev", "fly.dev"),
        // In development everybody is somebody else.
        ("localhost:2583", "localhost:2583"),
        ("a.b.localhost:2583", "localhost:2583"),
        ("127.0.0.1:2583", "127.0.0.1:2583"),
        ("[::1]:2583", "[::1]:2583"),
    ];
    for (input, domain) in cases {
        assert_eq!(Host::parse(input, AllowPrivate).expect(input).registrable_domain(), domain, "{input}");
    }
}

#[test]
fn development_hosts_do_not_survive_a_change_of_policy() {
    for input in ["localhost:2583", "http://pds.example.com", "10.0.0.1", "pds.example.com:8443"] {
        let host = Host::parse(input, AllowPrivate).expect(input);
        assert!(host.check(PublicOnly).is_err() && host.check(AllowPrivate).is_ok(), "{input}");
    }
    let public = Host::from_key("pds.example.com", Scheme::Https).expect("valid");
    assert_eq!(public.check(PublicOnly), Ok(()));
}

/// A row that an earlier version wrote is read, and then not dialled.
#[test]
fn a_key_with_broken_punycode_is_read_but_may_not_be_dialled() {
    let host = Host::from_key("xn--w.example.com", Scheme::Https).expect("readable");
    assert_eq!(host.check(PublicOnly), Err(E::BadPunycode));
}

#[test]
fn every_message_is_one_printable_line() {
    for input in ["a\u{1b}.com", "a\n", "x y.com", "<b>.com", "a.com:1", "javascript://a.com", "1.2.3.4"] {
        let message = Host::parse(input, PublicOnly).expect_err(input).to_string();
        assert!(message.len() < 200 && !message.chars().any(char::is_control), "{message}");
    }
}

proptest! {
    #[test]
    fn what_is_accepted_is_a_fixed_point_and_agrees_with_a_url_parser(input in "[a-zA-Z0-9.:/@?#\\[\\]x-]{0,24}") {
        for policy in [PublicOnly, AllowPrivate] {
            if let Ok(host) = Host::parse(&input, policy) {
                prop_assert_eq!(Host::parse(&host.origin(), policy), Ok(host.clone()));
                prop_assert_eq!(Host::from_key(host.as_str(), host.scheme()), Ok(host.clone()));
                let url = url::Url::parse(&host.origin()).expect("an origin is a URL");
                prop_assert_eq!(url.host_str(), Some(host.name()));
                prop_assert_eq!(url.port_or_known_default(), Some(host.port()));
            }
        }
    }
}
