//! Units: a UCUM code per channel, converted to coherent SI at the door.
//!
//! Codes are UCUM case-sensitive (`ucum.org`, version 2.1). Only codes that machine sensors use are known; an unknown
//! code is a configuration error, not a guess. A value is converted once, where it enters; inside, everything is SI.
//!
//! One code means more here than UCUM says: to UCUM `{rpm}` is an annotated 1, here it is revolutions per minute. UCUM's
//! own `/min` stays a frequency: whether it counts turns, a code alone cannot tell.
//!
//! Must never convert between dimensions, nor change a number that is already SI (scale 1, offset 0; only -0 becomes 0).

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a unit measures. Two units convert into each other only within one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Pure number, including ratios, per cent and levels.
    One,
    /// Thermodynamic temperature; SI kelvin.
    Temperature,
    /// Pressure; SI pascal.
    Pressure,
    /// Velocity; SI metre per second.
    Velocity,
    /// Acceleration; SI metre per second squared.
    Acceleration,
    /// Length; SI metre.
    Length,
    /// Rotation rate; SI radian per second.
    RotationRate,
    /// Frequency; SI hertz.
    Frequency,
    /// Electric current; SI ampere.
    Current,
    /// Electric potential; SI volt.
    Voltage,
    /// Power; SI watt.
    Power,
    /// Torque; SI newton metre.
    Torque,
    /// Force; SI newton.
    Force,
    /// Volume flow; SI cubic metre per second.
    VolumeFlow,
    /// Mass; SI kilogram.
    Mass,
    /// Duration; SI second.
    Time,
}

/// One known unit: `si = value * scale + offset`.
#[derive(Debug, PartialEq)]
struct Definition {
    code: &'static str,
    dimension: Dimension,
    scale: f64,
    offset: f64,
    si: &'static str,
}

const fn unit(code: &'static str, dimension: Dimension, scale: f64, offset: f64, si: &'static str) -> Definition {
    Definition { code, dimension, scale, offset, si }
}

const TURN: f64 = 2.0 * core::f64::consts::PI;
/// Standard acceleration of gravity, m/s2 (exact by definition, CGPM 1901).
const GRAVITY: f64 = 9.806_65;

static UNITS: &[Definition] = &[
    unit("1", Dimension::One, 1.0, 0.0, "1"),
    unit("%", Dimension::One, 0.01, 0.0, "1"),
    unit("K", Dimension::Temperature, 1.0, 0.0, "K"),
    unit("Cel", Dimension::Temperature, 1.0, 273.15, "K"),
    unit("[degF]", Dimension::Temperature, 5.0 / 9.0, 459.67 * 5.0 / 9.0, "K"),
    unit("[degR]", Dimension::Temperature, 5.0 / 9.0, 0.0, "K"),
    unit("Pa", Dimension::Pressure, 1.0, 0.0, "Pa"),
    unit("hPa", Dimension::Pressure, 1e2, 0.0, "Pa"),
    unit("kPa", Dimension::Pressure, 1e3, 0.0, "Pa"),
    unit("MPa", Dimension::Pressure, 1e6, 0.0, "Pa"),
    unit("mbar", Dimension::Pressure, 1e2, 0.0, "Pa"),
    unit("bar", Dimension::Pressure, 1e5, 0.0, "Pa"),
    unit("[psi]", Dimension::Pressure, 6_894.757_293_168_361, 0.0, "Pa"),
    unit("m/s", Dimension::Velocity, 1.0, 0.0, "m/s"),
    unit("mm/s", Dimension::Velocity, 1e-3, 0.0, "m/s"),
    unit("[in_i]/s", Dimension::Velocity, 0.0254, 0.0, "m/s"),
    unit("m/s2", Dimension::Acceleration, 1.0, 0.0, "m/s2"),
    unit("[g]", Dimension::Acceleration, GRAVITY, 0.0, "m/s2"),
    unit("m[g]", Dimension::Acceleration, GRAVITY * 1e-3, 0.0, "m/s2"),
    unit("m", Dimension::Length, 1.0, 0.0, "m"),
    unit("mm", Dimension::Length, 1e-3, 0.0, "m"),
    unit("um", Dimension::Length, 1e-6, 0.0, "m"),
    unit("rad/s", Dimension::RotationRate, 1.0, 0.0, "rad/s"),
    unit("{rpm}", Dimension::RotationRate, TURN / 60.0, 0.0, "rad/s"),
    unit("/min", Dimension::Frequency, 1.0 / 60.0, 0.0, "Hz"),
    unit("Hz", Dimension::Frequency, 1.0, 0.0, "Hz"),
    unit("kHz", Dimension::Frequency, 1e3, 0.0, "Hz"),
    unit("A", Dimension::Current, 1.0, 0.0, "A"),
    unit("mA", Dimension::Current, 1e-3, 0.0, "A"),
    unit("V", Dimension::Voltage, 1.0, 0.0, "V"),
    unit("mV", Dimension::Voltage, 1e-3, 0.0, "V"),
    unit("kV", Dimension::Voltage, 1e3, 0.0, "V"),
    unit("W", Dimension::Power, 1.0, 0.0, "W"),
    unit("kW", Dimension::Power, 1e3, 0.0, "W"),
    unit("MW", Dimension::Power, 1e6, 0.0, "W"),
    unit("N.m", Dimension::Torque, 1.0, 0.0, "N.m"),
    unit("N", Dimension::Force, 1.0, 0.0, "N"),
    unit("kN", Dimension::Force, 1e3, 0.0, "N"),
    unit("m3/s", Dimension::VolumeFlow, 1.0, 0.0, "m3/s"),
    unit("m3/h", Dimension::VolumeFlow, 1.0 / 3600.0, 0.0, "m3/s"),
    unit("L/min", Dimension::VolumeFlow, 1e-3 / 60.0, 0.0, "m3/s"),
    unit("kg", Dimension::Mass, 1.0, 0.0, "kg"),
    unit("g", Dimension::Mass, 1e-3, 0.0, "kg"),
    unit("s", Dimension::Time, 1.0, 0.0, "s"),
    unit("ms", Dimension::Time, 1e-3, 0.0, "s"),
    unit("h", Dimension::Time, 3600.0, 0.0, "s"),
];

