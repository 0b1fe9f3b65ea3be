//! All mathematics of fettle and the engine composed of it: readings in, health records and alerts out.
//!
//! Place in the flow: between the agent's journal and its outbox. Everything here is a function of (state, entry): no
//! I/O, no clock, no randomness, no threads, no hash order. The daemon, the replay and the simulator run the same code.
//!
//! The blocks of ISO 13374 give the order: `window` (data manipulation) -> `indicate` -> `detect` (state detection) ->
//! `assess` (health assessment) -> `predict` (prognostic assessment) -> `alarm` (advisory generation), composed by
//! `engine`. `life` tells what learns and foretells how a machine's life went so far.
#![forbid(unsafe_code)]

pub mod alarm;
pub mod assess;
pub(crate) mod baseline;
pub mod derived;
pub mod detect;
pub mod engine;
pub mod federate;
pub mod indicate;
pub mod life;
pub mod predict;
pub mod registry;
pub mod release;
pub mod settings;
pub mod train;
pub mod window;

pub use alarm::Act;
pub use engine::{Capture, Engine, Output, Reading, Source, StateError, WaveformBlock};
pub use indicate::waveform::BearingGeometry;
pub use life::{Happened, LifeEvent, LifeStep};
pub use registry::{AssetSpec, ChannelSpec, Component, Registry, RegistryProblem, Role};
pub use settings::{SettingProblem, Settings, UnknownPolicy};
