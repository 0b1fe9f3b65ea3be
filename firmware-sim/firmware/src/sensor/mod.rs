//! The chips a node reads, one driver a file, each generic over embedded-hal 1.0.
//!
//! Between the buses and the board. A driver checks its chip's identity when it starts it (where the chip has one),
//! keeps the bus's error and names the register or step at which it happened. Where the registry has a well-kept driver
//! for embedded-hal 1.0 the file here is a thin cover ([`tmp117`], [`ads1115`]); else it is written from the data sheet
//! ([`iis3dwb`], [`keller_ld`]).
//!
//! A driver must never retry by itself, hide a failure behind an old value, or wait without a bound.

pub mod ads1115;
pub mod iis3dwb;
pub mod keller_ld;
pub mod tmp117;

use core::fmt;

/// What went wrong with a chip, and where. `E` is the bus's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensorError<E> {
    /// The bus failed at this register.
    Bus {
        /// The register, by the data sheet's name.
        register: &'static str,
        /// What the bus said.
        source: E,
    },
    /// Another chip answers than the one expected, or none (all bits high or low).
    Identity {
        /// The register that identifies the chip.
        register: &'static str,
        /// What the data sheet says.
        expected: u32,
        /// What was read.
        found: u32,
    },
    /// The chip was given the time its data sheet asks for and has no result.
    NotReady {
        /// The register asked.
        register: &'static str,
    },
    /// What was read cannot be what the chip sends: a tag, status or mode that does not exist.
    Malformed {
        /// The register read.
        register: &'static str,
        /// What was read.
        found: u32,
    },
}

impl<E> SensorError<E> {
    /// For `map_err`: the bus failed at `register`.
    pub(crate) fn bus(register: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Bus { register, source }
    }

    /// The reason under which it is counted.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Bus { .. } => Reason::Bus,
            Self::Identity { .. } => Reason::Identity,
            Self::NotReady { .. } => Reason::NotReady,
            Self::Malformed { .. } => Reason::Malformed,
        }
    }
}

impl<E: fmt::Debug> fmt::Display for SensorError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus { register, source } => write!(f, "the bus failed at {register}: {source:?}"),
            Self::Identity { register, expected, found } => {
                write!(f, "{register} is {found:#x}, not {expected:#x}: another chip, or none")
            }
            Self::NotReady { register } => write!(f, "{register} has no result in the time the data sheet gives"),
            Self::Malformed { register, found } => write!(f, "{register} holds {found:#x}, which the chip never sends"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for SensorError<E> {}

/// Why a value is absent or not to be used; what is counted per channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The bus failed: absent.
    Bus,
    /// Another chip, or none: absent.
    Identity,
    /// No result in time: absent.
    NotReady,
    /// Not a value the chip can send: absent.
    Malformed,
    /// The same code again and again: the reading is sent as bad, a waveform block is left out.
    Stuck,
    /// Outside what the sensor can mean (a current loop below 3.6 mA or above 21 mA): sent as bad.
    OutOfRange,
    /// The chip's FIFO ran over: the block under way is left out.
    Overrun,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Bus, Self::Identity, Self::NotReady, Self::Malformed, Self::Stuck, Self::OutOfRange, Self::Overrun];

    /// The word for ledgers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bus => "bus",
            Self::Identity => "identity",
            Self::NotReady => "not_ready",
            Self::Malformed => "malformed",
            Self::Stuck => "stuck",
            Self::OutOfRange => "out_of_range",
            Self::Overrun => "overrun",
        }
    }
}
