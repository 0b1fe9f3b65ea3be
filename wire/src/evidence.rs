//! Evidence: one waveform block with its spectra, for a person who wants to see what the agent saw.
//!
//! On `fettle.evidence`, last out of the outbox and first to be thinned: once for each alarm that is raised on the asset,
//! and from time to time without one. An alarm does not wait for it and says all that must be known without it.
//!
//! Lane [`crate::Lane::Evidence`] is younger than the others. It travels on its own topic only, so a reader that does not
//! know it never meets it. Every number is finite; times are event time, units UCUM codes.
//!
//! Must never carry more than [`MAX_SAMPLES`] samples or [`MAX_POINTS`] points of a spectrum: a dashboard draws it whole.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cbor;
use crate::id::Name;
use crate::time::Micros;

/// The most samples of a block that are shown; of a longer one the last: 16 KiB in base64.
pub const MAX_SAMPLES: usize = 6_144;
/// The most points of a spectrum.
pub const MAX_POINTS: usize = 512;
/// The most lines that can be named.
const MAX_LINES: usize = 64;

/// Why the block is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// An alarm was raised on the asset.
    Alarm,
    /// It was time to show one.
    Periodic,
}

/// A spectrum: `values[i]` at `frequencies[i]` Hz, ascending.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Spectrum {
    /// Hz.
    #[serde(deserialize_with = "cbor::sequence_up_to::<MAX_POINTS, _, _>")]
    pub frequencies: Vec<f64>,
    /// As many, in the spectrum's own unit.
    #[serde(deserialize_with = "cbor::sequence_up_to::<MAX_POINTS, _, _>")]
    pub values: Vec<f64>,
}

/// One of the bearing's frequencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// `bpfo`, `bpfi`, `bsf`, `ftf`.
    pub name: String,
    /// Where it is expected at this speed, Hz.
    pub frequency: f64,
    /// How far it and its harmonics stand out of the noise, dB; absent where it cannot be resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
}

/// The body of a record on `fettle.evidence`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The asset.
    pub asset: Name,
    /// The channel.
    pub channel: Name,
    /// Event time of the first sample.
    pub time: Micros,
    /// Why it is shown.
    pub occasion: Occasion,
    /// The alarm's condition, for [`Occasion::Alarm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The alarm's occurrence, for [`Occasion::Alarm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<u64>,
    /// Samples per second.
    pub rate: f64,
    /// Unit of `count * scale + offset`, UCUM code.
    pub unit: String,
    /// Unit per count.
    pub scale: f64,
    /// Value of count 0.
    pub offset: f64,
    /// Counts, in JSON as base64 (RFC 4648, padded) of 16-bit little-endian.
    #[serde(with = "base64")]
    pub samples: Vec<u8>,
    /// RMS amplitudes in `unit`, over the logarithm of frequency.
    pub spectrum: Spectrum,
    /// RMS amplitudes of the squared envelope, in the square of `unit`.
    pub envelope: Spectrum,
    /// The band whose envelope it is: lowest and highest frequency, Hz.
    pub band: (f64, f64),
    /// Samples that the envelope rests on: more than are shown where blocks were joined.
    pub joined: u64,
    /// The bearing's frequencies; empty without geometry or speed.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "cbor::sequence_up_to::<MAX_LINES, _, _>"
    )]
    pub lines: Vec<Line>,
    /// Turns of the shaft a second that were used, Hz; absent where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Whether `speed` is the rated one, for want of a reading.
    #[serde(default)]
    pub speed_assumed: bool,
}

mod base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::{Deserialize, Deserializer, Serializer, String, Vec};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[derive(Serialize, Deserialize)]
    struct Only {
        #[serde(with = "base64")]
        samples: Vec<u8>,
    }

    #[test]
    fn samples_are_base64_as_rfc_4648_has_it() {
        // RFC 4648, section 10.
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let only = Only { samples: plain.as_bytes().to_vec() };
            let sent = json::encode(&only).unwrap();
            assert_eq!(sent, alloc::format!("{{\"samples\":\"{text}\"}}"));
            assert_eq!(json::decode::<Only>(sent.as_bytes()).unwrap().samples, plain.as_bytes());
        }
        assert!(json::decode::<Only>(b"{\"samples\":\"*\"}").is_err());
    }

    #[test]
    fn a_spectrum_of_too_many_points_keeps_no_more_memory_than_its_bound() {
        let long = alloc::vec![0.5; 4 * MAX_POINTS];
        let text = json::encode(&Spectrum { frequencies: long.clone(), values: long }).unwrap();
        let read = json::decode::<Spectrum>(text.as_bytes());
        assert!(read.is_err() || read.is_ok_and(|s| s.values.len() <= MAX_POINTS + 1));
    }
}
