//! Public keys and signatures: <https://atproto.com/specs/cryptography>.
//!
//! Owns the two curves of the protocol and the forms in which DID documents name keys; who owns a key is
//! identity's to know. Invariant: no signature with a high S is ever accepted.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use multibase::Base;
use sha2::{Digest, Sha256};

const PREFIX_K256: [u8; 2] = [0xe7, 0x01];
const PREFIX_P256: [u8; 2] = [0x80, 0x24];
/// A base58 text of more characters than any key needs is not worth the decoding, whose cost is quadratic.
const MAX_MULTIBASE_CHARS: usize = 128;

/// Half the order of each curve's group: the greatest S that is low.
const MAX_S_K256: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];
const MAX_S_P256: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// An account's signing key.
#[derive(Clone)]
pub struct PublicKey(Curve);

#[derive(Clone)]
enum Curve {
    K256(secp256k1::PublicKey),
    P256 { compressed: [u8; 33], parsed: Box<ParsedPublicKey> },
}

/// Text that does not name a public key that the protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `did:key:`, not base58 after a `z`, or too long.
    #[error("not a key in base58 multibase form")]
    Encoding,
    /// A key of another kind than K-256 and P-256.
    #[error("key type is not supported")]
    UnsupportedType,
    /// Bytes that are no point of the curve.
    #[error("not a point of the curve")]
    Point,
}

impl KeyError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            KeyError::Encoding => "key_encoding",
            KeyError::UnsupportedType => "key_type",
            KeyError::Point => "key_point",
        }
    }
}

/// A signature that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not 64 bytes (DER for instance).
    #[error("signature is not 64 bytes")]
    Length,
    /// The second half is above half the curve's order.
    #[error("signature has a high S")]
    HighS,
    /// It was not made with this key over this message.
    #[error("signature does not match")]
    Mismatch,
}

impl SignatureError {
    /// A bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            SignatureError::Length => "signature_length",
            SignatureError::HighS => "signature_high_s",
            SignatureError::Mismatch => "signature_mismatch",
        }
    }
}

impl PublicKey {
    /// Reads `did:key:z...`.
    pub fn from_did_key(text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::from_multikey(text.strip_prefix("did:key:").ok_or(KeyError::Encoding)?)
    }

    /// Reads a `publicKeyMultibase` of type Multikey: a compressed point behind its multicodec prefix.
    pub fn from_multikey(multibase: &str) -> Result<PublicKey, KeyError> {
        let bytes = decode_base58(multibase)?;
        match bytes.split_first_chunk() {
            Some((&PREFIX_K256, point)) if point.len() == 33 => PublicKey::k256(point),
            Some((&PREFIX_P256, point)) if point.len() == 33 => PublicKey::p256(point),
            Some((&PREFIX_K256 | &PREFIX_P256, _)) => Err(KeyError::Point),
            _ => Err(KeyError::UnsupportedType),
        }
    }

    /// Reads a `publicKeyMultibase` of an older verification method `kind`: a bare point, compressed or not.
    pub fn from_legacy(kind: &str, multibase: &str) -> Result<PublicKey, KeyError> {
        let bytes = decode_base58(multibase)?;
        match kind {
            "EcdsaSecp256k1VerificationKey2019" => PublicKey::k256(&bytes),
            "EcdsaSecp256r1VerificationKey2019" => PublicKey::p256(&bytes),
            _ => Err(KeyError::UnsupportedType),
        }
    }

    /// The key as `did:key:z...`, by which it is stored.
    pub fn to_did_key(&self) -> String {
        let (prefix, point) = match &self.0 {
            Curve::K256(key) => (PREFIX_K256, key.serialize()),
            Curve::P256 { compressed, .. } => (PREFIX_P256, *compressed),
        };
        format!("did:key:z{}", Base::Base58Btc.encode([prefix.as_slice(), &point].concat()))
    }

