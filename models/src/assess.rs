//! The assessment: what detection, health assessment and prognosis say together about one asset at one slide.
//!
//! Place in the flow: made by [`crate::detect::Detector::step`], read by the engine, which adds names, units and the
//! window's indicators and makes a health record of it. Plain data; channels are indices into the layout.
//!
//! A1: `score`, `threshold`, `p_value` are all present or all absent, and present exactly if `reason` is absent.
//! A2: `verdict` is abnormal exactly if `score > threshold`, which is exactly `p_value` below its own threshold.
//! A3: shares are in 0..=1, sum to 1 and are sorted, largest first.

use fettle_wire::{NoVerdict, Rul, Verdict};
use serde::{Deserialize, Serialize};

/// One channel's part in a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Index of the channel in the layout.
    pub channel: usize,
    /// Share of the score, 0..1.
    pub share: f64,
    /// Observed value, SI; the expected one where the observation is absent.
    pub value: f64,
    /// What the baseline expects of a healthy machine at this speed and load, SI.
    pub expected: f64,
}

/// What is thought of one asset at one slide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Normal, abnormal or none.
    pub verdict: Verdict,
    /// Why there is no verdict.
    pub reason: Option<NoVerdict>,
    /// T2 of the multivariate EWMA, corrected for what a finite baseline cannot know (`detect::mewma`).
    pub score: Option<f64>,
    /// The score above which the asset is abnormal, from the false alarms asked for.
    pub threshold: Option<f64>,
    /// Probability of such a score or a higher one at one instant while healthy.
    pub p_value: Option<f64>,
    /// Which channels the score rests on.
    pub contributions: Vec<Share>,
    /// Share of the baseline that is learned, 0..1.
    pub baseline: f64,
    /// 1 healthy .. 0 at the limit; absent without a baseline.
    pub health_index: Option<f64>,
    /// Remaining useful life or why none.
    pub rul: Rul,
    /// Channels whose innovation had to be imputed, by index in the layout.
    pub imputed: Vec<usize>,
    /// Channels the baseline left out because they were silent or constant while it was learned, by index.
    pub dropped: Vec<usize>,
}

impl Assessment {
    /// No verdict, for this reason; nothing else known but how much of the baseline is learned.
    pub(crate) fn none(reason: NoVerdict, baseline: f64) -> Self {
        Self {
            verdict: Verdict::None,
            reason: Some(reason),
            score: None,
            threshold: None,
            p_value: None,
            contributions: Vec::new(),
            baseline,
            health_index: None,
            rul: Rul::None { reason: rul_reason(reason).into() },
            imputed: Vec::new(),
            dropped: Vec::new(),
        }
    }
}

/// The reason why there is no remaining life where there is no verdict.
pub(crate) fn rul_reason(reason: NoVerdict) -> &'static str {
    match reason {
        NoVerdict::BaselineNotLearned => "baseline_not_learned",
        NoVerdict::InputsMissing => "inputs_missing",
        NoVerdict::RegimeUnknown => "regime_unknown",
        NoVerdict::NothingMonitored | NoVerdict::Degenerate => "no_limit",
    }
}
