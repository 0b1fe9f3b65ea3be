//! NASA's C-MAPSS turbofan data: `train_*`, `test_*` and `RUL_*` text files, plain or gzipped.
//!
//! Source: Saxena, Goebel, Simon, Eklund (2008), "Damage propagation modeling for aircraft engine run-to-failure
//! simulation". Nothing here or later may depend on unit names, absolute levels or which set it is.

pub mod evaluate;
pub mod read;

use crate::life::Inputs;

const SETTINGS: [(&str, &str); 3] = [("altitude", "[kft_i]"), ("mach", "1"), ("throttle_resolver_angle", "deg")];
const CHANNELS: [(&str, &str); 21] = [
    ("T2", "[degR]"),
    ("T24", "[degR]"),
    ("T30", "[degR]"),
    ("T50", "[degR]"),
    ("P2", "[psi]"),
    ("P15", "[psi]"),
    ("P30", "[psi]"),
    ("Nf", "/min"),
    ("Nc", "/min"),
    ("epr", "1"),
    ("Ps30", "[psi]"),
    ("phi", "1"),
    ("NRf", "/min"),
    ("NRc", "/min"),
    ("BPR", "1"),
    ("farB", "1"),
    ("htBleed", "1"),
    ("Nf_dmd", "/min"),
    ("PCNfR_dmd", "/min"),
    ("W31", "[lb_av]/s"),
    ("W32", "[lb_av]/s"),
];

/// What a row of a file holds after unit and cycle.
pub fn inputs() -> Inputs {
    let owned = |list: &[(&str, &str)]| list.iter().map(|(n, u)| ((*n).to_owned(), (*u).to_owned())).collect();
    Inputs { settings: owned(&SETTINGS), channels: owned(&CHANNELS), time_unit: "cycle".into(), step_seconds: 0.0 }
}