    /// Checks a compact signature (64 bytes, low S) over the SHA-256 of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let compact: &[u8; 64] = signature.try_into().map_err(|_| SignatureError::Length)?;
        let (_, s) = compact.split_at(32);
        let max_s = match &self.0 {
            Curve::K256(_) => MAX_S_K256,
            Curve::P256 { .. } => MAX_S_P256,
        };
        if s > max_s.as_slice() {
            return Err(SignatureError::HighS);
        }
        let is_valid = match &self.0 {
            Curve::K256(key) => secp256k1::ecdsa::Signature::from_compact(compact).is_ok_and(|signature| {
                let digest = secp256k1::Message::from_digest(Sha256::digest(message).into());
                signature.verify(digest, key).is_ok()
            }),
            Curve::P256 { parsed, .. } => parsed.verify_sig(message, compact).is_ok(),
        };
        if is_valid { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    fn k256(point: &[u8]) -> Result<PublicKey, KeyError> {
        check_point_form(point)?;
        let key = secp256k1::PublicKey::from_slice(point).map_err(|_| KeyError::Point)?;
        Ok(PublicKey(Curve::K256(key)))
    }

    fn p256(point: &[u8]) -> Result<PublicKey, KeyError> {
        let compressed = check_point_form(point)?;
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::Point)?;
        Ok(PublicKey(Curve::P256 { compressed, parsed: Box::new(parsed) }))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        match (&self.0, &other.0) {
            (Curve::K256(ours), Curve::K256(theirs)) => ours == theirs,
            (Curve::P256 { compressed: ours, .. }, Curve::P256 { compressed: theirs, .. }) => ours == theirs,
            _ => false,
        }
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_did_key())
    }
}

fn decode_base58(multibase: &str) -> Result<Vec<u8>, KeyError> {
    let base58 = multibase.strip_prefix('z').filter(|rest| rest.len() <= MAX_MULTIBASE_CHARS);
    Base::Base58Btc.decode(base58.ok_or(KeyError::Encoding)?).map_err(|_| KeyError::Encoding)
}

/// Accepts the two forms of SEC 1 in use, compressed and uncompressed; gives the compressed one.
fn check_point_form(point: &[u8]) -> Result<[u8; 33], KeyError> {
    match point {
        [0x02 | 0x03, x @ ..] if x.len() == 32 => Ok(compressed(point[0], x)),
        [0x04, xy @ ..] if xy.len() == 64 => Ok(compressed(0x02 | xy[63] & 1, &xy[..32])),
        _ => Err(KeyError::Point),
    }
}

