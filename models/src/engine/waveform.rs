//! An asset's waveform channels: a block in, readings of derived channels, evidence and captures out.
//!
//! Place in the flow: before the windows. What is derived from a block (`crate::derived`) is folded like any frame's
//! readings. Beside that, a block may be shown (evidence: once for each raised alarm, and from time to time) and kept raw
//! (captures: what is held when an alarm is raised, and the next [`AFTER`] blocks of each channel).
//!
//! Work is bounded: at most `waveform_blocks_per_minute` blocks of an asset in one minute of arrival (monotonic) time are
//! analysed, the others are shed as `waveform_over_budget`. Minutes begin with the clock's and not with a block's, so it
//! is the journal's arrival times alone that decide.
//!
//! Speed is that of the highest event time among the readings of the speed channel so far, if it lies within
//! [`SPEED_AGE`] of the block; else the rated speed, flagged as assumed; else there are no lines.

use fettle_wire::evidence::{Evidence, Line, MAX_SAMPLES, Occasion, Spectrum};
use fettle_wire::time::MINUTE;
use fettle_wire::unit::Dimension;
use fettle_wire::{Alert, Arrival, ClockQuality, Micros, Name, Quality, Tally, Unit};
use serde::{Deserialize, Serialize};

use super::asset::Asset;
use super::door::admit_time;
use super::{Output, Reading, Rules, Source};
use crate::derived::{self, Quantity};
use crate::detect::Layout;
use crate::indicate::waveform::analyse::Bearing;
use crate::indicate::waveform::{Analyser, Analysis, Block, Run};
use crate::registry::AssetSpec;
use crate::settings::Settings;

/// Blocks of each channel that are captured after an alarm was raised.
const AFTER: u32 = 4;
/// How far from a block, in event time, a reading of the speed may lie.
const SPEED_AGE: Micros = 5 * MINUTE;

/// One waveform block at the door.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaveformBlock<'a> {
    /// The channel, not yet checked to be a name.
    pub channel: &'a str,
    /// Event time of the first sample.
    pub time: Micros,
    /// Whether the agent gave it its time.
    pub restamped: bool,
    /// The samples.
    pub block: Block<'a>,
}

/// Raw samples around an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    /// The asset.
    pub asset: Name,
    /// The waveform channel.
    pub channel: Name,
    /// Event time of the first sample.
    pub time: Micros,
    /// Samples per second.
    pub rate: f64,
    /// Unit of `count * scale + offset`.
    pub unit: Unit,
    /// Unit per count.
    pub scale: f64,
    /// Value of count 0.
    pub offset: f64,
    /// Counts, 16-bit little-endian.
    pub samples: Vec<u8>,
    /// The alarm's condition.
    pub condition: String,
    /// Its occurrence.
    pub occurrence: u64,
    /// Event time at which it was raised.
    pub raised_at: Micros,
    /// Whether the samples arrived after the alarm was raised.
    pub after: bool,
}

/// An alarm that was raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Raise {
    condition: String,
    occurrence: u64,
    at: Micros,
}

/// What is kept of a waveform channel between blocks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Kept {
    run: Option<Run>,
    /// Event time of the block of the last periodic evidence.
    published: Option<Micros>,
    /// Event time of the newest block captured.
    captured: Option<Micros>,
    /// Whether the lines of the last block were looked for at the rated speed.
    assumed: bool,
    /// Blocks still to be captured, and for which alarm.
    after: Option<(u32, Raise)>,
}

/// One waveform channel.
struct Stream {
    channel: Name,
    unit: Unit,
    range: Option<(f64, f64)>,
    derived: Vec<(Quantity, Name)>,
    kept: Kept,
}

/// All waveform channels of an asset, and what they need.
pub(super) struct Waveforms {
    streams: Vec<Stream>,
    geometry: Option<crate::BearingGeometry>,
    /// Index of the speed channel in the layout, and what turns its SI value into turns a second.
    speed_at: Option<(usize, f64)>,
    /// Turns a second.
    rated: Option<f64>,
    /// The newest reading of the speed: (event time, turns a second).
    speed: Option<(Micros, f64)>,
    /// (minute of monotonic time, blocks analysed in it).
    minute: (u64, u32),
    /// Raised in this call and not shown yet.
    raised: Vec<Raise>,
}

/// What is saved, being written.
#[derive(Serialize)]
pub(super) struct Saving<'a> {
    streams: Vec<(&'a Name, &'a Kept)>,
    speed: Option<(Micros, f64)>,
    minute: (u64, u32),
}

