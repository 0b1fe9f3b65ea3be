//! What a curve on a page needs: an asset's series between two instants, at a resolution that covers them, in at most so
//! many points. Points that share a slot of time are folded, so the least and largest of each slot stay visible.
//! Memory is bounded by the points asked for; what is read is bounded by what is kept.

use fettle_wire::{Micros, Name, time};
use heed::RoTxn;

use super::chunk;
use super::names::{Names, Series};
use super::point::{Point, Resolution, floor};
use super::store::{History, HistoryError, between, chunk_key};

/// The most points of one answer.
pub const MAX_POINTS: usize = 5_000;
/// Unless asked for.
pub const POINTS: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// From, event time; unless given, a day before `to`.
    pub from: Option<Micros>,
    /// To, event time, left out; unless given, just behind the newest point.
    pub to: Option<Micros>,
    /// Unless given, the finest that covers the time without reading more than is shown.
    pub resolution: Option<Resolution>,
    /// At most this many points.
    pub points: usize,
    /// Only these series (by their names, or a channel's name for all of its); empty: all.
    pub series: Vec<String>,
}

/// One series of an answer; the lists are as long as [`Curves::points`].
#[derive(Debug, Clone)]
pub struct Curve {
    /// Which.
    pub series: Series,
    /// Its column in the points.
    column: usize,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Curves {
    /// From.
    pub from: Micros,
    /// To, left out.
    pub to: Micros,
    /// Where the points come from.
    pub resolution: Resolution,
    /// Width of the slots into which points were folded; 0: they are as kept.
    pub slot: Micros,
    /// First and newest instant kept of the asset, in any resolution.
    pub extent: Option<(Micros, Micros)>,
    /// The points, ascending.
    pub points: Vec<Point>,
    /// The series that have any value.
    pub curves: Vec<Curve>,
    /// What the numbers in [`Point::notes`] say.
    pub notes: Vec<String>,
    /// Records that lie in the points.
    pub records: u64,
}

impl Curves {
    /// One value for each point; absent where the series has none.
    pub fn column<T>(&self, curve: &Curve, of: impl Fn(&super::point::Stat) -> T) -> Vec<Option<T>> {
        self.points.iter().map(|p| p.values.get(curve.column).and_then(Option::as_ref).map(&of)).collect()
    }
}

impl History {
    /// The curves of an asset; `None` if it was never seen.
    pub fn curves(&self, site: &str, asset: &str, ask: &Ask) -> Result<Option<Curves>, HistoryError> {
        let key = fettle_wire::topic::asset_key(site, asset);
        if key.len() > crate::lmdb::MAX_KEY {
            return Ok(None);
        }
        let txn = self.env().read_txn()?;
        let Some(names) = self.names(&txn, &key)? else { return Ok(None) };
        let extents = [
            self.extent(&txn, Resolution::Raw, names.id)?,
            self.extent(&txn, Resolution::Minute, names.id)?,
            self.extent(&txn, Resolution::Hour, names.id)?,
        ];
        let extent = extents.iter().flatten().copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let to = ask.to.unwrap_or_else(|| extent.map_or(0, |(_, newest)| newest.saturating_add(1)));
        let from = ask.from.unwrap_or_else(|| to.saturating_sub(time::DAY)).min(to);
        let resolution = ask.resolution.unwrap_or_else(|| choose(from, to, extents));
        let limit = ask.points.clamp(1, MAX_POINTS);
        let (points, slot) = self.read_points(&txn, &names, resolution, (from, to), limit)?;
        let curves = curves(&names, &points, &ask.series);
        let records = points.iter().map(|p| u64::from(p.records)).sum();
        Ok(Some(Curves { from, to, resolution, slot, extent, points, curves, notes: names.notes, records }))
    }

    /// Points in `[from, to)`: as they are kept if there are at most `limit`, else folded into slots.
    fn read_points(
        &self,
        txn: &RoTxn<'_>,
        names: &Names,
        resolution: Resolution,
        (from, to): (Micros, Micros),
        limit: usize,
    ) -> Result<(Vec<Point>, Micros), HistoryError> {
        let low = chunk_key(names.id, floor(from, resolution.span()));
        let high = chunk_key(names.id, to);
        let mut points: Vec<Point> = Vec::new();
        let mut slot = 0;
        for item in self.points[resolution as usize].range(txn, &between(&low, &high))? {
            let (key, bytes) = item?;
            let Some(start) = key.get(4..).and_then(super::store::instant) else { continue };
            let of_chunk = chunk::decode(start, bytes).unwrap_or_default();
            for point in of_chunk.into_iter().filter(|p| (from..to).contains(&p.at)) {
                push(&mut points, point, from, slot);
            }
            if points.len() > limit {
                slot = to.saturating_sub(from).div_euclid(limit as i64).saturating_add(1);
                let all = std::mem::take(&mut points);
                all.into_iter().for_each(|point| push(&mut points, point, from, slot));
            }
        }
        Ok((points, slot))
    }
}

/// Appends a point, or folds it into the last one where both lie in one slot, counted from `from`.
fn push(points: &mut Vec<Point>, mut point: Point, from: Micros, slot: Micros) {
    if slot > 0 {
        point.at = from.saturating_add(floor(point.at.saturating_sub(from), slot));
    }
    match points.last_mut() {
        Some(last) if slot > 0 && last.at == point.at => last.fold(&point),
        _ => points.push(point),
    }
}

/// The finest resolution that reaches back to `from` (or to the beginning) and does not cost much more than is shown.
fn choose(from: Micros, to: Micros, extents: [Option<(Micros, Micros)>; 3]) -> Resolution {
    let beginning = extents.iter().flatten().map(|(first, _)| *first).min().unwrap_or(from);
    let needed = from.max(beginning);
    let covers = |n: usize| extents[n].is_some_and(|(first, _)| first <= needed);
    let span = to.saturating_sub(from);
    match () {
        () if covers(0) && span <= 2 * time::DAY => Resolution::Raw,
        () if covers(1) && span <= 14 * time::DAY => Resolution::Minute,
        () if extents[2].is_some() => Resolution::Hour,
        () => Resolution::Raw,
    }
}

fn curves(names: &Names, points: &[Point], wanted: &[String]) -> Vec<Curve> {
    let is_wanted = |series: &Series| {
        let of_channel = |name: &String| series.channel.as_ref().map(Name::as_str) == Some(name.as_str());
        wanted.is_empty() || wanted.iter().any(|name| *name == series.name || of_channel(name))
    };
    let has_values = |number: usize| points.iter().any(|p| p.values.get(number).is_some_and(Option::is_some));
    let all = names.series().into_iter().filter(|series| is_wanted(series) && has_values(series.number));
    all.map(|series| Curve { column: series.number, series }).collect()
}
