//! What goes wrong with a sensor, where it goes wrong: between the quantity and the chip, or between the chip and the bus.
//!
//! Stuck, offset, drift and saturation change what the chip measures; drop-out and broken wire take the chip, or the
//! loop's current, away. Pure: a fault is a function of time and chance drawn elsewhere.

use fettle_wire::Micros;
use fettle_wire::time::HOUR;
use serde::Serialize;

/// The kind of a sensor fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The last value for ever.
    Stuck,
    /// A share of the transactions goes unanswered.
    Dropout,
    /// Wrong by a constant.
    Offset,
    /// Wrong by ever more.
    Drift,
    /// Never more than a bound, in either direction.
    Saturation,
    /// No chip, or no current in the loop.
    BrokenWire,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Stuck, Self::Dropout, Self::Offset, Self::Drift, Self::Saturation, Self::BrokenWire];

    /// The name in the configuration and in the truth.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Dropout => "dropout",
            Self::Offset => "offset",
            Self::Drift => "drift",
            Self::Saturation => "saturation",
            Self::BrokenWire => "broken_wire",
        }
    }

    /// Whether its amount must be said, because no default makes sense.
    pub const fn needs_amount(self) -> bool {
        matches!(self, Self::Offset | Self::Drift | Self::Saturation)
    }
}

/// A fault of one sensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SensorFault {
    /// What goes wrong.
    pub kind: Kind,
    /// The channel whose sensor it is.
    pub channel: &'static str,
    /// Event time at which it begins.
    #[serde(rename = "onset_us")]
    pub onset: Micros,
    /// Event time at which it ends, if ever.
    #[serde(rename = "end_us")]
    pub end: Option<Micros>,
    /// Offset: the channel's unit. Drift: the channel's unit per hour. Saturation: the bound. Drop-out: the share.
    pub amount: f64,
}

impl SensorFault {
    /// Whether it is there at `now`.
    pub fn is_active(&self, now: Micros) -> bool {
        now >= self.onset && self.end.is_none_or(|end| now < end)
    }

    /// What the sensor sees at `now` instead of `value`; `held` is what it saw when the fault began.
    pub fn distort(&self, now: Micros, value: f64, held: f64) -> f64 {
        match self.kind {
            Kind::Stuck => held,
            Kind::Offset => value + self.amount,
            Kind::Drift => value + self.amount * now.saturating_sub(self.onset) as f64 / HOUR as f64,
            Kind::Saturation => value.clamp(-self.amount.abs(), self.amount.abs()),
            Kind::Dropout | Kind::BrokenWire => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_distorts_as_its_kind_says_and_only_while_it_is_there() {
        let fault = |kind, amount| SensorFault { kind, channel: "pressure", onset: HOUR, end: Some(3 * HOUR), amount };
        assert!(!fault(Kind::Stuck, 0.0).is_active(HOUR - 1) && !fault(Kind::Stuck, 0.0).is_active(3 * HOUR));
        assert!(fault(Kind::Stuck, 0.0).is_active(HOUR));
        assert_eq!(fault(Kind::Stuck, 0.0).distort(2 * HOUR, 5.0, 4.0), 4.0);
        assert_eq!(fault(Kind::Offset, 0.5).distort(2 * HOUR, 5.0, 4.0), 5.5);
        assert_eq!(fault(Kind::Drift, 0.5).distort(3 * HOUR, 5.0, 4.0), 6.0);
        assert_eq!(fault(Kind::Saturation, 4.5).distort(2 * HOUR, -5.0, 4.0), -4.5);
        assert_eq!(fault(Kind::BrokenWire, 0.0).distort(2 * HOUR, 5.0, 4.0), 5.0);
    }
}
