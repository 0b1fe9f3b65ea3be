//! Seeded random numbers: an independent stream for each purpose, so that what one draws never changes another's.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is drawn for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Plan = 1,
    Network = 2,
    Disk = 3,
    Kafka = 4,
    Crash = 5,
    Watch = 6,
    Waveform = 7,
}

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut source = ChaCha8Rng::seed_from_u64(seed);
        source.set_stream(purpose as u64);
        Self(source)
    }

    /// Uniform in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// Uniform in `low..high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn hit(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A number that follows from its inputs alone: for sensor values, boot ids and hashes.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| {
        // The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
        let mut z = state ^ part.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// A number that stands for bytes.
pub(crate) fn mix_bytes(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(mix(&[bytes.len() as u64]), |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (state.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517C_C1B7_2722_0A95)
    })
}
