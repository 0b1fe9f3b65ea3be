//! CBOR (RFC 8949) through serde, in packed form: a field's key is its position, so fields may only be appended.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Why bytes were not accepted. The text names the place; a retry with the same bytes never helps.
#[derive(Debug)]
pub enum CborError {
    /// More bytes than the caller's limit: (length, limit).
    TooLarge(usize, usize),
    /// Not the CBOR that was expected.
    Malformed(serde_cbor::Error),
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(length, limit) => write!(f, "{length} bytes are more than the limit of {limit}"),
            Self::Malformed(e) => write!(f, "malformed CBOR: {e}"),
        }
    }
}

impl core::error::Error for CborError {}

/// Encodes in packed form. Fails only where a type cannot be CBOR at all, which none of this crate's types is.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CborError> {
    let mut bytes = Vec::new();
    let mut serializer = serde_cbor::Serializer::new(&mut bytes).packed_format();
    value.serialize(&mut serializer).map_err(CborError::Malformed)?;
    Ok(bytes)
}

/// Decodes at most `limit` bytes; trailing bytes are an error.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: usize) -> Result<T, CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLarge(bytes.len(), limit));
    }
    let mut deserializer = serde_cbor::Deserializer::from_slice(bytes);
    let value = T::deserialize(&mut deserializer).map_err(CborError::Malformed)?;
    deserializer.end().map_err(CborError::Malformed)?;
    Ok(value)
}

/// Reads a sequence without believing its announced length: memory grows with the elements that really arrive, so ten
/// bytes that announce a billion elements cost nothing. For `#[serde(deserialize_with = ..)]`.
pub fn sequence<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Unhinted<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Unhinted<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<T>, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = access.next_element()? {
                elements.push(element);
            }
            Ok(elements)
        }
    }
    deserializer.deserialize_seq(Unhinted(PhantomData))
}
