//! The channels of a simulated machine: names, units, ranges and limits, in one table.
//!
//! Read by the machine model, the registry and the truth. A channel's index is its place in a [`crate::Sample`].

/// The channel of waveforms, for nodes that run the firmware: acceleration at the bearing housing, radial, m/s2.
pub const ACCELERATION: &str = "acceleration";
/// Its kind, its UCUM code and the range of the chip, +-16 g.
pub const ACCELERATION_KIND: (&str, &str, (f64, f64)) = ("acceleration", "m/s2", (-157.0, 157.0));

/// One measured quantity of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Shaft speed, `{rpm}`.
    Speed,
    /// Load, per cent of rated power.
    Load,
    /// Vibration velocity RMS on the bearing housing, mm/s.
    Vibration,
    /// Bearing temperature, degrees Celsius.
    Temperature,
    /// Discharge pressure, bar.
    Pressure,
    /// Motor current, A.
    Current,
}

impl Channel {
    /// Every channel, in the order of a sample.
    pub const ALL: [Self; 6] =
        [Self::Speed, Self::Load, Self::Vibration, Self::Temperature, Self::Pressure, Self::Current];
    /// What a fleet publishes unless told otherwise.
    pub const USUAL: [Self; 5] = [Self::Speed, Self::Vibration, Self::Temperature, Self::Pressure, Self::Current];

    /// What a fleet publishes whose nodes run the firmware, beside waveforms: vibration as one level is not among the chips.
    pub const ON_CHIPS: [Self; 4] = [Self::Speed, Self::Temperature, Self::Pressure, Self::Current];

    /// The name on the wire, and the kind in the registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Load => "load",
            Self::Vibration => "vibration",
            Self::Temperature => "temperature",
            Self::Pressure => "pressure",
            Self::Current => "current",
        }
    }

    /// The channel of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// The UCUM code of its values.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Speed => "{rpm}",
            Self::Load => "%",
            Self::Vibration => "mm/s",
            Self::Temperature => "Cel",
            Self::Pressure => "bar",
            Self::Current => "A",
        }
    }

    /// Whether it describes the operating state rather than the machine's condition.
    pub const fn is_operating(self) -> bool {
        matches!(self, Self::Speed | Self::Load)
    }

    /// The measuring range, in its unit.
    pub const fn range(self) -> (f64, f64) {
        match self {
            Self::Speed => (0.0, 4_000.0),
            Self::Load => (0.0, 150.0),
            Self::Vibration => (0.0, 50.0),
            Self::Temperature => (-40.0, 200.0),
            Self::Pressure => (0.0, 40.0),
            Self::Current => (0.0, 1_000.0),
        }
    }

    /// The limit beyond which the machine must not run, in its unit. Vibration: the boundary of zones C and D that
    /// ISO 10816-3:2009 (table A.2) gave for machines of 15 to 300 kW on flexible foundations, 7.1 mm/s.
    pub const fn limit(self) -> Option<f64> {
        match self {
            Self::Vibration => Some(7.1),
            Self::Temperature => Some(95.0),
            _ => None,
        }
    }

    /// Its index in a sample.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_is_known_to_the_contract() {
        for (i, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(channel.index(), i);
            assert_eq!(Channel::from_name(channel.name()), Some(channel));
            fettle_wire::Unit::from_code(channel.unit()).unwrap();
            fettle_wire::Name::check(channel.name()).unwrap();
        }
    }
}
