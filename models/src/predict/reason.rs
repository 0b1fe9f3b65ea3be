//! Why there is no prediction. An absent number always carries its reason, in the words of the health record.

use serde::{Deserialize, Serialize};

/// Why nothing can be said about the remaining life at this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The unit's own healthy baseline is still being learned.
    BaselineNotLearned,
    /// A channel was silent for too long, or the step does not fit the schema.
    InputsMissing,
    /// The operating state is none that training has seen.
    RegimeUnknown,
    /// The features lie farther out than training reached.
    OutOfDomain,
    /// No trend towards a limit stands out of the noise.
    TrendNotIdentifiable,
    /// The trend's median passage lies beyond the horizon.
    BeyondHorizon,
    /// The step is not younger than the last one.
    NotInOrder,
    /// The model gave no finite number.
    NotFinite,
}

impl Reason {
    /// The word in records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BaselineNotLearned => "baseline_not_learned",
            Self::InputsMissing => "inputs_missing",
            Self::RegimeUnknown => "regime_unknown",
            Self::OutOfDomain => "out_of_domain",
            Self::TrendNotIdentifiable => "trend_not_identifiable",
            Self::BeyondHorizon => "beyond_horizon",
            Self::NotInOrder => "not_in_order",
            Self::NotFinite => "not_finite",
        }
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}
