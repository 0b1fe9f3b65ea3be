//! Journal entries and batches: their form on disk. Each kind has a version of its own.
//!
//! A batch is what one commit appends: a header, then entries as `kind u8, version u8, length, payload`. Lengths and
//! numbers are LEB128 varints (signed ones zigzag). A reader that meets an unknown kind or version stops: an entry that
//! is not understood cannot be skipped, because every later state depends on it.
//!
//! Between header and entries may stand one extension, with kind 0: lanes that are younger than the header. It is written
//! once such a lane has been used, so an older build reads a store that has none.

use fettle_wire::{Arrival, ClockQuality, Lane};

/// One MQTT message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The payload, undecoded: replay through another configuration starts from the same bytes.
    pub payload: bytes::Bytes,
    /// The broker marked it as sent again.
    pub redelivered: bool,
    /// It was larger than the configured limit: its size, where the payload was thrown away.
    pub oversize: Option<u64>,
}

/// A [`Message`] where it lies: applied from the journal's own bytes, because a recovery has millions of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// As in [`Message`].
    pub topic: &'a str,
    /// As in [`Message`].
    pub payload: &'a [u8],
    /// As in [`Message`].
    pub redelivered: bool,
    /// As in [`Message`].
    pub oversize: Option<u64>,
}

impl Message {
    /// The message where it lies.
    pub fn as_ref(&self) -> MessageRef<'_> {
        let Self { topic, payload, redelivered, oversize } = self;
        MessageRef { topic, payload, redelivered: *redelivered, oversize: *oversize }
    }
}

/// Messages as the journal has them, not yet taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMessages<'a>(&'a [u8]);

/// An entry as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<'a> {
    /// [`Entry::Messages`], nearly all there is: read in place.
    Messages {
        /// When.
        arrival: Arrival,
        /// In order of arrival.
        messages: StoredMessages<'a>,
    },
    /// Any other entry.
    Other(Entry),
}

impl Stored<'_> {
    /// When the entry reached the agent.
    pub fn arrival(&self) -> &Arrival {
        match self {
            Self::Messages { arrival, .. } => arrival,
            Self::Other(entry) => entry.arrival(),
        }
    }
}

/// Whatever can change an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Messages that were drained from the broker together.
    Messages {
        /// When.
        arrival: Arrival,
        /// In order of arrival.
        messages: Vec<Message>,
    },
    /// Time passed.
    Tick {
        /// To this instant.
        arrival: Arrival,
        /// Whether accounts are emitted now: recorded, because assets recover from snapshots of different age and each
        /// must come to the same answer.
        ledger: bool,
    },
    /// A record of `fettle.commands`.
    Command {
        /// When it reached the agent.
        arrival: Arrival,
        /// Partition it was read from.
        partition: i32,
        /// Its offset there.
        offset: i64,
        /// JSON of [`fettle_wire::Command`]; empty where only the offset moved.
        payload: Vec<u8>,
    },
    /// A configuration generation came into force.
    Generation {
        /// When.
        arrival: Arrival,
        /// JSON of [`crate::core::generation::Generation`].
        payload: Vec<u8>,
    },
    /// Something changed about releases.
    Release {
        /// When.
        arrival: Arrival,
        /// JSON of [`crate::release::Change`].
        payload: Vec<u8>,
    },
    /// A remote scorer answered or failed. Carried like [`Entry::Release`].
    RemoteScore {
        /// When.
        arrival: Arrival,
        /// Request id and score or failure.
        payload: Vec<u8>,
    },
    /// An operator or system labelled an asset's past. Carried like [`Entry::Release`]; what happens to machines comes as
    /// messages and commands and is journaled as these.
    Label {
        /// When.
        arrival: Arrival,
        /// The label.
        payload: Vec<u8>,
    },
}

/// What a batch says beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Arrival of the newest entry.
    pub arrival: Arrival,
    /// Replay must begin at this batch number (J4).
    pub replay_from: u64,
    /// Next sequence of each outbox lane after this batch, in the order of [`fettle_wire::Lane::ALL`].
    pub lanes: [u64; Lane::ALL.len()],
    /// Next dead letter number after this batch.
    pub dead: u64,
    /// Bytes of all batches ever appended before this one: the difference of two is the size between them.
    pub position: u64,
}

