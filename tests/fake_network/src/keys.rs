//! Signing keys of both curves, derived from the network's seed so that a test replays, and the forms in which a DID
//! document can name them.

use k256::ecdsa::signature::Signer;
use sha2::{Digest, Sha256};

/// A curve that atproto allows for an account's signing key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256k1, what the reference PDS makes.
    #[default]
    K256,
    /// NIST P-256, also called secp256r1.
    P256,
}

/// Which of the two signatures (r, s) and (r, n - s) to give; atproto accepts only the low one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SForm {
    Low,
    High,
}

/// An account's signing key.
#[derive(Clone)]
pub struct SigningKey(Secret);

#[derive(Clone)]
enum Secret {
    K256(k256::ecdsa::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// The key of this seed and label; the same two always give the same key.
    pub fn derive(curve: Curve, seed: u64, label: &str) -> SigningKey {
        let mut hasher = Sha256::new();
        hasher.update(seed.to_be_bytes());
        hasher.update(label.as_bytes());
        let secret: [u8; 32] = hasher.finalize().into();
        const WHY: &str = "a SHA-256 is a valid scalar but for a chance of 2^-32 or less, and the seed is fixed";
        SigningKey(match curve {
            Curve::K256 => Secret::K256(k256::ecdsa::SigningKey::from_slice(&secret).expect(WHY)),
            Curve::P256 => Secret::P256(p256::ecdsa::SigningKey::from_slice(&secret).expect(WHY)),
        })
    }

    /// The curve that the key is on.
    pub fn curve(&self) -> Curve {
        match &self.0 {
            Secret::K256(_) => Curve::K256,
            Secret::P256(_) => Curve::P256,
        }
    }

    /// The signature over the message's SHA-256: 64 bytes, compact, low-S.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(message, SForm::Low)
    }

    pub(crate) fn sign_as(&self, message: &[u8], form: SForm) -> Vec<u8> {
        const WHY: &str = "r and -s of a valid signature are not zero";
        match &self.0 {
            Secret::K256(key) => {
                let signature: k256::ecdsa::Signature = key.sign(message);
                let low = signature.normalize_s().unwrap_or(signature);
                let high = || k256::ecdsa::Signature::from_scalars(low.r(), -low.s()).expect(WHY);
                if form == SForm::Low { low } else { high() }.to_vec()
            }
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                let low = signature.normalize_s().unwrap_or(signature);
                let high = || p256::ecdsa::Signature::from_scalars(low.r(), -low.s()).expect(WHY);
                if form == SForm::Low { low } else { high() }.to_vec()
            }
        }
    }

    /// The public key as a Multikey (`zQ3s..` or `zDna..`), as a DID document of today carries it.
    pub fn multikey(&self) -> String {
        let multicodec: [u8; 2] = match self.curve() {
            Curve::K256 => [0xe7, 0x01],
            Curve::P256 => [0x80, 0x24],
        };
        multibase::encode(multibase::Base::Base58Btc, [&multicodec[..], &self.point(true)].concat())
    }

    /// The public key as a `did:key`.
    pub fn did_key(&self) -> String {
        format!("did:key:{}", self.multikey())
    }

    /// The verification method type and the uncompressed point without multicodec prefix, as old DID documents have them.
    pub fn legacy_form(&self) -> (&'static str, String) {
        let kind = match self.curve() {
            Curve::K256 => "EcdsaSecp256k1VerificationKey2019",
            Curve::P256 => "EcdsaSecp256r1VerificationKey2019",
        };
        (kind, multibase::encode(multibase::Base::Base58Btc, self.point(false)))
    }

    fn point(&self, compress: bool) -> Vec<u8> {
        match &self.0 {
            Secret::K256(key) => key.verifying_key().to_encoded_point(compress).as_bytes().to_vec(),
            Secret::P256(key) => key.verifying_key().to_encoded_point(compress).as_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_key_and_another_label_another() {
        for curve in [Curve::K256, Curve::P256] {
            let key = |label| SigningKey::derive(curve, 7, label).did_key();
            assert_eq!(key("alice"), key("alice"));
            assert_ne!(key("alice"), key("bob"));
        }
    }

    #[test]
    fn a_multikey_begins_as_its_curve_demands() {
        assert!(SigningKey::derive(Curve::K256, 1, "a").multikey().starts_with("zQ3s"));
        assert!(SigningKey::derive(Curve::P256, 1, "a").multikey().starts_with("zDna"));
    }

    #[test]
    fn the_high_signature_differs_from_the_low_one_only_in_s() {
        for curve in [Curve::K256, Curve::P256] {
            let key = SigningKey::derive(curve, 3, "a");
            let (low, high) = (key.sign_as(b"m", SForm::Low), key.sign_as(b"m", SForm::High));
            assert_eq!(low[..32], high[..32]);
            assert!(low[32] < 0x80 && high[32] >= 0x7f, "low {:x} high {:x}", low[32], high[32]);
        }
    }
}
