//! The frame: what one MQTT message from a node with our firmware carries, an asset's readings or one waveform block.
//!
//! A node encodes it, the agent journals its very bytes and decodes them, so decoding borrows from the message and is the
//! hottest code of this crate. [`Frame::decode`] checks structure and nothing else:
//! - F1: every reading's channel index and every flag's reading index lie inside their tables;
//! - F2: it carries readings or one waveform of one channel, never both and never neither;
//! - F3: `oldest <= sequence`;
//! - F4: at most [`MAX_FRAME`] bytes and [`MAX_FRAME_CHANNELS`] channels, and memory stays a small multiple of the bytes
//!   that arrived.
//!
//! What it leaves to the door (acquire), because one bad reading must cost only itself: names are unchecked, values,
//! scale and offset may be NaN or infinite, and `time + offset` may overflow (add with `checked_add`).
//!
//! Must never: allocate by an announced length, keep a reading back, or judge a time.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::cbor::{self, CborError};
use crate::time::{ClockQuality, Micros};

/// The largest frame, in bytes of its CBOR.
pub const MAX_FRAME: usize = 256 * 1024;
/// The most channels one frame can name.
pub const MAX_FRAME_CHANNELS: usize = 1024;

/// How far one reading may be trusted, as its node judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Nothing speaks against it.
    #[default]
    Good,
    /// Usable with doubt (sensor warming up, near its range's end).
    Uncertain,
    /// Not usable; it is counted and not folded.
    Bad,
}

/// One scalar sample inside a frame: (index into [`Frame::channels`], microseconds after [`Frame::time`], value in the
/// channel's unit).
pub type FrameReading = (u16, i64, f64);

/// A block of equally spaced samples. The sample `i` was taken `i / rate` seconds after the frame's time and has the
/// value `i16le(samples[2i..]) * scale + offset` in the channel's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waveform<'a> {
    /// Samples per second.
    pub rate: f64,
    /// Unit per count.
    pub scale: f64,
    /// Value of count 0.
    pub offset: f64,
    /// 16-bit little-endian counts.
    #[serde(borrow, with = "bytes")]
    pub samples: &'a [u8],
}

mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};
    pub(super) fn serialize<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de [u8], D::Error> {
        Deserialize::deserialize(deserializer)
    }
}

/// What one MQTT message carries. Field order is the wire format: append only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame<'a> {
    /// Schema version.
    pub version: u8,
    /// Random number drawn by the node at each boot; sequences count within it.
    pub boot: u64,
    /// Number of this frame within the boot, from 0, over readings and waveforms together.
    pub sequence: u64,
    /// The lowest sequence of this boot that the node still holds. What lies below and was not received is missing.
    pub oldest: u64,
    /// UTC of the frame; absent where the node has no real-time clock.
    pub time: Option<Micros>,
    /// Microseconds since the node's boot at the same instant as `time`.
    pub uptime: u64,
    /// How far `time` may be trusted.
    pub clock: ClockQuality,
    /// The channels that the readings (or the waveform: exactly one) belong to.
    #[serde(borrow, deserialize_with = "cbor::sequence_up_to::<MAX_FRAME_CHANNELS, _, _>")]
    pub channels: Vec<&'a str>,
    /// Scalar samples in the order they were taken.
    #[serde(default, deserialize_with = "cbor::sequence")]
    pub readings: Vec<FrameReading>,
    /// (index into `readings`, quality) for each reading that is not [`Quality::Good`].
    #[serde(default, deserialize_with = "cbor::sequence")]
    pub flags: Vec<(u32, Quality)>,
    /// One waveform block, on the waveform topic only.
    #[serde(default, borrow)]
    pub waveform: Option<Waveform<'a>>,
}

/// Why a frame was not accepted.
#[derive(Debug)]
pub enum FrameError {
    /// Not a frame's CBOR.
    Cbor(CborError),
    /// Written by a schema too far from this build's.
    Version(u8),
    /// More channels than [`MAX_FRAME_CHANNELS`]; counted up to one above it.
    Channels(usize),
    /// A reading or flag points outside its table: (what, index).
    Index(&'static str, usize),
    /// Neither readings nor a waveform, or both.
    Empty,
    /// `oldest` lies above `sequence`.
    Oldest,
    /// A waveform with an odd number of bytes, a rate that is not positive and finite, or not exactly one channel.
    Waveform,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cbor(e) => e.fmt(f),
            Self::Version(v) => write!(f, "schema version {v} is not within one of {}", crate::SCHEMA_VERSION),
            Self::Channels(n) => write!(f, "{n} or more channels are above the limit of {MAX_FRAME_CHANNELS}"),
            Self::Index(what, i) => write!(f, "a {what} points at index {i}, which does not exist"),
            Self::Empty => write!(f, "a frame carries either readings or one waveform"),
            Self::Oldest => write!(f, "the oldest kept sequence lies above the frame's own"),
            Self::Waveform => {
                write!(f, "a waveform has one channel, a positive finite rate and an even number of sample bytes")
            }
        }
    }
}

