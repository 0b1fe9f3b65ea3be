//! Networks run by tract.
//!
//! Place in the flow: ONNX bytes that [`super::onnx::read`] has accepted -> [`Tract`] -> one score a row. What tract would
//! do with bytes of a stranger is not its business here: only a graph that we would write ourselves gets this far.

use tract_onnx::prelude::*;

use super::network::Network;
use super::onnx;
use super::score::{ScoreError, Scorer};

/// A loaded ensemble.
#[derive(Debug)]
pub struct Tract {
    state: TypedSimpleState,
    width: usize,
}

impl Tract {
    /// Loads ONNX bytes of ours.
    ///
    /// # Errors
    /// [`ScoreError::Load`] with what is wrong with them.
    pub fn load(bytes: &[u8]) -> Result<Self, ScoreError> {
        let members = onnx::read(bytes).map_err(|e| ScoreError::Load(e.to_string()))?;
        let width = members.first().map_or(0, Network::inputs);
        let plan = onnx()
            .model_for_read(&mut &bytes[..])
            .and_then(|model| model.into_optimized())
            .and_then(|model| model.into_runnable());
        let state = plan.and_then(|plan| plan.spawn()).map_err(|e| ScoreError::Load(format!("{e:#}")))?;
        Ok(Self { state, width })
    }
}

impl Scorer for Tract {
    fn score(&mut self, row: &[f32]) -> Result<f32, ScoreError> {
        let failed = |e: TractError| ScoreError::Run(format!("{e:#}"));
        let input = Tensor::from_shape(&[1, self.width], row).map_err(failed)?;
        let output = self.state.run(tvec!(input.into())).map_err(failed)?;
        let tensor = output.first().ok_or_else(|| ScoreError::Run("no output".into()))?;
        let members = tensor.to_plain_array_view::<f32>().map_err(failed)?;
        Ok(members.iter().sum::<f32>() / members.len() as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::score::Reference;
    use crate::train::random::Random;
    use crate::train::random_network;

    #[test]
    fn tract_says_what_the_trainers_own_arithmetic_says() {
        for members in [1, 5] {
            let members: Vec<_> = (0..members).map(|seed| random_network(85, &[64, 32], seed)).collect();
            let mut tract = Tract::load(&onnx::write(&members)).unwrap();
            let mut random = Random::new(3);
            for _ in 0..200 {
                let row: Vec<f32> = (0..85).map(|_| (2.0 * random.normal()) as f32).collect();
                let (found, expected) = (tract.score(&row).unwrap(), Reference(&members).score(&row).unwrap());
                assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
            }
            assert!(tract.score(&[0.0; 84]).is_err(), "a row of another width");
        }
    }
}
