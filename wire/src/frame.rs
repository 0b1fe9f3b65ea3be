//! The frame: what one MQTT message from a node with our firmware carries, an asset's readings or one waveform block.

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
    #[serde(borrow, deserialize_with = "cbor::sequence")]
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
    /// More channels than [`MAX_FRAME_CHANNELS`].
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
            Self::Channels(n) => write!(f, "{n} channels are more than the limit of {MAX_FRAME_CHANNELS}"),
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
        let frame: Self = cbor::decode(bytes, MAX_FRAME).map_err(FrameError::Cbor)?;
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
                    || w.samples.len() % 2 != 0
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
