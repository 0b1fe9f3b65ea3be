//! JSON for what people, Flink SQL and dashboards read: everything on Kafka except updates and releases.
//!
//! Invariants: no input panics; memory is bounded by the bytes that arrived (`tests/hostile.rs`); nesting ends at 128
//! levels where it is read and costs one byte a level where it is skipped; a finite float is read back to the last bit
//! (serde_json's `float_roundtrip`); a repeated field is an error.
//!
//! JSON has no NaN and no infinity: they are written as `null`, which no reader takes for a number. Whoever fills a
//! record keeps them out; the door (acquire) turns them away before anything is computed.
//!
//! Must never: decode into a dynamic value.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// The largest JSON record that is read, in bytes.
pub const MAX_JSON: usize = 1 << 20;

/// Why a text was not accepted.
#[derive(Debug)]
pub enum JsonError {
    /// More bytes than the limit: (length, limit).
    TooLarge(usize, usize),
    /// Not the JSON that was expected; the message has line and column.
    Malformed(serde_json::Error),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(length, limit) => write!(f, "{length} bytes are more than the limit of {limit}"),
            Self::Malformed(e) => write!(f, "malformed JSON: {e}"),
        }
    }
}

impl core::error::Error for JsonError {}

/// Encodes as compact JSON. Fails only for maps with non-text keys, which none of this crate's types has.
pub fn encode<T: Serialize>(value: &T) -> Result<String, JsonError> {
    serde_json::to_string(value).map_err(JsonError::Malformed)
}

/// Decodes at most [`MAX_JSON`] bytes.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, JsonError> {
    if bytes.len() > MAX_JSON {
        return Err(JsonError::TooLarge(bytes.len(), MAX_JSON));
    }
    serde_json::from_slice(bytes).map_err(JsonError::Malformed)
}

/// A record that is JSON but breaks a rule that its type cannot express.
pub(crate) fn violation(rule: &str) -> JsonError {
    JsonError::Malformed(serde::de::Error::custom(rule))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    #[test]
    fn a_finite_float_is_read_back_to_the_last_bit() {
        // A value that serde_json's default reader gets wrong by one unit in the last place.
        for value in [0.1 + 0.2, 5.0e-324, f64::MAX, 1.0 / 3.0, 31.245_270_191_439_438, -0.0] {
            let read: f64 = decode(encode(&value).unwrap().as_bytes()).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{value}");
        }
    }

    #[test]
    fn what_is_not_a_number_cannot_be_read_as_one() {
        assert_eq!(encode(&f64::NAN).unwrap(), "null");
        assert!(decode::<f64>(b"null").is_err());
        assert!(decode::<f64>(b"1e999").is_err());
        assert!(decode::<f64>(b"NaN").is_err());
    }

    #[test]
    fn a_byte_over_the_limit_is_refused_with_both_numbers() {
        let error = decode::<u8>(&vec![b' '; MAX_JSON + 1]).unwrap_err().to_string();
        assert_eq!(error, "1048577 bytes are more than the limit of 1048576");
    }

    #[test]
    fn an_error_names_the_place() {
        let error = decode::<u8>(b"[").unwrap_err().to_string();
        assert!(error.contains("line 1 column"), "{error}");
    }
}
