//! Any lines of X-Forwarded-For: an untrusted peer is the client, and nothing that stands further left than an untrusted address counts.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use signpost::api::fuzzing::client_address;
use signpost::syntax::{AddressBlock, Domain};

fuzz_target!(|input: (u8, String, String)| {
    let (last, line, block) = input;
    if let Ok(block) = AddressBlock::parse(&block) {
        assert!(block.contains(block.first()));
        assert_eq!(AddressBlock::parse(&block.to_string()).as_ref(), Ok(&block));
    }
    if let Ok(domain) = Domain::parse(&block) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
    }
    let trusted =
        [AddressBlock::parse("127.0.0.0/8").expect("valid"), AddressBlock::parse("10.0.0.0/8").expect("valid")];
    let is_trusted = |address: IpAddr| trusted.iter().any(|block| block.contains(address));
    let (proxy, stranger) =
        (IpAddr::from(Ipv4Addr::new(127, 0, 0, last)), IpAddr::from(Ipv4Addr::new(198, 51, 100, last)));
    let Some(client) = client_address(proxy, &[&line], &trusted) else { return };
    assert_eq!(client, client.to_canonical());
    assert_eq!(client_address(stranger, &[&line], &trusted), Some(stranger));
    assert_eq!(client_address(proxy, &[], &trusted), Some(proxy));
    // Two lines are one, joined by a comma.
    if let Some((left, right)) = line.split_once(',') {
        assert_eq!(client_address(proxy, &[left, right], &trusted), Some(client));
    }
    if !is_trusted(client) {
        let spoofed = format!("203.0.113.7,10.0.0.1,{line}");
        assert_eq!(client_address(proxy, &[&spoofed], &trusted), Some(client));
    }
    let appended = format!("{line},{stranger}");
    assert_eq!(client_address(proxy, &[&appended], &trusted), Some(stranger));
});