/// A known UCUM unit.
#[derive(Clone, Copy)]
pub struct Unit(&'static Definition);

/// The code is not one of the known units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownUnit;

impl fmt::Display for UnknownUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a known UCUM code; known are")?;
        for (i, unit) in UNITS.iter().enumerate() {
            write!(f, "{} {}", if i == 0 { "" } else { "," }, unit.code)?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownUnit {}

impl Unit {
    /// The pure number.
    pub const ONE: Self = Self(&UNITS[0]);

    /// Looks a UCUM code up, case-sensitive.
    pub fn from_code(code: &str) -> Result<Self, UnknownUnit> {
        UNITS.iter().find(|u| u.code == code).map(Self).ok_or(UnknownUnit)
    }

    /// The UCUM code.
    pub fn code(self) -> &'static str {
        self.0.code
    }

    /// What it measures.
    pub fn dimension(self) -> Dimension {
        self.0.dimension
    }

    /// The coherent SI unit of its dimension, as a UCUM code.
    pub fn si_code(self) -> &'static str {
        self.0.si
    }

    /// Converts a value in this unit to SI.
    pub fn to_si(self, value: f64) -> f64 {
        value * self.0.scale + self.0.offset
    }

    /// Converts an SI value to this unit.
    pub fn from_si(self, value: f64) -> f64 {
        (value - self.0.offset) / self.0.scale
    }

    /// Every known unit.
    pub fn all() -> impl Iterator<Item = Self> {
        UNITS.iter().map(Self)
    }
}

impl PartialEq for Unit {
    fn eq(&self, other: &Self) -> bool {
        self.0.code == other.0.code
    }
}

