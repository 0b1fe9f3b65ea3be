//! The door: what must hold of a reading before it may change anything.
//!
//! In this order: the channel is known, the value finite, the quality not bad, the unit of the channel's dimension, the
//! value inside the channel's range, the time between 2000 and 2100 and not in the future, its slide still open. The
//! first that fails is the reason it is counted under. Behind the door every value is SI, finite and at most
//! [`MAX_MAGNITUDE`], so that fourth powers of a million of them stay finite.

use fettle_wire::time::{EARLIEST, LATEST};
use fettle_wire::{Arrival, ClockQuality, Micros, Quality, Unit};

use super::Reading;
use crate::registry::ChannelSpec;
use crate::settings::Settings;

/// The largest magnitude a value may have in SI; more is `out_of_range` on any machine.
const MAX_MAGNITUDE: f64 = 1e60;

/// What one channel lets in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Door {
    /// The unit of values that declare none.
    pub(super) unit: Unit,
    low: f64,
    high: f64,
}

impl Door {
    pub(super) fn new(spec: &ChannelSpec) -> Self {
        let (low, high) = spec.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let (low, high) = (spec.unit.to_si(low), spec.unit.to_si(high));
        Self { unit: spec.unit, low: low.max(-MAX_MAGNITUDE), high: high.min(MAX_MAGNITUDE) }
    }

    /// The value in SI, or why the reading is rejected.
    pub(super) fn admit(&self, settings: &Settings, now: &Arrival, reading: &Reading<'_>) -> Result<f64, &'static str> {
        if !reading.value.is_finite() {
            return Err("not_finite");
        }
        if reading.quality == Quality::Bad {
            return Err("bad_quality");
        }
        let unit = reading.unit.unwrap_or(self.unit);
        if unit.dimension() != self.unit.dimension() {
            return Err("unit_contradiction");
        }
        let value = unit.to_si(reading.value);
        if !(value >= self.low && value <= self.high) {
            return Err("out_of_range");
        }
        admit_time(settings, now, reading.time).map(|()| value)
    }
}

/// Whether an event time is one that the door lets in.
pub(super) fn admit_time(settings: &Settings, now: &Arrival, time: Micros) -> Result<(), &'static str> {
    if time < EARLIEST {
        return Err("time_before_2000");
    }
    if time >= LATEST {
        return Err("time_after_2100");
    }
    let latest = now.wall.saturating_add(settings.max_ahead);
    if now.quality != ClockQuality::Unknown && time > latest {
        return Err("time_in_future");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_wire::time::MINUTE;

    const NOW: i64 = 1_800_000_000_000_000;

    fn verdict(change: impl FnOnce(&mut Reading<'_>), quality: ClockQuality) -> Result<f64, &'static str> {
        let celsius = Unit::from_code("Cel").unwrap();
        let door = Door::new(&ChannelSpec { unit: celsius, range: Some((-20.0, 120.0)), ..ChannelSpec::adopted() });
        let mut reading =
            Reading { channel: "t", time: NOW, value: 20.0, unit: None, quality: Quality::Good, restamped: false };
        change(&mut reading);
        door.admit(&Settings::default(), &Arrival { wall: NOW, monotonic: 0, quality }, &reading)
    }

    #[test]
    fn a_value_is_converted_from_the_unit_it_declares() {
        assert_eq!(verdict(|_| (), ClockQuality::Synced), Ok(293.15));
        let fahrenheit = Unit::from_code("[degF]").unwrap();
        let kelvin = verdict(|r| (r.unit, r.value) = (Some(fahrenheit), 68.0), ClockQuality::Synced).unwrap();
        assert!((kelvin - 293.15).abs() < 1e-9);
        assert_eq!(verdict(|r| r.value = 120.0, ClockQuality::Synced), Ok(393.15));
    }

    #[test]
    fn each_fault_has_its_own_reason() {
        let synced = |change: fn(&mut Reading<'_>)| verdict(change, ClockQuality::Synced);
        assert_eq!(synced(|r| r.value = f64::NAN), Err("not_finite"));
        assert_eq!(synced(|r| r.value = f64::INFINITY), Err("not_finite"));
        assert_eq!(synced(|r| r.quality = Quality::Bad), Err("bad_quality"));
        assert_eq!(synced(|r| r.value = 120.1), Err("out_of_range"));
        assert_eq!(synced(|r| r.value = -1e308), Err("out_of_range"));
        assert_eq!(synced(|r| r.unit = Unit::from_code("bar").ok()), Err("unit_contradiction"));
        assert_eq!(synced(|r| r.time = 0), Err("time_before_2000"));
        assert_eq!(synced(|r| r.time = i64::MIN), Err("time_before_2000"));
        assert_eq!(synced(|r| r.time = i64::MAX), Err("time_after_2100"));
        assert_eq!(synced(|r| r.time = NOW + 10 * MINUTE), Ok(293.15));
        assert_eq!(synced(|r| r.time = NOW + 10 * MINUTE + 1), Err("time_in_future"));
        assert_eq!(verdict(|r| r.time = NOW + 11 * MINUTE, ClockQuality::Unknown), Ok(293.15));
    }
}
