//! Who says the number: a network by its reference arithmetic here, by tract in [`super::tract`].

use thiserror::Error;

use super::network::Network;

/// Why a scorer cannot score.
#[derive(Debug, Error)]
pub enum ScoreError {
    /// The runtime does not take the model.
    #[error("the runtime cannot load the network: {0}")]
    Load(String),
    /// The runtime failed on a row.
    #[error("the runtime failed on a row: {0}")]
    Run(String),
}

/// Scores one row of scaled features.
pub trait Scorer {
    /// The mean of the ensemble's members, in shares of the cap.
    ///
    /// # Errors
    /// What the runtime says; the row has no score then.
    fn score(&mut self, row: &[f32]) -> Result<f32, ScoreError>;
}

/// The members' own arithmetic: what a runtime is compared with, and what runs where there is none.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a>(pub &'a [Network]);

impl Scorer for Reference<'_> {
    fn score(&mut self, row: &[f32]) -> Result<f32, ScoreError> {
        Ok(self.0.iter().map(|member| member.evaluate(row)).sum::<f32>() / self.0.len() as f32)
    }
}

/// What scores for a release: tract where it is built in, else the members' own arithmetic.
pub struct Runtime {
    #[cfg(feature = "onnx")]
    scorer: super::tract::Tract,
    #[cfg(not(feature = "onnx"))]
    members: Vec<Network>,
}

impl Runtime {
    /// Loads ONNX bytes of ours.
    ///
    /// # Errors
    /// [`ScoreError::Load`] with what is wrong with them.
    pub fn load(bytes: &[u8]) -> Result<Self, ScoreError> {
        #[cfg(feature = "onnx")]
        let found = Self { scorer: super::tract::Tract::load(bytes)? };
        #[cfg(not(feature = "onnx"))]
        let found = Self { members: super::onnx::read(bytes).map_err(|e| ScoreError::Load(e.to_string()))? };
        Ok(found)
    }

    /// What it is called in logs and on pages.
    pub const NAME: &str = if cfg!(feature = "onnx") { "tract" } else { "built_in" };
}

impl Scorer for Runtime {
    fn score(&mut self, row: &[f32]) -> Result<f32, ScoreError> {
        #[cfg(feature = "onnx")]
        return self.scorer.score(row);
        #[cfg(not(feature = "onnx"))]
        Reference(&self.members).score(row)
    }
}
