//! A block as it arrives, whether it can be trusted, and the run of blocks it belongs to.
//!
//! Joining. Two blocks follow one another without a gap if they are of the same boot, rate, scale and offset, the later
//! one has the higher sequence, and it begins where the earlier one ended: by the node's uptime, which no clock adjustment
//! moves, to half a sample period (but at least the microsecond in which uptimes are counted). Frames of readings and of
//! other channels may lie between them in the sequence. Any gap starts anew, and so does a block that would make the run
//! longer than [`MAX_SAMPLES`]: the oldest blocks are then given up until it fits. A block older than the last one (a
//! frame sent again) is analysed alone and leaves the run as it is.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{MAX_SAMPLES, MIN_SAMPLES, RATES};

/// A block of equally spaced 16-bit samples. Sample `i` has the value `i16le(samples[2i..]) * scale + offset` in the
/// channel's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<'a> {
    /// Boot of the node.
    pub boot: u64,
    /// Sequence of the frame within the boot.
    pub sequence: u64,
    /// Microseconds since the node's boot at the first sample.
    pub uptime: u64,
    /// Samples per second.
    pub rate: f64,
    /// Unit per count.
    pub scale: f64,
    /// Value of count 0.
    pub offset: f64,
    /// 16-bit little-endian counts.
    pub samples: &'a [u8],
}

/// Why a block gives no indicator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Scale or offset is not finite.
    NotFinite,
    /// A scale or offset that no sensor has: beyond [`SCALES`].
    Scale,
    /// A rate outside [`RATES`].
    Rate,
    /// Fewer samples than [`MIN_SAMPLES`].
    Short,
    /// More samples than [`MAX_SAMPLES`].
    Long,
    /// All samples are equal.
    Constant,
    /// A sixteenth of the block or more is one and the same value: the sensor or its bus hung.
    Stuck,
    /// Samples at the end of the converter's range, or at or beyond the end of the channel's range.
    Saturated,
}

impl Fault {
    /// The reason under which the block is counted.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFinite => "not_finite",
            Self::Scale => "waveform_scale",
            Self::Rate => "waveform_rate",
            Self::Short => "waveform_too_short",
            Self::Long => "waveform_too_long",
            Self::Constant => "waveform_constant",
            Self::Stuck => "waveform_stuck",
            Self::Saturated => "waveform_saturated",
        }
    }
}

/// The least and the greatest magnitude of a scale: its fourth power must stay a number.
pub const SCALES: (f64, f64) = (1e-15, 1e15);
/// So many samples at a rail are clipping; fewer may be single shocks.
const CLIPPED: usize = 4;
/// A value held for one part in so many of the block is a stuck sensor.
const STUCK_PARTS: usize = 16;

/// The counts of little-endian bytes.
pub fn counts(samples: &[u8]) -> impl ExactSizeIterator<Item = i16> + '_ {
    samples.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
}

impl Block<'_> {
    /// How many samples it has.
    pub fn len(&self) -> usize {
        self.samples.len() / 2
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the block can be trusted. `range` is the channel's, in its unit.
    pub fn judge(&self, range: Option<(f64, f64)>) -> Result<(), Fault> {
        if !(self.scale.is_finite() && self.offset.is_finite()) {
            return Err(Fault::NotFinite);
        }
        if !(self.scale.abs() >= SCALES.0 && self.scale.abs() <= SCALES.1 && self.offset.abs() <= SCALES.1) {
            return Err(Fault::Scale);
        }
        if !(self.rate >= RATES.0 && self.rate <= RATES.1) {
            return Err(Fault::Rate);
        }
        match self.len() {
            n if n < MIN_SAMPLES => return Err(Fault::Short),
            n if n > MAX_SAMPLES => return Err(Fault::Long),
            _ => {}
        }
        let (low, high) = self.rails(range);
        let (mut least, mut most, mut clipped) = (i16::MAX, i16::MIN, 0_usize);
        for count in counts(self.samples) {
            least = least.min(count);
            most = most.max(count);
            clipped += usize::from(count <= low || count >= high);
        }
        if least == most {
            return Err(Fault::Constant);
        }
        if clipped >= CLIPPED {
            return Err(Fault::Saturated);
        }
        if self.is_stuck() { Err(Fault::Stuck) } else { Ok(()) }
    }

    /// The counts at which a sample is clipped: the converter's ends, or the channel's where they lie inside.
    fn rails(&self, range: Option<(f64, f64)>) -> (i16, i16) {
        let Some((low, high)) = range else { return (i16::MIN, i16::MAX) };
        let count = |value: f64| (value - self.offset) / self.scale;
        let (low, high) = (count(low).min(count(high)), count(low).max(count(high)));
        // Saturating casts: what lies beyond the converter's ends is no rail.
        (low.ceil() as i16, high.floor() as i16)
    }

    /// Whether some aligned part of the block is one value. A value held twice as long always fills one.
    fn is_stuck(&self) -> bool {
        let part = self.len() / STUCK_PARTS * 2;
        self.samples.chunks_exact(part).any(|chunk| chunk.chunks_exact(2).all(|pair| pair == &chunk[..2]))
    }
}

