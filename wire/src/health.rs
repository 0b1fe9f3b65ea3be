//! The health record: what the agent thinks of an asset at one instant of its grid, with the window's indicators.
//!
//! Written by the engine once per asset and publishing interval and at once on a change of verdict, on `fettle.health`.
//! All values are SI of the unit that stands beside them, all times event time in microseconds UTC.
//!
//! Absence carries its reason: a verdict of `none` comes with a [`NoVerdict`], no RUL with [`Rul::None`]. A number that
//! is not finite is absent, never written ([`crate::json`] says why).
//!
//! Must never hold an opinion that the window it names does not support: a late reading makes a new `revision`, not a
//! change of an old record.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::release::ReleaseRef;
use crate::time::Micros;

/// Summary of one channel over one window, in SI units of `unit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Indicator {
    /// The channel.
    pub channel: Name,
    /// SI unit, UCUM code.
    pub unit: String,
    /// Readings in the window.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Population variance.
    pub variance: f64,
    /// Skewness m3 / m2^1.5; absent when the variance is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skewness: Option<f64>,
    /// Pearson kurtosis m4 / m2^2 (3 for a Gaussian); absent when the variance is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kurtosis: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Root of the mean square.
    pub rms: f64,
    /// Least-squares slope over event time, unit per second; absent when all readings share one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slope: Option<f64>,
}

/// How much of a score one channel explains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The channel.
    pub channel: Name,
    /// Share of the statistic, 0..1; the shares sum to 1.
    pub share: f64,
    /// Observed value, SI.
    pub value: f64,
    /// What the baseline expects in this regime, SI.
    pub expected: f64,
    /// SI unit, UCUM code.
    pub unit: String,
}

/// How much one input moves a release's word on the remaining life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RulContribution {
    /// The channel, or `age`.
    pub channel: String,
    /// Seconds by which remaining life is longer (shorter if negative) than with a healthy machine's values in its place.
    pub moves: f64,
}

/// Why no verdict can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoVerdict {
    /// The baseline is still being learned.
    BaselineNotLearned,
    /// More inputs are absent than may be imputed.
    InputsMissing,
    /// Speed or load lie outside what the baseline has seen.
    RegimeUnknown,
    /// The asset has no monitored channel.
    NothingMonitored,
    /// The residual covariance cannot be inverted (a monitored channel is constant).
    Degenerate,
}

/// The verdict of state detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Behaves as its baseline.
    Normal,
    /// Behaves unusually.
    Abnormal,
    /// No verdict; see the reason.
    None,
}

/// Remaining useful life, in seconds of event time from the record's window end, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", try_from = "RulParts")]
pub enum Rul {
    /// First-passage quantiles: with probability 0.1 the limit is reached before `p10`, and so on.
    Interval {
        /// 10 % quantile, s.
        p10: f64,
        /// Median, s.
        p50: f64,
        /// 90 % quantile, s; absent when less than 90 % of the probability lies within the horizon.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        p90: Option<f64>,
        /// Method that spoke, e.g. `level_rate_first_passage`.
        method: String,
        /// Channel whose limit is reached first.
        channel: Name,
    },
    /// No prediction.
    None {
        /// Why: `baseline_not_learned`, `trend_not_identifiable`, `beyond_horizon`, `no_limit`, `inputs_missing`, `regime_unknown`.
        reason: String,
    },
}

/// [`Rul`] as it is read: serde's own reader of a tagged enum first keeps every field, known or not, in a dynamic value,
/// which costs 32 bytes for each two that a stranger sends.
#[derive(Deserialize)]
struct RulParts {
    kind: RulKind,
    p10: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    method: Option<String>,
    channel: Option<Name>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RulKind {
    Interval,
    None,
}

impl TryFrom<RulParts> for Rul {
    type Error = &'static str;
    fn try_from(parts: RulParts) -> Result<Self, &'static str> {
        match parts.kind {
            RulKind::Interval => Ok(Self::Interval {
                p10: parts.p10.ok_or("an interval needs p10")?,
                p50: parts.p50.ok_or("an interval needs p50")?,
                p90: parts.p90,
                method: parts.method.ok_or("an interval needs its method")?,
                channel: parts.channel.ok_or("an interval needs its channel")?,
            }),
            RulKind::None => Ok(Self::None { reason: parts.reason.ok_or("no prediction needs its reason")? }),
        }
    }
}

/// The body of a record on `fettle.health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The asset.
    pub asset: Name,
    /// Start of the window; the window is `[window_start, window_end)`.
    pub window_start: Micros,
    /// End of the window, exclusive.
    pub window_end: Micros,
    /// 0 for what was first published of this window; higher after late readings changed it.
    pub revision: u32,
    /// The verdict.
    pub verdict: Verdict,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<NoVerdict>,
    /// Health index, 1 healthy .. 0 failed; absent without a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_index: Option<f64>,
    /// Mahalanobis T2 of the MEWMA statistic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Its calibrated tail probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Per channel shares of the score, largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contributions: Vec<Contribution>,
    /// Share of the baseline that is learned, 0..1.
    pub baseline: f64,
    /// Remaining useful life or why none.
    pub rul: Rul,
    /// Per channel summaries of the window.
    pub indicators: Vec<Indicator>,
    /// Data-quality flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The release that told the remaining life; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseRef>,
    /// What moved a release's word on the remaining life, strongest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rul_contributions: Vec<RulContribution>,
    /// Which of the asset's lives the window ends in, from 1; a failure or a replacement ends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<u64>,
    /// Seconds from the beginning of that life to the window's end; absent where the beginning is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn remaining_life_is_read_as_it_is_written() {
        let channel = Name::new("temperature").unwrap();
        let both = [
            Rul::Interval { p10: 1.0, p50: 2.0, p90: None, method: "m".into(), channel: channel.clone() },
            Rul::Interval { p10: 1.0, p50: 2.0, p90: Some(3.0), method: "m".into(), channel },
            Rul::None { reason: "no_limit".into() },
        ];
        let texts = [
            r#"{"kind":"interval","p10":1.0,"p50":2.0,"method":"m","channel":"temperature"}"#,
            r#"{"kind":"interval","p10":1.0,"p50":2.0,"p90":3.0,"method":"m","channel":"temperature"}"#,
            r#"{"kind":"none","reason":"no_limit"}"#,
        ];
        for (rul, text) in both.iter().zip(texts) {
            assert_eq!(json::encode(rul).unwrap(), text);
            assert_eq!(json::decode::<Rul>(text.as_bytes()).unwrap(), *rul);
        }
    }

    #[test]
    fn remaining_life_without_what_its_kind_needs_is_refused() {
        for text in [
            r#"{"kind":"none"}"#,
            r#"{"reason":"no_limit"}"#,
            r#"{"kind":"soon"}"#,
            r#"{"kind":"interval","p10":1.0,"p50":2.0,"method":"m"}"#,
            r#"{"kind":"interval","p50":2.0,"method":"m","channel":"t"}"#,
            r#"{"kind":"interval","p10":null,"p50":2.0,"method":"m","channel":"t"}"#,
        ] {
            assert!(json::decode::<Rul>(text.as_bytes()).is_err(), "{text}");
        }
        let grown = r#"{"kind":"none","reason":"no_limit","since":[1,2]}"#;
        assert!(json::decode::<Rul>(grown.as_bytes()).is_ok());
    }
}
