//! How points lie in the store: all points of one asset and one span of time as one value, column by column.
//!
//! ```text
//!  version u8 = 1 | points u32 | LZ4 of: series, then for each point: at - start, last_at - at, revision, records,
//!  abnormal, undecided, notes; then for each series: which points have it (bits), counts (of points of several records),
//!  means, and of points with several values least, largest and last; floats as four planes of bytes
//! ```
//! Integers are LEB128, signed ones zigzag. Neighbouring values share their upper bytes, so planes pack well. One value
//! for many points, because a record of its own would cost LMDB as much again in keys and half-filled pages.
//! Bytes from a damaged disk give `None`, never a panic and never more memory than [`MAX_BYTES`].

use fettle_wire::Micros;

use super::point::{Point, Stat};

/// The layout this build writes.
const VERSION: u8 = 1;
/// The largest unpacked chunk, in bytes.
const MAX_BYTES: usize = 32 << 20;
/// The most points in one chunk: one a second for an hour, and then some.
pub const MAX_POINTS: usize = 4_096;

/// How many points a chunk holds, without unpacking it.
pub fn count(bytes: &[u8]) -> u64 {
    bytes.get(1..5).and_then(|b| <[u8; 4]>::try_from(b).ok()).map_or(0, |b| u64::from(u32::from_le_bytes(b)))
}

/// Packs points, which lie in ascending order at or after `start`.
pub fn encode(start: Micros, points: &[Point]) -> Vec<u8> {
    let series = points.iter().map(|p| p.values.len()).max().unwrap_or(0);
    let mut out = Writer(Vec::with_capacity(points.len() * (8 + series * 5)));
    out.unsigned(series as u64);
    for point in points {
        out.signed(point.at.wrapping_sub(start));
        out.signed(point.last_at.wrapping_sub(point.at));
        for number in [point.revision, point.records, point.abnormal, point.undecided] {
            out.unsigned(u64::from(number));
        }
        out.unsigned(point.notes.len() as u64);
        point.notes.iter().for_each(|note| out.unsigned(u64::from(*note)));
    }
    for number in 0..series {
        encode_series(&mut out, points, number);
    }
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&u32::try_from(points.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&lz4_flex::compress_prepend_size(&out.0));
    bytes
}

fn encode_series(out: &mut Writer, points: &[Point], number: usize) {
    let of = |point: &Point| point.values.get(number).copied().flatten();
    for eight in points.chunks(8) {
        let bits = eight.iter().enumerate().map(|(n, point)| u8::from(of(point).is_some()) << n);
        out.0.push(bits.fold(0, |all, bit| all | bit));
    }
    let present: Vec<(&Point, Stat)> = points.iter().filter_map(|p| Some((p, of(p)?))).collect();
    for (point, stat) in &present {
        if point.records > 1 {
            out.unsigned(u64::from(stat.count));
        }
    }
    out.planes(present.iter().map(|(_, stat)| stat.mean));
    let several = || present.iter().filter(|(point, stat)| point.records > 1 && stat.count > 1).map(|(_, stat)| stat);
    out.planes(several().map(|stat| stat.min));
    out.planes(several().map(|stat| stat.max));
    out.planes(several().map(|stat| stat.last));
}

/// Unpacks; `None` for what this build did not write.
pub fn decode(start: Micros, bytes: &[u8]) -> Option<Vec<Point>> {
    let (&version, rest) = bytes.split_first()?;
    let (size, packed) = rest.get(4..)?.split_at_checked(4)?;
    let size = u32::from_le_bytes(<[u8; 4]>::try_from(size).ok()?) as usize;
    if version != VERSION || size > MAX_BYTES {
        return None;
    }
    let unpacked = lz4_flex::decompress(packed, size).ok()?;
    let mut input = Reader(&unpacked);
    let points = usize::try_from(count(bytes)).ok().filter(|n| *n <= MAX_POINTS)?;
    let series = usize::try_from(input.unsigned()?).ok().filter(|n| *n <= MAX_BYTES / (points.max(1) * 24))?;
    let mut out = Vec::with_capacity(points);
    for _ in 0..points {
        out.push(decode_head(&mut input, start, series)?);
    }
    for number in 0..series {
        decode_series(&mut input, &mut out, number)?;
    }
    Some(out)
}