/// Blocks that follow one another without a gap, newest last. Everything that is kept of a waveform between blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    boot: u64,
    /// Of the newest block.
    sequence: u64,
    uptime: u64,
    /// Event time of the newest block's first sample.
    time: i64,
    rate: f64,
    scale: f64,
    offset: f64,
    /// Bytes of each block, oldest first.
    blocks: Vec<u32>,
    #[serde(serialize_with = "as_bytes", deserialize_with = "from_bytes")]
    samples: Vec<u8>,
}

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
}

impl Run {
    /// A run of one block, taken at event time `time`.
    pub fn begin(block: &Block<'_>, time: i64) -> Self {
        Self {
            boot: block.boot,
            sequence: block.sequence,
            uptime: block.uptime,
            time,
            rate: block.rate,
            scale: block.scale,
            offset: block.offset,
            // At most MAX_SAMPLES samples, by `judge`.
            blocks: vec![block.samples.len() as u32],
            samples: block.samples.to_vec(),
        }
    }

    /// Whether the block is older than the newest one here, so that it says nothing about what follows.
    pub fn is_past(&self, block: &Block<'_>) -> bool {
        block.boot == self.boot && block.sequence <= self.sequence
    }

    /// Whether the block begins where this run ends.
    pub fn is_followed_by(&self, block: &Block<'_>) -> bool {
        let alike = (self.boot, self.rate, self.scale, self.offset)
            == (block.boot, block.rate, block.scale, block.offset)
            && block.sequence > self.sequence;
        let last = self.blocks.last().copied().unwrap_or(0) / 2;
        let lag = block.uptime as f64 - (self.uptime as f64 + f64::from(last) / self.rate * 1e6);
        alike && lag.abs() <= (0.5e6 / self.rate).max(1.0)
    }

    /// Appends a block that follows, and gives the oldest up while there are too many samples.
    pub fn append(&mut self, block: &Block<'_>, time: i64) {
        self.samples.extend_from_slice(block.samples);
        self.blocks.push(block.samples.len() as u32);
        (self.sequence, self.uptime, self.time) = (block.sequence, block.uptime, time);
        let (mut gone, mut bytes) = (0, 0);
        while self.samples.len() - bytes > 2 * MAX_SAMPLES && gone + 1 < self.blocks.len() {
            bytes += self.blocks[gone] as usize;
            gone += 1;
        }
        self.blocks.drain(..gone);
        self.samples.drain(..bytes);
    }

    /// The counts of all blocks.
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// The counts of the newest block.
    pub fn newest(&self) -> &[u8] {
        let length = self.blocks.last().map_or(0, |bytes| *bytes as usize);
        &self.samples[self.samples.len() - length..]
    }

    /// How many blocks are joined.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Event time of the newest block's first sample.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Event time of the oldest block's first sample.
    pub fn begun(&self) -> i64 {
        let before = (self.samples.len() - self.newest().len()) / 2;
        self.time - (before as f64 / self.rate * 1e6) as i64
    }

    /// Samples per second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Unit per count.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Value of count 0.
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// Whether the parts, as read from a disk, fit together.
    pub fn consistent(&self) -> bool {
        let sum: u64 = self.blocks.iter().map(|b| u64::from(*b)).sum();
        let whole = self.blocks.iter().all(|b| *b >= 2 * MIN_SAMPLES as u32 && b.is_multiple_of(2));
        !self.blocks.is_empty()
            && whole
            && sum == self.samples.len() as u64
            && self.samples.len() <= 2 * MAX_SAMPLES
            && self.rate >= RATES.0
            && self.rate <= RATES.1
            && self.scale.is_finite()
            && self.offset.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(counts: impl IntoIterator<Item = i16>) -> Vec<u8> {
        counts.into_iter().flat_map(i16::to_le_bytes).collect()
    }

    fn wave(n: i32) -> Vec<u8> {
        bytes((0..n).map(|i| (f64::from(i) * 0.7).sin().mul_add(1000.0, 0.5) as i16))
    }

    fn block(samples: &[u8], sequence: u64, uptime: u64) -> Block<'_> {
        Block { boot: 1, sequence, uptime, rate: 25_600.0, scale: 0.01, offset: 0.0, samples }
    }

