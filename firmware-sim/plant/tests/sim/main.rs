//! The sim as a whole, against a real mosquitto.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod binary;
mod figures;
mod firmware;
mod run;
mod support;