/// What was saved: field by field what [`Saving`] is.
#[derive(Deserialize)]
pub(super) struct Saved {
    streams: Vec<(Name, Kept)>,
    speed: Option<(Micros, f64)>,
    minute: (u64, u32),
}

impl Saved {
    pub(super) fn consistent(&self) -> bool {
        self.streams.iter().filter_map(|s| s.1.run.as_ref()).all(Run::consistent)
            && self.speed.is_none_or(|(_, hertz)| hertz.is_finite())
    }
}

impl Waveforms {
    /// Absent where the asset has no waveform channel. `layout` is that of the same description.
    pub(super) fn new(spec: &AssetSpec, layout: &Layout) -> Option<Box<Self>> {
        let stream = |(name, c): (&Name, &crate::ChannelSpec)| Stream {
            channel: name.clone(),
            unit: c.unit,
            range: c.range,
            derived: derived::quantities(spec).filter_map(|q| Some((q, derived::name(name, q)?))).collect(),
            kept: Kept::default(),
        };
        let streams: Vec<_> = spec.channels.iter().filter(|(_, c)| derived::is_waveform(c)).map(stream).collect();
        let speed = derived::speed_channel(spec);
        let speed_at = layout.channels.iter().position(|c| Some(&c.0) == speed).map(|at| {
            let radians = layout.channels[at].2.dimension() == Dimension::RotationRate;
            (at, if radians { 1.0 / std::f64::consts::TAU } else { 1.0 })
        });
        (!streams.is_empty()).then(|| {
            Box::new(Self {
                streams,
                geometry: spec.bearing_geometry,
                speed_at,
                rated: spec.rated_speed_rpm.map(|rpm| rpm / 60.0),
                speed: None,
                minute: (0, 0),
                raised: Vec::new(),
            })
        })
    }

    /// What is saved of it.
    pub(super) fn saving(&self) -> Saving<'_> {
        let streams = self.streams.iter().map(|s| (&s.channel, &s.kept)).collect();
        Saving { streams, speed: self.speed, minute: self.minute }
    }

    /// The same, owned.
    pub(super) fn into_saved(self) -> Saved {
        let streams = self.streams.into_iter().map(|s| (s.channel, s.kept)).collect();
        Saved { streams, speed: self.speed, minute: self.minute }
    }

    /// Takes over what was kept of channels of the same name.
    pub(super) fn take_over(&mut self, saved: Saved) {
        for (channel, kept) in saved.streams {
            if let Some(stream) = self.streams.iter_mut().find(|s| s.channel == channel) {
                stream.kept = kept;
            }
        }
        self.speed = saved.speed.filter(|_| self.speed_at.is_some());
        self.minute = saved.minute;
    }

    /// A reading of the channel at `at` was used; `value` is SI.
    pub(super) fn note_speed(&mut self, at: usize, time: Micros, value: f64) {
        if let Some((_, turns)) = self.speed_at.filter(|s| s.0 == at)
            && self.speed.is_none_or(|(before, _)| time >= before)
        {
            self.speed = Some((time, (value * turns).abs()));
        }
    }

    /// An alarm was raised; it is shown at the end of the call.
    pub(super) fn note_raise(&mut self, alert: &Alert) {
        self.raised.push(Raise {
            condition: alert.condition.clone(),
            occurrence: alert.occurrence,
            at: alert.raised_at,
        });
    }

    /// Channels whose lines were last looked for at the rated speed.
    pub(super) fn assumed(&self) -> impl Iterator<Item = &Name> {
        self.streams.iter().filter(|s| s.kept.assumed).map(|s| &s.channel)
    }

    /// The bearing as it turned at `time`, and whether its speed is only the rated one.
    fn bearing(&self, time: Micros) -> Option<(Bearing, bool)> {
        let geometry = self.geometry?;
        let read = self.speed.filter(|(at, _)| (time - at).abs() <= SPEED_AGE);
        let (shaft, assumed) = read.map(|s| (s.1, false)).or_else(|| self.rated.map(|rated| (rated, true)))?;
        Some((Bearing { geometry, shaft }, assumed))
    }

    /// Takes one block of this minute's budget, if there is one left.
    fn afford(&mut self, settings: &Settings, now: &Arrival) -> bool {
        let minute = now.monotonic / MINUTE.unsigned_abs();
        if self.minute.0 != minute {
            self.minute = (minute, 0);
        }
        let affordable = self.minute.1 < settings.waveform_blocks_per_minute;
        self.minute.1 += u32::from(affordable);
        affordable
    }
}