fn compressed(parity: u8, x: &[u8]) -> [u8; 33] {
    let mut point = [parity; 33];
    point[1..].copy_from_slice(x);
    point
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::model::SigningKey;
    use data_encoding::BASE64_NOPAD;

    fn vectors(file: &str) -> Vec<serde_json::Value> {
        serde_json::from_str(file).expect("a list")
    }

    #[test]
    fn signatures_are_judged_as_the_interop_vectors_say() {
        let vectors = vectors(include_str!("../../tests/interop/crypto/signature-fixtures.json"));
        assert!(vectors.len() >= 6);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().expect(name);
            let binary = |name: &str| BASE64_NOPAD.decode(text(name).as_bytes()).expect(name);
            let key = PublicKey::from_did_key(text("publicKeyDid")).expect("a key");
            let legacy = PublicKey::from_legacy(text("didDocSuite"), text("publicKeyMultibase"));
            assert_eq!(legacy, Ok(key.clone()));
            let verdict = key.verify(&binary("messageBase64"), &binary("signatureBase64"));
            assert_eq!(verdict.is_ok(), vector["validSignature"] == true, "{}", vector["comment"]);
            let is_tagged = |tag: &str| vector["tags"].as_array().expect("tags").iter().any(|t| t == tag);
            if is_tagged("high-s") {
                assert_eq!(verdict, Err(SignatureError::HighS));
            } else if is_tagged("der-encoded") {
                assert_eq!(verdict, Err(SignatureError::Length));
            }
        }
    }

    #[test]
    fn did_keys_survive_a_round_trip() {
        let files = [
            include_str!("../../tests/interop/crypto/w3c_didkey_K256.json"),
            include_str!("../../tests/interop/crypto/w3c_didkey_P256.json"),
        ];
        for vector in files.into_iter().flat_map(vectors) {
            let text = vector["publicDidKey"].as_str().expect("a did:key");
            assert_eq!(PublicKey::from_did_key(text).expect("a key").to_did_key(), text);
        }
    }

    #[test]
    fn private_keys_of_the_interop_vectors_have_their_public_keys() {
        for vector in vectors(include_str!("../../tests/interop/crypto/w3c_didkey_K256.json")) {
            let hex = vector["privateKeyBytesHex"].as_str().expect("hex");
            let secret = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex");
            let secret = secp256k1::SecretKey::from_secret_bytes(secret.try_into().expect("32 bytes"));
            let key = SigningKey::K256(secret.expect("a scalar"));
            assert_eq!(key.public().to_did_key(), vector["publicDidKey"].as_str().expect("a did:key"));
        }
    }

    #[test]
    fn uncompressed_points_of_older_documents_are_read() {
        for (key, kind) in [
            (SigningKey::k256(7), "EcdsaSecp256k1VerificationKey2019"),
            (SigningKey::p256(), "EcdsaSecp256r1VerificationKey2019"),
        ] {
            let point = match &key {
                SigningKey::K256(key) => key.public_key().serialize_uncompressed().to_vec(),
                SigningKey::P256(pair) => aws_lc_rs::signature::KeyPair::public_key(pair).as_ref().to_vec(),
            };
            let read = |point: &[u8]| PublicKey::from_legacy(kind, &format!("z{}", Base::Base58Btc.encode(point)));
            assert_eq!(read(&point), Ok(key.public()));
            assert_eq!(read(&point[..64]), Err(KeyError::Point));
            let mut off_curve = point.clone();
            off_curve[40] ^= 1;
            assert_eq!(read(&off_curve), Err(KeyError::Point));
            let mut hybrid = point.clone();
            hybrid[0] = 0x06 | point[64] & 1;
            assert_eq!(read(&hybrid), Err(KeyError::Point));
        }
    }

    #[test]
    fn only_the_signer_and_the_signed_message_pass() {
        for key in [SigningKey::k256(1), SigningKey::p256()] {
            let signature = key.sign(b"message");
            assert_eq!(key.public().verify(b"message", &signature), Ok(()));
            assert_eq!(key.public().verify(b"massage", &signature), Err(SignatureError::Mismatch));
            assert_eq!(SigningKey::k256(2).public().verify(b"message", &signature), Err(SignatureError::Mismatch));
            assert_eq!(SigningKey::p256().public().verify(b"message", &signature), Err(SignatureError::Mismatch));
            assert_eq!(key.public().verify(b"message", &[0; 64]), Err(SignatureError::Mismatch));
            assert_eq!(key.public().verify(b"message", &[]), Err(SignatureError::Length));
        }
    }

    #[test]
    fn what_names_no_key_is_refused() {
        assert_eq!(PublicKey::from_multikey("Q3sh"), Err(KeyError::Encoding));
        assert_eq!(PublicKey::from_multikey("z0"), Err(KeyError::Encoding));
        assert_eq!(PublicKey::from_multikey(""), Err(KeyError::Encoding));
        assert_eq!(PublicKey::from_multikey(&format!("z{}", "1".repeat(100_000))), Err(KeyError::Encoding));
        // An Ed25519 key.
        let ed25519 = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
        assert_eq!(PublicKey::from_multikey(ed25519), Err(KeyError::UnsupportedType));
        assert_eq!(PublicKey::from_legacy("Multikey", "z25z9"), Err(KeyError::UnsupportedType));
        assert_eq!(
            PublicKey::from_did_key("zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc"),
            Err(KeyError::Encoding)
        );
    }
}
