//! Evaluation of fettle's models on public data sets, and the central training that is too heavy for an agent.
//!
//! Place in the flow: beside it. Lives of machines come from files; features, networks, filter and intervals are
//! `fettle-models`' own, so that a figure printed here is one of the code that runs in the plant.
#![forbid(unsafe_code)]

pub mod clock;
pub mod cmapss;
pub mod federated;
pub mod fit;
pub mod judge;
pub mod life;
pub mod lives;
pub mod package;
pub mod progress;
pub mod publish;
pub mod report;
