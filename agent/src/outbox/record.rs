//! An outbox record as it lies in the store: its Kafka key and its payload.
//!
//! Invariant: the payload is byte for byte what Kafka gets; nothing is encoded again on the way out.

use fettle_wire::Lane;

use super::index;
use crate::journal::Damage;

/// The key of a record: `o`, lane, sequence.
pub fn key(lane: Lane, sequence: u64) -> [u8; 10] {
    let mut key = [b'o'; 10];
    key[1] = index(lane) as u8;
    key[2..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// Lane and sequence in a key made by [`key`].
pub fn of_key(key: &[u8]) -> Option<(Lane, u64)> {
    let [b'o', lane, sequence @ ..] = key else { return None };
    Some((*Lane::ALL.get(usize::from(*lane))?, u64::from_be_bytes(sequence.try_into().ok()?)))
}

/// Joins Kafka key and payload: a length byte pair, the key, the payload.
pub fn encode(kafka_key: &str, payload: &str) -> Vec<u8> {
    let length = (kafka_key.len() as u16).to_le_bytes();
    [&length[..], kafka_key.as_bytes(), payload.as_bytes()].concat()
}

/// Takes apart what [`encode`] joined.
pub fn decode(bytes: &[u8]) -> Result<(&str, &[u8]), Damage> {
    let parse = || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (key, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        Some((std::str::from_utf8(key).ok()?, payload))
    };
    parse().ok_or_else(|| Damage::Content { key: "outbox record".to_owned(), why: "it is cut short".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        assert_eq!(decode(&encode("site/pump", "{}")), Ok(("site/pump", &b"{}"[..])));
        assert!(decode(&[9, 0, 1]).is_err());
        assert_eq!(of_key(&key(Lane::Ledger, 5)), Some((Lane::Ledger, 5)));
        assert!(key(Lane::Alerts, u64::MAX) < key(Lane::Health, 0));
    }
}