    #[test]
    fn each_fault_of_a_block_is_told_from_the_others() {
        let good = wave(512);
        assert_eq!(block(&good, 0, 0).judge(None), Ok(()));
        let with = |change: fn(&mut Block<'_>)| {
            let mut changed = block(&good, 0, 0);
            change(&mut changed);
            changed.judge(None)
        };
        assert_eq!(with(|b| b.scale = f64::NAN), Err(Fault::NotFinite));
        assert_eq!(with(|b| b.scale = 0.0), Err(Fault::Scale));
        assert_eq!(with(|b| b.offset = -1e300), Err(Fault::Scale));
        assert_eq!(with(|b| b.offset = f64::INFINITY), Err(Fault::NotFinite));
        assert_eq!(with(|b| b.rate = 1.0), Err(Fault::Rate));
        assert_eq!(with(|b| b.rate = f64::NAN), Err(Fault::Rate));
        assert_eq!(with(|b| b.samples = &[0, 0]), Err(Fault::Short));
        let judged = |samples: &[u8]| block(samples, 0, 0).judge(None);
        assert_eq!(judged(&wave(MAX_SAMPLES as i32 + 1)), Err(Fault::Long));
        assert_eq!(judged(&bytes([7; 512])), Err(Fault::Constant));
        let mut stuck = wave(512);
        stuck[100..100 + 4 * 64].copy_from_slice(&bytes([55; 128]));
        assert_eq!(judged(&stuck), Err(Fault::Stuck));
        let mut clipped = wave(512);
        clipped[10..18].copy_from_slice(&bytes([i16::MAX; 4]));
        assert_eq!(judged(&clipped), Err(Fault::Saturated));
        clipped[10..12].copy_from_slice(&bytes([0]));
        assert_eq!(judged(&clipped), Ok(()));
    }

    #[test]
    fn a_channels_range_is_the_sensors_and_clipping_at_it_is_seen() {
        // Amplitude 1000 counts of 0.01.
        let wave = wave(512);
        assert_eq!(block(&wave, 0, 0).judge(Some((-20.0, 20.0))), Ok(()));
        assert_eq!(block(&wave, 0, 0).judge(Some((-9.5, 9.5))), Err(Fault::Saturated));
        let turned = Block { scale: -0.01, ..block(&wave, 0, 0) };
        assert_eq!(turned.judge(Some((-9.5, 20.0))), Err(Fault::Saturated));
        assert_eq!(turned.judge(Some((-20.0, 20.0))), Ok(()));
    }

    #[test]
    fn blocks_join_only_where_one_begins_as_the_other_ends() {
        let wave = wave(512);
        // 512 samples at 25.6 kHz take 20 ms.
        let run = Run::begin(&block(&wave, 5, 1_000_000), 0);
        for (sequence, uptime, follows) in [
            (6, 1_020_000, true),
            (9, 1_020_019, true),
            (6, 1_020_020, false),
            (6, 1_019_980, false),
            (5, 1_020_000, false),
            (4, 1_020_000, false),
            (6, 1_040_000, false),
        ] {
            assert_eq!(run.is_followed_by(&block(&wave, sequence, uptime)), follows, "{sequence} {uptime}");
        }
        assert!(!run.is_followed_by(&Block { boot: 2, ..block(&wave, 6, 1_020_000) }));
        assert!(!run.is_followed_by(&Block { scale: 0.02, ..block(&wave, 6, 1_020_000) }));
        assert!(run.is_past(&block(&wave, 5, 0)) && !run.is_past(&block(&wave, 6, 0)));
    }

    #[test]
    fn a_run_is_bounded_and_gives_up_its_oldest_blocks() {
        let wave = wave(4_096);
        let mut run = Run::begin(&block(&wave, 0, 0), 0);
        for n in 1..10_u64 {
            let next = block(&wave, n, n * 160_000);
            assert!(run.is_followed_by(&next));
            run.append(&next, n as i64 * 160_000);
            assert!(run.samples().len() <= 2 * MAX_SAMPLES && run.consistent());
        }
        assert_eq!((run.blocks(), run.newest(), run.begun()), (4, &wave[..], 6 * 160_000));
        let bytes = fettle_wire::cbor::encode(&run).unwrap();
        assert!(bytes.len() < 2 * MAX_SAMPLES + 200);
        assert_eq!(fettle_wire::cbor::decode::<Run>(&bytes, 1 << 20).unwrap(), run);
    }
}