impl Stream {
    /// Joins the block to the run, or begins one with it. A block from the past gets a run of its own, which is returned.
    fn join(&mut self, block: &Block<'_>, time: Micros) -> Option<Run> {
        match &mut self.kept.run {
            Some(run) if run.is_past(block) => return Some(Run::begin(block, time)),
            Some(run) if run.is_followed_by(block) => run.append(block, time),
            other => *other = Some(Run::begin(block, time)),
        }
        None
    }

    /// Whether it is time for evidence without an alarm; event time may have gone back.
    fn evidence_due(&self, settings: &Settings, time: Micros) -> bool {
        self.kept.published.is_none_or(|at| (time - at).abs() >= settings.waveform_publish)
    }

    fn capture(&self, asset: &Name, samples: &[u8], time: Micros, run: &Run, raise: &Raise, after: bool) -> Output {
        Output::Capture(Box::new(Capture {
            asset: asset.clone(),
            channel: self.channel.clone(),
            time,
            rate: run.rate(),
            unit: self.unit,
            scale: run.scale(),
            offset: run.offset(),
            samples: samples.to_vec(),
            condition: raise.condition.clone(),
            occurrence: raise.occurrence,
            raised_at: raise.at,
            after,
        }))
    }

    fn evidence(
        &self,
        asset: &Name,
        analyser: &mut Analyser,
        run: &Run,
        bearing: Option<&(Bearing, bool)>,
        raise: Option<&Raise>,
    ) -> Output {
        let picture = analyser.picture(run, bearing.map(|b| &b.0));
        let newest = run.newest();
        let skipped = newest.len().saturating_sub(2 * MAX_SAMPLES);
        let spectrum = |points: &[(f64, f64)]| {
            let (frequencies, values) = points.iter().map(|p| (rounded(p.0), rounded(p.1))).unzip();
            Spectrum { frequencies, values }
        };
        let line = |(defect, frequency, strength): &(crate::indicate::waveform::Defect, f64, Option<f64>)| Line {
            name: defect.as_str().into(),
            frequency: rounded(*frequency),
            strength: strength.map(rounded),
        };
        Output::Evidence(Box::new(Evidence {
            asset: asset.clone(),
            channel: self.channel.clone(),
            time: run.time() + (skipped as f64 / 2.0 / run.rate() * 1e6) as Micros,
            occasion: if raise.is_some() { Occasion::Alarm } else { Occasion::Periodic },
            condition: raise.map(|r| r.condition.clone()),
            occurrence: raise.map(|r| r.occurrence),
            rate: run.rate(),
            unit: self.unit.code().into(),
            scale: run.scale(),
            offset: run.offset(),
            samples: newest[skipped..].to_vec(),
            spectrum: spectrum(&picture.spectrum),
            envelope: spectrum(&picture.envelope),
            band: picture.band,
            joined: run.samples().len() as u64 / 2,
            lines: picture.lines.iter().map(line).collect(),
            speed: bearing.map(|b| rounded(b.0.shaft)),
            speed_assumed: bearing.is_some_and(|b| b.1),
        }))
    }
}

/// To four significant digits: what a picture shows, in a third of the bytes.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(0.0)
}

impl Asset {
    /// Takes a block in; whether an evaluation may be due.
    pub(super) fn take_block(
        &mut self,
        rules: &Rules,
        now: &Arrival,
        analyser: &mut Analyser,
        arrived: &WaveformBlock<'_>,
        out: &mut Vec<Output>,
        tally: &mut Tally,
    ) -> bool {
        self.trusted = now.quality != ClockQuality::Unknown;
        self.seen = self.seen.max(now.wall);
        tally.received += 1;
        let Some(mut waveforms) = self.waveforms.take() else {
            tally.reject("waveform_not_configured", 1);
            return false;
        };
        let read = match self.read_block(rules, now, analyser, &mut waveforms, arrived, out) {
            Ok((at, analysis)) => Some((at, analysis)),
            Err(Refusal::Rejected(reason)) => {
                tally.reject(reason, 1);
                None
            }
            Err(Refusal::Shed(reason)) => {
                tally.shed(reason, 1);
                None
            }
            Err(Refusal::Late) => {
                tally.late += 1;
                None
            }
        };
        let due = read.is_some_and(|(at, analysis)| {
            self.fold_derived(rules, now, &waveforms.streams[at], arrived, &analysis, tally)
        });
        self.waveforms = Some(waveforms);
        due
    }

