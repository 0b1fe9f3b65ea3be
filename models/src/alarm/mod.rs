//! Alarms: conditions with a life cycle after ISA-18.2 / IEC 62682.
//!
//! Place in the flow: the last block; the engine feeds each condition of each asset its signal once a slide and
//! publishes an alert for each transition. What an alarm means is decided before; here is only when it is raised,
//! returned and acknowledged. `state` holds the life cycle, `delay` the on- and off-delays, `act` what a person may ask.

mod act;
mod delay;
mod state;

pub use act::Act;
pub use state::{Alarm, AlarmParams, Signal, Transition};