fn decode_head(input: &mut Reader<'_>, start: Micros, series: usize) -> Option<Point> {
    let at = start.wrapping_add(input.signed()?);
    let last_at = at.wrapping_add(input.signed()?);
    let mut number = || u32::try_from(input.unsigned()?).ok();
    let (revision, records, abnormal, undecided) = (number()?, number()?, number()?, number()?);
    let count = usize::try_from(input.unsigned()?).ok().filter(|n| *n <= input.0.len())?;
    let notes = (0..count).map(|_| u16::try_from(input.unsigned()?).ok()).collect::<Option<Vec<u16>>>()?;
    Some(Point { at, last_at, revision, records, abnormal, undecided, notes, values: vec![None; series] })
}

fn decode_series(input: &mut Reader<'_>, points: &mut [Point], number: usize) -> Option<()> {
    let bits = input.take(points.len().div_ceil(8))?;
    let present: Vec<usize> = (0..points.len()).filter(|n| bits[n / 8] >> (n % 8) & 1 == 1).collect();
    let mut counts = Vec::with_capacity(present.len());
    for at in &present {
        let several = points[*at].records > 1;
        counts.push(if several { u32::try_from(input.unsigned()?).ok()? } else { 1 });
    }
    let means = input.planes(present.len())?;
    let several = counts.iter().filter(|count| **count > 1).count();
    let (least, largest, last) = (input.planes(several)?, input.planes(several)?, input.planes(several)?);
    let mut beyond = least.into_iter().zip(largest).zip(last);
    for ((at, count), mean) in present.iter().zip(counts).zip(means) {
        let stat = match count {
            0 | 1 => Stat { count, ..Stat::one(mean) },
            count => {
                let ((min, max), last) = beyond.next()?;
                Stat { count, mean, min, max, last }
            }
        };
        points[*at].values[number] = Some(stat);
    }
    Some(())
}

struct Writer(Vec<u8>);

impl Writer {
    fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn signed(&mut self, number: i64) {
        self.unsigned((number << 1 ^ number >> 63) as u64);
    }

    fn planes(&mut self, values: impl Iterator<Item = f32>) {
        let values: Vec<[u8; 4]> = values.map(f32::to_be_bytes).collect();
        for plane in 0..4 {
            self.0.extend(values.iter().map(|bytes| bytes[plane]));
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn planes(&mut self, count: usize) -> Option<Vec<f32>> {
        let bytes = self.take(count.checked_mul(4)?)?;
        let at = |n: usize| f32::from_be_bytes([0, 1, 2, 3].map(|plane: usize| bytes[plane * count + n]));
        Some((0..count).map(at).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stat() -> impl Strategy<Value = Stat> {
        (1..5_u32, -1e6..1e6_f32, -1e6..1e6_f32, -1e6..1e6_f32, -1e6..1e6_f32).prop_map(
            |(count, mean, min, max, last)| {
                if count == 1 { Stat::one(mean) } else { Stat { count, mean, min, max, last } }
            },
        )
    }

    fn points() -> impl Strategy<Value = Vec<Point>> {
        let point = (any::<u32>(), 0..1_000_000_i64, prop::collection::vec(prop::option::of(stat()), 6));
        prop::collection::vec(point, 0..40).prop_map(|all| {
            let mut at = -5;
            all.into_iter()
                .map(|(revision, step, mut values)| {
                    at += step;
                    let records = if revision % 2 == 0 { 5 } else { 1 };
                    if records == 1 {
                        values.iter_mut().flatten().for_each(|s| *s = Stat::one(s.mean));
                    }
                    let notes = vec![1, 300];
                    Point { at, last_at: at - 3, revision, records, abnormal: 1, undecided: 0, notes, values }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(points in points()) {
            let bytes = encode(7, &points);
            prop_assert_eq!(count(&bytes), points.len() as u64);
            prop_assert_eq!(decode(7, &bytes), Some(points));
        }

        #[test]
        fn damaged_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), points in points(), at: usize, with: u8) {
            let _ = decode(0, &bytes);
            bytes = encode(0, &points);
            let at = at % bytes.len();
            bytes[at] ^= with;
            let _ = decode(0, &bytes);
        }
    }

    #[test]
    fn an_hour_of_a_quiet_machine_takes_less_than_a_third_of_its_plain_floats() {
        let points: Vec<Point> = (0..60)
            .map(|minute| {
                let at = minute * 60_000_000;
                let value = |n: i64| Some(Stat::one(20.0 + n as f32 + (minute * 37 % 11) as f32 * 0.015_625));
                Point { at, last_at: at, records: 1, values: (0..22).map(value).collect(), ..Point::default() }
            })
            .collect();
        let bytes = encode(0, &points).len();
        assert!(bytes < 60 * 22 * 4 / 3, "{bytes} bytes");
    }
}