    /// Analyses a block, and shows or captures it where that is due; the index of its stream and its numbers.
    fn read_block(
        &self,
        rules: &Rules,
        now: &Arrival,
        analyser: &mut Analyser,
        waveforms: &mut Waveforms,
        arrived: &WaveformBlock<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(usize, Analysis), Refusal> {
        let (settings, time) = (&rules.settings, arrived.time);
        let at = waveforms.streams.iter().position(|s| s.channel.as_str() == arrived.channel);
        let at = at.ok_or(Refusal::Rejected("waveform_not_configured"))?;
        admit_time(settings, now, time).map_err(Refusal::Rejected)?;
        if time < self.closed {
            return Err(Refusal::Late);
        }
        arrived.block.judge(waveforms.streams[at].range).map_err(|fault| Refusal::Rejected(fault.reason()))?;
        if !waveforms.afford(settings, now) {
            return Err(Refusal::Shed("waveform_over_budget"));
        }
        let bearing = waveforms.bearing(time);
        let stream = &mut waveforms.streams[at];
        let past = stream.join(&arrived.block, time);
        // Invariant: `join` leaves a run where it returns none.
        let run = past.as_ref().or(stream.kept.run.as_ref()).ok_or(Refusal::Rejected("waveform_constant"))?;
        let analysis = analyser.analyse(run, bearing.as_ref().map(|b| &b.0));
        let analysis = analysis.ok_or(Refusal::Rejected("waveform_constant"))?;
        if past.is_none() {
            if stream.evidence_due(settings, time) {
                out.push(stream.evidence(&self.name, analyser, run, bearing.as_ref(), None));
                stream.kept.published = Some(time);
            }
            if let Some((left, raise)) = stream.kept.after.take()
                && let Some(run) = &stream.kept.run
            {
                out.push(stream.capture(&self.name, run.newest(), time, run, &raise, true));
                stream.kept.captured = Some(time);
                stream.kept.after = (left > 1).then(|| (left - 1, raise));
            }
        }
        stream.kept.assumed = bearing.is_some_and(|b| b.1);
        Ok((at, analysis))
    }

    /// Folds what was read from a block; the block counts as what became of its readings.
    fn fold_derived(
        &mut self,
        rules: &Rules,
        now: &Arrival,
        stream: &Stream,
        arrived: &WaveformBlock<'_>,
        analysis: &Analysis,
        tally: &mut Tally,
    ) -> bool {
        let value = |(quantity, name): &'_ (Quantity, Name)| Some((quantity.of(analysis)?, *quantity, name.clone()));
        let values: Vec<_> = stream.derived.iter().filter_map(value).collect();
        let readings = values.iter().map(|(value, quantity, name)| Reading {
            channel: name,
            time: arrived.time,
            value: *value,
            unit: Some(quantity.unit(stream.unit)),
            quality: Quality::Good,
            restamped: arrived.restamped,
        });
        let source = Source { boot: arrived.block.boot, sequence: arrived.block.sequence };
        let mut folded = Tally::default();
        let due = self.fold(rules, now, source, readings, &mut folded);
        match () {
            () if folded.used > 0 => tally.used += 1,
            () if folded.late > 0 => tally.late += 1,
            () if folded.duplicate > 0 => tally.duplicate += 1,
            () => match (folded.shed.into_keys().next(), folded.rejected.into_keys().next()) {
                (Some(reason), _) => tally.shed(&reason, 1),
                (None, reason) => tally.reject(reason.as_deref().unwrap_or("waveform_constant"), 1),
            },
        }
        due
    }

    /// Shows the newest block of every waveform channel for each alarm raised in this call, and begins to capture.
    pub(super) fn show_raises(&mut self, analyser: &mut Analyser, out: &mut Vec<Output>) {
        if self.waveforms.as_ref().is_none_or(|w| w.raised.is_empty()) {
            return;
        }
        let Some(mut waveforms) = self.waveforms.take() else { return };
        for raise in std::mem::take(&mut waveforms.raised) {
            for at in 0..waveforms.streams.len() {
                let stream = &waveforms.streams[at];
                let Some(run) = &stream.kept.run else { continue };
                let bearing = waveforms.bearing(run.time());
                out.push(stream.evidence(&self.name, analyser, run, bearing.as_ref(), Some(&raise)));
                let time = run.time();
                if stream.kept.captured.is_none_or(|captured| time > captured) {
                    out.push(stream.capture(&self.name, run.samples(), run.begun(), run, &raise, false));
                }
                let kept = &mut waveforms.streams[at].kept;
                kept.captured = Some(time);
                kept.after = Some((AFTER, raise.clone()));
            }
        }
        self.waveforms = Some(waveforms);
    }
}

/// Why a block is not used.
enum Refusal {
    Rejected(&'static str),
    Shed(&'static str),
    Late,
}
