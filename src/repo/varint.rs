//! Unsigned varints as multiformats define them: <https://github.com/multiformats/unsigned-varint>.

/// The specification's limit: 63 bits.
const MAX_BYTES: usize = 9;

/// A varint that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    /// The bytes end within it.
    #[error("varint is cut short")]
    Truncated,
    /// It is longer than its value needs, or than nine bytes.
    #[error("varint is longer than allowed")]
    Overlong,
}

/// Reads the varint that `bytes` begin with; gives its value and the bytes behind it.
pub fn split(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let is_minimal = byte != 0 || index == 0;
            let rest = bytes.get(index + 1..).ok_or(VarintError::Truncated)?;
            return if is_minimal { Ok((value, rest)) } else { Err(VarintError::Overlong) };
        }
    }
    Err(if bytes.len() < MAX_BYTES { VarintError::Truncated } else { VarintError::Overlong })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_what_follows() {
        assert_eq!(split(&[0x00]), Ok((0, &[][..])));
        assert_eq!(split(&[0x7f, 9]), Ok((127, &[9][..])));
        assert_eq!(split(&[0x80, 0x01]), Ok((128, &[][..])));
        assert_eq!(split(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Ok((u64::MAX >> 1, &[][..])));
    }

    #[test]
    fn truncated_and_overlong_varints_are_told_apart() {
        assert_eq!(split(&[]), Err(VarintError::Truncated));
        assert_eq!(split(&[0x80]), Err(VarintError::Truncated));
        assert_eq!(split(&[0x81, 0x00]), Err(VarintError::Overlong));
        assert_eq!(split(&[0xff; 9]), Err(VarintError::Overlong));
        assert_eq!(split(&[0xff; 20]), Err(VarintError::Overlong));
    }
}