/// Why bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The bytes end too early or a number is out of range.
    #[error("the batch is cut short or has a number out of range")]
    Truncated,
    /// A kind or version this build does not know.
    #[error("entry kind {kind} version {version} is not known; run the version of fettle-agent that wrote it")]
    Unknown {
        /// The kind.
        kind: u8,
        /// The version.
        version: u8,
    },
}

const MESSAGES: u8 = 1;
const TICK: u8 = 2;
const COMMAND: u8 = 3;
const GENERATION: u8 = 4;
const RELEASE: u8 = 5;
const REMOTE_SCORE: u8 = 6;
const LABEL: u8 = 7;
const VERSION: u8 = 1;
/// Stands where an entry's kind would.
const EXTENSION: u8 = 0;
/// Lanes of which the header itself has the sequence.
const FIRST_LANES: usize = 3;

impl Entry {
    /// When the entry reached the agent.
    pub fn arrival(&self) -> &Arrival {
        match self {
            Self::Messages { arrival, .. }
            | Self::Tick { arrival, .. }
            | Self::Command { arrival, .. }
            | Self::Generation { arrival, .. }
            | Self::Release { arrival, .. }
            | Self::RemoteScore { arrival, .. }
            | Self::Label { arrival, .. } => arrival,
        }
    }

    /// Appends the entry's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        put_arrival(&mut body, self.arrival());
        let kind = match self {
            Self::Messages { messages, .. } => {
                put_messages(&mut body, messages);
                MESSAGES
            }
            Self::Tick { ledger, .. } => {
                body.push(u8::from(*ledger));
                TICK
            }
            Self::Command { partition, offset, payload, .. } => {
                put_signed(&mut body, i64::from(*partition));
                put_signed(&mut body, *offset);
                put_bytes(&mut body, payload);
                COMMAND
            }
            Self::Generation { payload, .. } => {
                put_bytes(&mut body, payload);
                GENERATION
            }
            Self::Release { payload, .. } => {
                put_bytes(&mut body, payload);
                RELEASE
            }
            Self::RemoteScore { payload, .. } => {
                put_bytes(&mut body, payload);
                REMOTE_SCORE
            }
            Self::Label { payload, .. } => {
                put_bytes(&mut body, payload);
                LABEL
            }
        };
        out.push(kind);
        out.push(VERSION);
        put_bytes(out, &body);
    }

    fn decode(kind: u8, arrival: Arrival, body: &mut &[u8]) -> Result<Self, EntryError> {
        Ok(match kind {
            TICK => Self::Tick { arrival, ledger: take(body)? != 0 },
            COMMAND => Self::Command {
                arrival,
                partition: i32::try_from(take_signed(body)?).map_err(|_| EntryError::Truncated)?,
                offset: take_signed(body)?,
                payload: take_bytes(body)?.to_vec(),
            },
            GENERATION => Self::Generation { arrival, payload: take_bytes(body)?.to_vec() },
            RELEASE => Self::Release { arrival, payload: take_bytes(body)?.to_vec() },
            REMOTE_SCORE => Self::RemoteScore { arrival, payload: take_bytes(body)?.to_vec() },
            _ => Self::Label { arrival, payload: take_bytes(body)?.to_vec() },
        })
    }
}

impl Header {
    /// Appends the header's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_arrival(out, &self.arrival);
        put(out, self.replay_from);
        self.lanes[..FIRST_LANES].iter().for_each(|n| put(out, *n));
        put(out, self.dead);
        put(out, self.position);
        if self.lanes[FIRST_LANES..].iter().any(|n| *n > 0) {
            let mut body = Vec::new();
            self.lanes[FIRST_LANES..].iter().for_each(|n| put(&mut body, *n));
            out.extend_from_slice(&[EXTENSION, VERSION]);
            put_bytes(out, &body);
        }
    }

    /// Reads a header from the front of a batch, leaving the entries.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, EntryError> {
        let mut header = Self { arrival: take_arrival(bytes)?, replay_from: take(bytes)?, ..Self::default() };
        for lane in &mut header.lanes[..FIRST_LANES] {
            *lane = take(bytes)?;
        }
        (header.dead, header.position) = (take(bytes)?, take(bytes)?);
        if let [EXTENSION, version, rest @ ..] = *bytes {
            if *version != VERSION {
                return Err(EntryError::Unknown { kind: EXTENSION, version: *version });
            }
            *bytes = rest;
            let mut body = take_bytes(bytes)?;
            for lane in &mut header.lanes[FIRST_LANES..] {
                *lane = take(&mut body)?;
            }
        }
        Ok(header)
    }
}

