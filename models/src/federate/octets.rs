//! Bytes as CBOR byte strings, which cost their length and a head; serde alone would write a list of numbers.

use std::fmt;

use fettle_wire::record::Hex;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Any number of bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Octets(pub Vec<u8>);

/// Exactly `N` bytes: a hash, a key, a signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixed<const N: usize>(pub [u8; N]);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_bytes(Bytes)?;
        let wrong = |bytes: Vec<u8>| D::Error::custom(format_args!("{} bytes instead of {N}", bytes.len()));
        bytes.try_into().map(Self).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_wire::cbor;

    #[test]
    fn bytes_cost_their_length_and_a_head_and_come_back() {
        let octets = Octets((0..=255).collect());
        let encoded = cbor::encode(&octets).unwrap();
        assert_eq!(encoded.len(), 256 + 3);
        assert_eq!(cbor::decode::<Octets>(&encoded, 300).unwrap(), octets);
        let hash = Fixed([7u8; 32]);
        let encoded = cbor::encode(&hash).unwrap();
        assert_eq!(cbor::decode::<Fixed<32>>(&encoded, 64).unwrap(), hash);
        assert!(cbor::decode::<Fixed<31>>(&encoded, 64).is_err(), "another length");
        // A byte string that announces more than has come.
        assert!(cbor::decode::<Octets>(&[0x5b, 0, 0, 0, 1, 0, 0, 0, 0, 1], 64).is_err());
    }
}
