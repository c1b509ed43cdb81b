//! SHA-256 of a whole message at once, without the buffer and the state that a message in pieces needs.
//!
//! Most messages are a few hundred bytes or a tree's key: then these cost as much as the hashing itself.

use sha2::block_api::compress256;

pub(super) const DIGEST_LEN: usize = 32;
const BLOCK_LEN: usize = 64;
/// At the end of a message stands its length in bits, in so many bytes.
const LENGTH_LEN: usize = 8;
/// What FIPS 180-4 begins with.
const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The digest of a message.
pub(super) fn digest(message: &[u8]) -> [u8; DIGEST_LEN] {
    let (blocks, rest) = message.as_chunks();
    let mut state = INITIAL;
    compress256(&mut state, blocks);

    let mut end = [[0; BLOCK_LEN]; 2];
    let end_len = if rest.len() + 1 + LENGTH_LEN <= BLOCK_LEN { BLOCK_LEN } else { 2 * BLOCK_LEN };
    let bytes = end.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    bytes[rest.len()] = 0x80;
    bytes[end_len - LENGTH_LEN..end_len].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    compress256(&mut state, &end[..end_len / BLOCK_LEN]);

    let mut digest = [0; DIGEST_LEN];
    for (to, from) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *to = from.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn messages_of_every_length_have_the_digest_that_they_have_in_pieces() {
        let bytes: Vec<u8> = (0..1000).map(|n| (n * 7) as u8).collect();
        for len in 0..=bytes.len() {
            let mut pieces = Sha256::new();
            bytes[..len].chunks(50).for_each(|piece| pieces.update(piece));
            assert_eq!(digest(&bytes[..len])[..], pieces.finalize()[..], "{len} bytes");
        }
    }
}