impl core::error::Error for FrameError {}

impl<'a> Frame<'a> {
    /// Encodes the frame.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Decodes and checks structure: indices lie inside their tables. Values may still be non-finite and names
    /// unchecked; the door (acquire) rejects those reading by reading, so that one bad reading costs only itself.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let frame: Self = match cbor::decode(bytes, MAX_FRAME) {
            Ok(frame) => frame,
            // A schema of the far future may have changed any field but the first.
            Err(e @ CborError::Malformed(_)) => match cbor::version_of(bytes) {
                Some(version) if !crate::accepts_version(version) => return Err(FrameError::Version(version)),
                _ => return Err(FrameError::Cbor(e)),
            },
            Err(e) => return Err(FrameError::Cbor(e)),
        };
        if !crate::accepts_version(frame.version) {
            return Err(FrameError::Version(frame.version));
        }
        if frame.channels.len() > MAX_FRAME_CHANNELS {
            return Err(FrameError::Channels(frame.channels.len()));
        }
        if let Some(reading) = frame.readings.iter().find(|r| usize::from(r.0) >= frame.channels.len()) {
            return Err(FrameError::Index("reading", usize::from(reading.0)));
        }
        if let Some(flag) = frame.flags.iter().find(|f| f.0 as usize >= frame.readings.len()) {
            return Err(FrameError::Index("flag", flag.0 as usize));
        }
        if frame.oldest > frame.sequence {
            return Err(FrameError::Oldest);
        }
        match &frame.waveform {
            None if frame.readings.is_empty() => Err(FrameError::Empty),
            Some(_) if !frame.readings.is_empty() => Err(FrameError::Empty),
            Some(w)
                if frame.channels.len() != 1
                    || !(w.rate > 0.0 && w.rate.is_finite())
                    || !w.samples.len().is_multiple_of(2)
                    || w.samples.is_empty() =>
            {
                Err(FrameError::Waveform)
            }
            _ => Ok(frame),
        }
    }

    /// How many readings the frame counts for in the ledger: its readings, or one for a waveform block.
    pub fn weight(&self) -> u64 {
        if self.waveform.is_some() { 1 } else { self.readings.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn readings() -> Frame<'static> {
        Frame {
            version: crate::SCHEMA_VERSION,
            boot: 7,
            sequence: 3,
            oldest: 1,
            time: Some(1_795_254_314_000_000),
            uptime: 60_000_000,
            clock: ClockQuality::Synced,
            channels: vec!["temperature", "speed"],
            readings: vec![(0, 0, 70.5), (1, 10, 1480.0), (0, 1_000_000, 70.25)],
            flags: vec![(2, Quality::Uncertain)],
            waveform: None,
        }
    }

    fn waveform() -> Frame<'static> {
        Frame {
            channels: vec!["vibration"],
            readings: vec![],
            flags: vec![],
            waveform: Some(Waveform { rate: 25_600.0, scale: 0.001, offset: 0.0, samples: &[1, 0, 255, 255] }),
            ..readings()
        }
    }

    /// What decoding makes of the frame once it was encoded.
    fn verdict(frame: &Frame<'_>) -> Option<FrameError> {
        Frame::decode(&frame.encode().unwrap()).err()
    }

    #[test]
    fn both_kinds_of_frame_are_read_back_and_weighed() {
        for (frame, weight) in [(readings(), 3), (waveform(), 1)] {
            let bytes = frame.encode().unwrap();
            let read = Frame::decode(&bytes).unwrap();
            assert_eq!(read, frame);
            assert_eq!(read.weight(), weight);
        }
    }

    #[test]
    fn an_index_outside_its_table_is_refused_f1() {
        let reading = Frame { readings: vec![(2, 0, 1.0)], flags: vec![], ..readings() };
        assert!(matches!(verdict(&reading), Some(FrameError::Index("reading", 2))));
        let flag = Frame { flags: vec![(3, Quality::Bad)], ..readings() };
        assert!(matches!(verdict(&flag), Some(FrameError::Index("flag", 3))));
    }

    #[test]
    fn a_frame_carries_readings_or_one_waveform_f2() {
        assert!(matches!(verdict(&Frame { readings: vec![], flags: vec![], ..readings() }), Some(FrameError::Empty)));
        assert!(matches!(verdict(&Frame { readings: vec![(0, 0, 1.0)], ..waveform() }), Some(FrameError::Empty)));
    }

    #[test]
    fn a_waveform_needs_one_channel_whole_samples_and_a_rate_f2() {
        let block = Waveform { rate: 1.0, scale: 1.0, offset: 0.0, samples: &[0, 0] };
        let with = |block| Frame { waveform: Some(block), ..waveform() };
        assert!(verdict(&with(block.clone())).is_none());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(verdict(&with(Waveform { rate, ..block.clone() })), Some(FrameError::Waveform)), "{rate}");
        }
        for samples in [&[][..], &[0], &[0, 0, 0]] {
            let odd = with(Waveform { samples, ..block.clone() });
            assert!(matches!(verdict(&odd), Some(FrameError::Waveform)), "{samples:?}");
        }
        for channels in [vec![], vec!["a", "b"]] {
            assert!(matches!(verdict(&Frame { channels, ..waveform() }), Some(FrameError::Waveform)));
        }
    }

    #[test]
    fn the_oldest_kept_sequence_is_not_above_the_frames_own_f3() {
        assert!(verdict(&Frame { oldest: 3, ..readings() }).is_none());
        assert!(matches!(verdict(&Frame { oldest: 4, ..readings() }), Some(FrameError::Oldest)));
    }

    #[test]
    fn too_many_bytes_and_too_many_channels_are_told_apart_f4() {
        assert!(verdict(&Frame { channels: vec!["a"; MAX_FRAME_CHANNELS], ..readings() }).is_none());
        let many = Frame { channels: vec!["a"; 2 * MAX_FRAME_CHANNELS], ..readings() };
        assert!(matches!(verdict(&many), Some(FrameError::Channels(n)) if n == MAX_FRAME_CHANNELS + 1));
        let large = vec![0; MAX_FRAME + 1];
        assert!(matches!(Frame::decode(&large), Err(FrameError::Cbor(CborError::TooLarge(..)))));
    }

    #[test]
    fn values_that_are_no_numbers_pass_because_the_door_judges_them_one_by_one() {
        let odd = Frame { readings: vec![(0, i64::MIN, f64::NAN), (1, i64::MAX, f64::INFINITY)], ..readings() };
        let bytes = Frame { flags: vec![], ..odd }.encode().unwrap();
        let read = Frame::decode(&bytes).unwrap();
        assert!(read.readings[0].2.is_nan() && read.readings[1].2.is_infinite());
        assert_eq!((read.readings[0].1, read.readings[1].1), (i64::MIN, i64::MAX));
    }

    #[test]
    fn a_frame_of_the_next_version_with_an_unknown_field_is_read() {
        let mut bytes = Frame { version: crate::SCHEMA_VERSION + 1, ..readings() }.encode().unwrap();
        // A map of 11 fields becomes one of 12; its last is 11: {"x": [-2^64, h'00']}, which even holds an integer that
        // no Rust integer of 64 bits could.
        assert_eq!(bytes[0], 0xab);
        bytes[0] = 0xac;
        bytes.extend([0x0b, 0xa1, 0x61, b'x', 0x82, 0x3b]);
        bytes.extend([0xff; 8]);
        bytes.extend([0x41, 0x00]);
        assert_eq!(Frame::decode(&bytes).unwrap(), Frame { version: crate::SCHEMA_VERSION + 1, ..readings() });
    }

    #[test]
    fn a_frame_of_the_version_after_next_is_refused_even_where_its_fields_changed() {
        let far = crate::SCHEMA_VERSION + 2;
        assert!(matches!(verdict(&Frame { version: far, ..readings() }), Some(FrameError::Version(v)) if v == far));
        // {0: 3, 1: "text"}: the boot became a text.
        let bytes = [0xa2, 0x00, far, 0x01, 0x64, b't', b'e', b'x', b't'];
        assert!(matches!(Frame::decode(&bytes), Err(FrameError::Version(v)) if v == far));
        let bytes = [0xa2, 0x00, crate::SCHEMA_VERSION, 0x01, 0x64, b't', b'e', b'x', b't'];
        assert!(matches!(Frame::decode(&bytes), Err(FrameError::Cbor(_))));
    }

    #[test]
    fn fields_that_an_older_version_lacks_have_their_default() {
        // {0: 1, 1: 7, 2: 3, 3: 0, 4: null, 5: 60, 6: 2, 7: ["a"], 8: [[0, 0, 1.0]]}
        let bytes = [
            0xa9, 0, 1, 1, 7, 2, 3, 3, 0, 4, 0xf6, 5, 0x18, 60, 6, 2, 7, 0x81, 0x61, b'a', 8, 0x81, 0x83, 0, 0, 0xf9,
            0x3c, 0,
        ];
        let read = Frame::decode(&bytes).unwrap();
        assert_eq!((read.time, read.clock), (None, ClockQuality::Unknown));
        assert_eq!((read.flags, read.waveform), (vec![], None));
    }
}