impl Eq for Unit {}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.code)
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Code;
        impl serde::de::Visitor<'_> for Code {
            type Value = Unit;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UCUM code")
            }
            fn visit_str<E: serde::de::Error>(self, code: &str) -> Result<Unit, E> {
                Unit::from_code(code).map_err(|e| E::custom(format_args!("{code:?} is {e}")))
            }
        }
        deserializer.deserialize_str(Code)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};
    use alloc::string::ToString;

    use super::*;
    use crate::json;

    fn si(code: &str, value: f64) -> f64 {
        Unit::from_code(code).unwrap().to_si(value)
    }

    /// (code, value, SI value, SI unit): worked from the definitions in the SI Brochure (9th edition, 2019), NIST SP 811
    /// (2008) appendix B.8 and UCUM 2.1 section 4, not from the table above.
    const KNOWN: &[(&str, f64, f64, &str)] = &[
        ("1", 3.5, 3.5, "1"),
        ("%", 50.0, 0.5, "1"),
        ("K", 300.0, 300.0, "K"),
        ("Cel", 25.0, 298.15, "K"),     // SI Brochure 2.3.1: t/°C = T/K - 273.15
        ("[degF]", 212.0, 373.15, "K"), // boiling point of water at 1 atm on both scales
        ("[degR]", 491.67, 273.15, "K"),
        ("Pa", 101_325.0, 101_325.0, "Pa"),
        ("hPa", 1_013.25, 101_325.0, "Pa"),
        ("kPa", 101.325, 101_325.0, "Pa"),
        ("MPa", 0.101_325, 101_325.0, "Pa"),
        ("mbar", 1_013.25, 101_325.0, "Pa"),
        ("bar", 1.013_25, 101_325.0, "Pa"),
        // 0.45359237 kg * 9.80665 m/s2 / (0.0254 m)^2
        ("[psi]", 1.0, 0.453_592_37 * 9.806_65 / (0.0254 * 0.0254), "Pa"),
        ("m/s", 4.5, 4.5, "m/s"),
        ("mm/s", 4.5, 0.0045, "m/s"),
        ("[in_i]/s", 1.0, 0.0254, "m/s"), // 1 inch = 25.4 mm (1959)
        ("m/s2", 9.8, 9.8, "m/s2"),
        ("[g]", 2.0, 19.6133, "m/s2"), // CGPM 1901: 9.80665 m/s2
        ("m[g]", 1.0, 0.009_806_65, "m/s2"),
        ("m", 2.0, 2.0, "m"),
        ("mm", 2.0, 0.002, "m"),
        ("um", 80.0, 0.000_08, "m"),
        ("rad/s", 314.0, 314.0, "rad/s"),
        ("{rpm}", 60.0, core::f64::consts::TAU, "rad/s"), // one turn a second
        ("/min", 90.0, 1.5, "Hz"),
        ("Hz", 50.0, 50.0, "Hz"),
        ("kHz", 25.6, 25_600.0, "Hz"),
        ("A", 1.5, 1.5, "A"),
        ("mA", 20.0, 0.02, "A"),
        ("V", 230.0, 230.0, "V"),
        ("mV", 100.0, 0.1, "V"),
        ("kV", 6.0, 6_000.0, "V"),
        ("W", 5.0, 5.0, "W"),
        ("kW", 75.0, 75_000.0, "W"),
        ("MW", 1.2, 1_200_000.0, "W"),
        ("N.m", 7.0, 7.0, "N.m"),
        ("N", 7.0, 7.0, "N"),
        ("kN", 7.0, 7_000.0, "N"),
        ("m3/s", 0.5, 0.5, "m3/s"),
        ("m3/h", 3_600.0, 1.0, "m3/s"),
        ("L/min", 60_000.0, 1.0, "m3/s"), // 1 L = 1 dm3
        ("kg", 2.0, 2.0, "kg"),
        ("g", 500.0, 0.5, "kg"),
        ("s", 2.0, 2.0, "s"),
        ("ms", 20.0, 0.02, "s"),
        ("h", 2.0, 7_200.0, "s"),
    ];

    #[test]
    fn every_unit_converts_as_its_definition_says() {
        for (code, value, expected, unit) in KNOWN {
            let converted = si(code, *value);
            assert!(
                (converted - expected).abs() <= 4e-16 * expected.abs(),
                "{value} {code} = {converted}, not {expected}"
            );
            assert_eq!(Unit::from_code(code).unwrap().si_code(), *unit, "{code}");
        }
        let tested: BTreeSet<&str> = KNOWN.iter().map(|k| k.0).collect();
        let known: BTreeSet<&str> = Unit::all().map(Unit::code).collect();
        assert_eq!(tested, known, "a unit without a known answer, or the other way round");
        assert_eq!(known.len(), UNITS.len(), "a code stands twice");
    }

    #[test]
    fn temperatures_meet_where_their_scales_do() {
        assert!((si("Cel", -40.0) - si("[degF]", -40.0)).abs() < 1e-12);
        assert!((si("[degF]", -459.67)).abs() < 1e-12, "absolute zero");
        assert!((si("[degF]", 32.0) - si("[degR]", 491.67)).abs() < 1e-12);
    }

    #[test]
    fn a_dimension_has_one_si_unit_which_changes_nothing() {
        let mut units = BTreeMap::new();
        for unit in Unit::all() {
            assert_eq!(*units.entry(unit.dimension()).or_insert(unit.si_code()), unit.si_code());
            let si = Unit::from_code(unit.si_code()).unwrap();
            assert_eq!(si.dimension(), unit.dimension());
            for value in [1.0, -0.0, 1e-300, 0.1, f64::MAX] {
                assert_eq!(si.to_si(value).to_bits(), (value + 0.0).to_bits(), "{}", si.code());
            }
        }
    }

    #[test]
    fn a_value_comes_back_from_si() {
        for unit in Unit::all() {
            for value in [-40.0, 0.0, 1.0, 1234.5] {
                let back = unit.from_si(unit.to_si(value));
                assert!(
                    (back - value).abs() <= 1e-12 * (1.0 + value.abs() + unit.from_si(0.0).abs()),
                    "{value} {unit}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_code_is_refused_with_the_known_ones() {
        for code in ["", "cel", "°C", "rpm", "C", "psi", "g ", "KPa"] {
            assert_eq!(Unit::from_code(code), Err(UnknownUnit), "{code}");
        }
        let error = json::decode::<Unit>(b"\"rpm\"").unwrap_err().to_string();
        assert!(error.contains("\"rpm\" is not a known UCUM code; known are 1, %, K"), "{error}");
        assert_eq!(json::encode(&json::decode::<Unit>(b"\"mm/s\"").unwrap()).unwrap(), "\"mm/s\"");
        assert_eq!(Unit::ONE.code(), "1");
    }
}
