//! Blocks of IP addresses (CIDR), as an operator names the proxies to be trusted.

use std::fmt;
use std::net::IpAddr;

use super::SyntaxError;

/// An address and how many of its leading bits count. An IPv4-mapped IPv6 address is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock {
    first: IpAddr,
    prefix: u8,
}

impl AddressBlock {
    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or a single address.
    pub fn parse(text: &str) -> Result<AddressBlock, SyntaxError> {
        let fault = |rule| SyntaxError::new(text, "an address block", rule);
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().map_err(|_| fault("it is an IP address, perhaps with /bits behind it"))?;
        let address = given.to_canonical();
        let bits = width(address);
        let prefix = match prefix {
            None => bits,
            // `u8::from_str` would take a plus sign.
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                let mapped = width(given) - bits;
                let prefix: Option<u8> = prefix.parse().ok();
                prefix
                    .and_then(|prefix| prefix.checked_sub(mapped))
                    .filter(|prefix| *prefix <= bits)
                    .ok_or_else(|| fault("it has no more bits than an address"))?
            }
            Some(_) => return Err(fault("the bits behind the slash are a number")),
        };
        Ok(AddressBlock { first: masked(address, prefix), prefix })
    }

    /// The block of this many leading bits that an address lies in.
    pub fn around(address: IpAddr, ipv4_bits: u8, ipv6_bits: u8) -> AddressBlock {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { ipv4_bits } else { ipv6_bits };
        AddressBlock { first: masked(address, prefix), prefix }
    }

    /// Whether an address lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.prefix) == self.first
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let host_bits = 32 - u32::from(prefix);
            IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            let host_bits = 128 - u32::from(prefix);
            IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_its_leading_bits() {
        let cases = [
            ("127.0.0.0/8", "127.255.0.1", "128.0.0.1"),
            ("127.9.9.9/8", "127.0.0.1", "::1"),
            ("0.0.0.0/0", "203.0.113.9", "::"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("::1", "::1", "::2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ];
        for (block, inside, outside) in cases {
            let block = AddressBlock::parse(block).expect(block);
            assert!(block.contains(inside.parse().expect("an address")), "{block} {inside}");
            assert!(!block.contains(outside.parse().expect("an address")), "{block} {outside}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "::/129", "::1/+8", "10.0.0.0/-1", "localhost"] {
            assert!(AddressBlock::parse(text).is_err(), "{text}");
        }
        assert!(AddressBlock::parse("::ffff:10.0.0.0/8").is_err(), "a mapped block has at least 96 bits");
    }
}
