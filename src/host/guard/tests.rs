//! The table of addresses, and the names that lead to them.

use super::*;
use HostPolicy::{AllowPrivate, PublicOnly};

fn may(text: &str, policy: HostPolicy) -> bool {
    may_dial(text.parse().expect(text), policy)
}

#[test]
fn public_addresses_may_be_dialled() {
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "99.255.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "203.0.114.0",
        "223.255.255.255",
        "2600::1",
        "2a00:1450:4001::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2c0f::1",
        "::ffff:8.8.8.8",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.194.0",
        "192.175.47.255",
        "192.175.49.0",
        "2001:200::",
        "2003::1",
        "2620:4f:7fff::1",
        "2620:4f:8001::1",
        "3ffe:ffff::1",
        "3fff:1000::1",
    ];
    for text in public {
        assert!(may(text, PublicOnly) && may(text, AllowPrivate), "{text}");
    }
}

#[test]
fn loopback_and_private_addresses_may_be_dialled_in_development_only() {
    let private = [
        "127.0.0.1",
        "127.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "::1",
        "fc00::",
        "fdff:ffff::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
    ];
    for text in private {
        assert!(!may(text, PublicOnly) && may(text, AllowPrivate), "{text}");
    }
}

#[test]
fn special_addresses_are_never_dialled() {
    let special = [
        "0.0.0.0",
        "0.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "192.0.0.1",
        "192.0.0.8",
        "192.0.0.9",
        "192.0.0.10",
        "192.0.0.170",
        "192.0.0.171",
        "192.31.196.1",
        "192.52.193.1",
        "192.175.48.1",
        "192.175.48.255",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::2",
        "::ffff:0.0.0.0",
        "::ffff:169.254.169.254",
        "::8.8.8.8",
        "::127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1:ffff::1",
        "100:0:0:1::1",
        "2001:1::1",
        "2001:1::2",
        "2001:3::1",
        "2001:4:112::1",
        "2001:30::1",
        "2002:808:808::1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "2620:4f:8000::1",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:0:1::808:808",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002:a9fe:a9fe::1",
        "2002::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "feff::1",
        "ff02::1",
        "ffff::1",
        "1::1",
    ];
    for text in special {
        assert!(!may(text, PublicOnly) && !may(text, AllowPrivate), "{text}");
    }
}

#[tokio::test]
async fn names_that_point_into_our_network_are_refused() {
    let guard = Guard::new(PublicOnly, Duration::from_secs(5));
    for name in ["localhost", "pds.localhost", "127.0.0.1", "[::1]", "169.254.169.254"] {
        let error = Guard::resolve(&guard, name, 443).await.expect_err(name);
        assert_eq!(error.reason(), "forbidden", "{name}: {error}");
    }
}

#[tokio::test]
async fn local_names_are_loopback_in_development() {
    let guard = Guard::new(AllowPrivate, Duration::from_secs(5));
    for name in ["localhost", "pds1.localhost"] {
        let found = Guard::resolve(&guard, name, 2583).await.expect(name);
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 2583));
    }
}

fn scripted(answer: &[&str]) -> Guard {
    let answer = answer.iter().map(|address| address.parse().expect("an address")).collect();
    let ours = "127.0.0.2".parse().expect("an address");
    Guard {
        scripted: Some(Arc::new(scripted::Dns::new([answer], ours))),
        ..Guard::new(PublicOnly, Duration::from_secs(5))
    }
}

#[tokio::test]
async fn one_answer_that_is_not_public_condemns_the_name() {
    let found = Guard::resolve(&scripted(&["8.8.8.8", "2600::1"]), "a.com", 443).await.expect("public");
    assert_eq!(found, ["8.8.8.8:443", "[2600::1]:443"].map(|address| address.parse().expect("an address")));
    let late = [&["8.8.8.8"; MAX_ADDRESSES][..], &["127.0.0.2"]].concat();
    for answer in [&["127.0.0.2"][..], &["8.8.8.8", "127.0.0.2"], &["127.0.0.2", "8.8.8.8"], &late] {
        let error = Guard::resolve(&scripted(answer), "a.com", 443).await.expect_err("ours");
        assert_eq!(error.to_string(), "not crawled: a.com is at 127.0.0.2, which is not a public address");
    }
    let nowhere = Guard::resolve(&scripted(&[]), "a.com", 443).await.expect_err("no address");
    assert_eq!(nowhere.reason(), "resolve");
}