/// Reads the next entry of a batch; `None` at its end.
pub fn next_entry(bytes: &mut &[u8]) -> Result<Option<Entry>, EntryError> {
    Ok(match next_stored(bytes)? {
        None => None,
        Some(Stored::Other(entry)) => Some(entry),
        Some(Stored::Messages { arrival, messages: stored }) => {
            let mut messages = Vec::new();
            stored.each(&mut |message| {
                let MessageRef { topic, payload, redelivered, oversize } = message;
                let payload = bytes::Bytes::copy_from_slice(payload);
                messages.push(Message { topic: topic.to_owned(), payload, redelivered, oversize });
            })?;
            Some(Entry::Messages { arrival, messages })
        }
    })
}

/// As [`next_entry`], leaving messages where they lie.
pub fn next_stored<'a>(bytes: &mut &'a [u8]) -> Result<Option<Stored<'a>>, EntryError> {
    let [kind, version, rest @ ..] = *bytes else {
        return if bytes.is_empty() { Ok(None) } else { Err(EntryError::Truncated) };
    };
    let (kind, version) = (*kind, *version);
    *bytes = rest;
    let mut body = take_bytes(bytes)?;
    if version != VERSION || !(MESSAGES..=LABEL).contains(&kind) {
        return Err(EntryError::Unknown { kind, version });
    }
    let arrival = take_arrival(&mut body)?;
    Ok(Some(match kind {
        MESSAGES => Stored::Messages { arrival, messages: StoredMessages(body) },
        _ => Stored::Other(Entry::decode(kind, arrival, &mut body)?),
    }))
}

/// Messages of one batch often share topics: each is a back-reference (index + 1), or 0 and the text.
fn put_messages(out: &mut Vec<u8>, messages: &[Message]) {
    put(out, messages.len() as u64);
    let mut topics: std::collections::HashMap<&str, u64> = std::collections::HashMap::new();
    for message in messages {
        let next = topics.len() as u64 + 1;
        match topics.get(message.topic.as_str()) {
            Some(index) => put(out, *index),
            None => {
                put(out, 0);
                put_bytes(out, message.topic.as_bytes());
                topics.insert(&message.topic, next);
            }
        }
        out.push(u8::from(message.redelivered) | u8::from(message.oversize.is_some()) << 1);
        match message.oversize {
            Some(size) => put(out, size),
            None => put_bytes(out, &message.payload),
        }
    }
}

impl<'a> StoredMessages<'a> {
    /// Shows each message in order.
    pub fn each(self, visit: &mut dyn FnMut(MessageRef<'a>)) -> Result<(), EntryError> {
        let mut bytes = self.0;
        let count = take(&mut bytes)?;
        let mut topics: Vec<&str> = Vec::new();
        for _ in 0..count {
            let reference = take(&mut bytes)?;
            let topic = if reference == 0 {
                let text = std::str::from_utf8(take_bytes(&mut bytes)?).map_err(|_| EntryError::Truncated)?;
                topics.push(text);
                text
            } else {
                usize::try_from(reference - 1).ok().and_then(|i| topics.get(i)).ok_or(EntryError::Truncated)?
            };
            let [flags, rest @ ..] = bytes else { return Err(EntryError::Truncated) };
            bytes = rest;
            let (payload, oversize) = match flags & 2 {
                0 => (take_bytes(&mut bytes)?, None),
                _ => (&[][..], Some(take(&mut bytes)?)),
            };
            visit(MessageRef { topic, payload, redelivered: flags & 1 != 0, oversize });
        }
        Ok(())
    }
}

fn put_arrival(out: &mut Vec<u8>, arrival: &Arrival) {
    put_signed(out, arrival.wall);
    put(out, arrival.monotonic);
    out.push(match arrival.quality {
        ClockQuality::Synced => 0,
        ClockQuality::FreeRunning => 1,
        ClockQuality::Unknown => 2,
    });
}

fn take_arrival(bytes: &mut &[u8]) -> Result<Arrival, EntryError> {
    let (wall, monotonic) = (take_signed(bytes)?, take(bytes)?);
    let [quality, rest @ ..] = *bytes else { return Err(EntryError::Truncated) };
    *bytes = rest;
    let quality = match quality {
        0 => ClockQuality::Synced,
        1 => ClockQuality::FreeRunning,
        2 => ClockQuality::Unknown,
        _ => return Err(EntryError::Truncated),
    };
    Ok(Arrival { wall, monotonic, quality })
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, (number.wrapping_shl(1) ^ (number >> 63)) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take(bytes: &mut &[u8]) -> Result<u64, EntryError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte, rest @ ..] = *bytes else { return Err(EntryError::Truncated) };
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(EntryError::Truncated);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(EntryError::Truncated)
}

