//! CBOR (RFC 8949) through serde, in packed form: a field's key is its position, so fields may only be appended.
//!
//! What nodes send over MQTT and what the agent answers is written here. A struct is a map whose keys are the fields'
//! positions; an enum is its variant's position; floats take the shortest width that keeps their value; NaN loses its
//! payload. A reader also takes a map keyed by the fields' names.
//!
//! Invariants, each held by a test:
//! - C1: no input panics. Nesting ends at 128 levels, in skipped fields as well.
//! - C2: memory is bounded by the bytes that arrived, never by a length they announce (`tests/hostile.rs` states the
//!   multiple). Every sequence inside a decoded type is therefore read by [`sequence`] or [`sequence_up_to`].
//! - C3: a field or a trailing byte that is not understood is never taken for one that is: unknown fields are skipped
//!   whole, a repeated field and trailing bytes are errors.
//!
//! Must never: decode into a dynamic value, or say anything about what the numbers mean (that is the types' part).

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
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

/// How many elements of an announced length are believed before any has arrived. Saves a frame of 100 readings five
/// growths and lets a liar have 3 KiB.
const BELIEVED: usize = 128;

/// Reads a sequence without believing its announced length: memory grows with the elements that really arrive, so ten
/// bytes that announce a billion elements cost a few KiB. For `#[serde(deserialize_with = ..)]`.
pub fn sequence<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    sequence_up_to::<{ usize::MAX }, D, T>(deserializer)
}

/// As [`sequence`], but keeps at most `LIMIT + 1` elements and skips the rest, so that the caller can tell a sequence
/// that is too long (its length exceeds `LIMIT`) without having paid for it.
pub fn sequence_up_to<'de, const LIMIT: usize, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<const LIMIT: usize, T>(PhantomData<T>);
    impl<'de, const LIMIT: usize, T: Deserialize<'de>> Visitor<'de> for Bounded<LIMIT, T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<T>, A::Error> {
            let mut elements = Vec::with_capacity(access.size_hint().unwrap_or(0).min(BELIEVED));
            while let Some(element) = access.next_element()? {
                elements.push(element);
                if elements.len() > LIMIT {
                    while access.next_element::<IgnoredAny>()?.is_some() {}
                    break;
                }
            }
            Ok(elements)
        }
    }
    deserializer.deserialize_seq(Bounded::<LIMIT, T>(PhantomData))
}

/// The schema version in the first field of a packed struct whose other fields may not be readable, for an error that
/// says "too new" rather than "malformed". `None` if even that is not there.
pub(crate) fn version_of(bytes: &[u8]) -> Option<u8> {
    #[derive(Deserialize)]
    struct First {
        version: u8,
    }
    decode::<First>(bytes, bytes.len()).ok().map(|first| first.version)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair {
        first: u8,
        #[serde(deserialize_with = "sequence_up_to::<3, _, _>")]
        second: Vec<u8>,
    }

    #[test]
    fn a_struct_is_a_map_keyed_by_position() {
        let bytes = encode(&Pair { first: 7, second: vec![1, 2] }).unwrap();
        // RFC 8949: a2 map of two, 00 07 first pair, 01 82 01 02 second pair.
        assert_eq!(bytes, [0xa2, 0x00, 0x07, 0x01, 0x82, 0x01, 0x02]);
        assert_eq!(decode::<Pair>(&bytes, 7).unwrap(), Pair { first: 7, second: vec![1, 2] });
    }

    #[test]
    fn fields_may_come_by_name_and_in_any_order() {
        let bytes = b"\xa2\x66second\x81\x01\x65first\x07";
        assert_eq!(decode::<Pair>(bytes, 64).unwrap(), Pair { first: 7, second: vec![1] });
    }

    #[test]
    fn a_byte_over_the_limit_is_refused_with_both_numbers() {
        let error = decode::<Pair>(&[0; 8], 7).unwrap_err().to_string();
        assert_eq!(error, "8 bytes are more than the limit of 7");
    }

    #[test]
    fn trailing_bytes_and_repeated_fields_are_errors() {
        assert!(decode::<Pair>(&[0xa2, 0x00, 0x07, 0x01, 0x80, 0x00], 64).is_err());
        assert!(decode::<Pair>(&[0xa3, 0x00, 0x07, 0x01, 0x80, 0x00, 0x07], 64).is_err());
    }

    #[test]
    fn a_sequence_that_is_too_long_is_cut_one_above_the_limit() {
        let read = decode::<Pair>(&[0xa2, 0x00, 0x07, 0x01, 0x86, 1, 2, 3, 4, 5, 6], 64).unwrap();
        assert_eq!(read.second, [1, 2, 3, 4]);
        // The same as an indefinite-length array.
        let read = decode::<Pair>(&[0xa2, 0x00, 0x07, 0x01, 0x9f, 1, 2, 3, 4, 5, 6, 0xff], 64).unwrap();
        assert_eq!(read.second, [1, 2, 3, 4]);
    }

    #[test]
    fn an_announced_length_without_elements_is_an_error() {
        // 9b ff.. announces 2^64 - 1 elements.
        let bytes = [0xa2, 0x00, 0x07, 0x01, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(decode::<Pair>(&bytes, 64).is_err());
    }

    #[test]
    fn the_version_is_found_in_front_of_fields_that_are_not_understood() {
        let frame = [0xa2, 0x00, 0x09, 0x01, 0x63, b'a', b'b', b'c'];
        assert!(decode::<Pair>(&frame, 64).is_err());
        assert_eq!(version_of(&frame), Some(9));
        assert_eq!(version_of(&frame[..6]), None);
    }
}
