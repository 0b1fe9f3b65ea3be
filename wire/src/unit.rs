//! Units: a UCUM code per channel, converted to coherent SI at the door.
//!
//! Codes are UCUM case-sensitive (`ucum.org`, version 2.1). Only codes that machine sensors use are known; an unknown
//! code is a configuration error, not a guess.

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