fn take_signed(bytes: &mut &[u8]) -> Result<i64, EntryError> {
    let number = take(bytes)?;
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], EntryError> {
    let length = usize::try_from(take(bytes)?).map_err(|_| EntryError::Truncated)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(EntryError::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arrivals() -> impl Strategy<Value = Arrival> {
        (any::<i64>(), any::<u64>(), 0..3u8).prop_map(|(wall, monotonic, q)| Arrival {
            wall,
            monotonic,
            quality: [ClockQuality::Synced, ClockQuality::FreeRunning, ClockQuality::Unknown][usize::from(q)],
        })
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let message =
            ("[a-c]{1,3}", proptest::collection::vec(any::<u8>(), 0..40), any::<bool>(), any::<Option<u64>>())
                .prop_map(|(topic, payload, redelivered, oversize)| {
                    let payload = if oversize.is_some() { bytes::Bytes::new() } else { payload.into() };
                    Message { topic, payload, redelivered, oversize }
                });
        let payload = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (arrivals(), proptest::collection::vec(message, 0..8))
                .prop_map(|(arrival, messages)| Entry::Messages { arrival, messages }),
            (arrivals(), any::<bool>()).prop_map(|(arrival, ledger)| Entry::Tick { arrival, ledger }),
            (arrivals(), any::<i32>(), any::<i64>(), payload()).prop_map(|(arrival, partition, offset, payload)| {
                Entry::Command { arrival, partition, offset, payload }
            }),
            (arrivals(), payload()).prop_map(|(arrival, payload)| Entry::Generation { arrival, payload }),
            (arrivals(), payload()).prop_map(|(arrival, payload)| Entry::Release { arrival, payload }),
            (arrivals(), payload()).prop_map(|(arrival, payload)| Entry::RemoteScore { arrival, payload }),
            (arrivals(), payload()).prop_map(|(arrival, payload)| Entry::Label { arrival, payload }),
        ]
    }

    fn decode_all(mut bytes: &[u8]) -> Result<(Header, Vec<Entry>), EntryError> {
        let header = Header::decode(&mut bytes)?;
        let mut entries = Vec::new();
        while let Some(entry) = next_entry(&mut bytes)? {
            entries.push(entry);
        }
        Ok((header, entries))
    }

    proptest! {
        #[test]
        fn a_batch_reads_back_as_written(
            arrival in arrivals(), numbers in any::<[u64; 7]>(), entries in proptest::collection::vec(entries(), 0..6)
        ) {
            let [replay_from, a, b, c, d, dead, position] = numbers;
            let header = Header { arrival, replay_from, lanes: [a, b, c, d], dead, position };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            entries.iter().for_each(|e| e.encode(&mut bytes));
            prop_assert_eq!(decode_all(&bytes), Ok((header, entries)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&bytes);
        }
    }

    #[test]
    fn a_header_without_younger_lanes_is_the_one_that_older_builds_read() {
        let mut older = Vec::new();
        put_arrival(&mut older, &Arrival::default());
        [1, 2, 3, 4, 5, 6].into_iter().for_each(|n| put(&mut older, n));
        let mut bytes = Vec::new();
        let header = Header { replay_from: 1, lanes: [2, 3, 4, 0], dead: 5, position: 6, ..Header::default() };
        header.encode(&mut bytes);
        assert_eq!(bytes, older);
        assert_eq!(Header::decode(&mut &older[..]), Ok(header));
        let mut younger = Vec::new();
        Header { lanes: [2, 3, 4, 9], ..header }.encode(&mut younger);
        assert_eq!(younger[older.len()..], [EXTENSION, VERSION, 1, 9]);
        younger[older.len() + 1] = 9;
        assert_eq!(Header::decode(&mut &younger[..]), Err(EntryError::Unknown { kind: EXTENSION, version: 9 }));
    }

    #[test]
    fn an_unknown_kind_stops_the_reader() {
        assert_eq!(next_entry(&mut &[99, 1, 0][..]), Err(EntryError::Unknown { kind: 99, version: 1 }));
        assert_eq!(next_entry(&mut &[1, 9, 0][..]), Err(EntryError::Unknown { kind: 1, version: 9 }));
    }
}
