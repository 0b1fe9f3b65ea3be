//! How the contract's types look in the OpenAPI document: `wire` knows nothing of documents, so its types are described
//! here, shape for shape. Closed (no unknown fields), so that a field added in `wire` and not here fails the test that
//! holds every answer against the document.
//!
//! Nothing here is ever made or serialised.
#![expect(dead_code, reason = "described, never made")]

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// Priority of an alarm (ISA-18.2).
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Priority {
    Low,
    Medium,
    High,
    Critical,
}

/// Where an alarm stands in its life cycle (ISA-18.2).
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmState {
    Normal,
    Unacknowledged,
    Acknowledged,
    ReturnedUnacknowledged,
}

/// What changed in an alarm.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Raised,
    Returned,
    Acknowledged,
    Shelved,
    Unshelved,
    Commented,
    Labelled,
}

/// What an alarm turned out to be.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Label {
    Confirmed,
    FalseAlarm,
    MaintenanceDone,
}

/// What happened to a machine itself.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[schema(rename_all = "snake_case")]
pub(crate) enum EventKind {
    Failed,
    Replaced,
    MaintenanceDone,
}

/// The verdict of state detection.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Normal,
    Abnormal,
    None,
}

/// Why there is no verdict.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoVerdict {
    BaselineNotLearned,
    InputsMissing,
    RegimeUnknown,
    NothingMonitored,
    Degenerate,
}

/// Remaining useful life in seconds from the window's end, or why there is none.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Rul {
    /// First-passage quantiles.
    Interval {
        /// 10 % quantile, s.
        p10: f64,
        /// Median, s.
        p50: f64,
        /// 90 % quantile, s; absent beyond the horizon.
        #[serde(skip_serializing_if = "Option::is_none")]
        p90: Option<f64>,
        /// The method that spoke.
        method: String,
        /// The channel whose limit is reached first.
        channel: String,
    },
    /// No prediction.
    None {
        /// Why.
        reason: String,
    },
}

/// How much of a score one channel explains.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contribution {
    /// The channel.
    channel: String,
    /// Share of the statistic, 0..1.
    share: f64,
    /// Observed, SI.
    value: f64,
    /// What the baseline expects in this regime, SI.
    expected: f64,
    /// UCUM.
    unit: String,
}

/// Summary of one channel over one window, SI.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Indicator {
    /// The channel.
    channel: String,
    /// UCUM.
    unit: String,
    /// Readings in the window.
    count: u64,
    mean: f64,
    variance: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skewness: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kurtosis: Option<f64>,
    min: f64,
    max: f64,
    rms: f64,
    /// Least squares over event time, unit per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    slope: Option<f64>,
}

/// What an agent thinks of an asset at one instant, whole.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    asset: String,
    /// Start of the window, microseconds UTC.
    window_start: i64,
    /// Its end, left out.
    window_end: i64,
    revision: u32,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    reason: Option<NoVerdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_index: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p_value: Option<f64>,
    #[schema(required = false)]
    contributions: Vec<Contribution>,
    baseline: f64,
    rul: Rul,
    indicators: Vec<Indicator>,
    #[schema(required = false)]
    flags: Vec<String>,
    /// Which of the asset's lives the window ends in.
    #[serde(skip_serializing_if = "Option::is_none")]
    life: Option<u64>,
    /// From the beginning of that life to the window's end, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<f64>,
    #[schema(required = false)]
    release: Option<ReleaseRef>,
    #[schema(required = false)]
    rul_contributions: Vec<RulContribution>,
}

/// What names a release.
#[derive(ToSchema, Serialize)]
pub(crate) struct ReleaseRef {
    name: String,
    version: u64,
    hash: String,
}

/// How much one input moves a release's word on the remaining life.
#[derive(ToSchema, Serialize)]
pub(crate) struct RulContribution {
    channel: String,
    moves: f64,
}

/// A change in an alarm, with its evidence.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alert {
    asset: String,
    condition: String,
    occurrence: u64,
    change: Change,
    state: AlarmState,
    priority: Priority,
    /// Event time, microseconds UTC.
    raised_at: i64,
    /// Event time of this change.
    at: i64,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p_value: Option<f64>,
    message: String,
    contributions: Vec<Contribution>,
    #[schema(required = false)]
    flags: Vec<String>,
    /// While shelved, when the shelf ends, event time, microseconds UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    shelved_until: Option<i64>,
    /// What a person wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    /// What a person last said this occurrence was.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// The command that this change confirms.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// Why a block is shown.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Occasion {
    Alarm,
    Periodic,
}

/// A spectrum: `values[i]` at `frequencies[i]` Hz, ascending.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spectrum {
    /// Hz.
    frequencies: Vec<f64>,
    /// As many.
    values: Vec<f64>,
}

/// One of the bearing's frequencies.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// bpfo, bpfi, bsf, ftf.
    name: String,
    /// Where it is expected at this speed, Hz.
    frequency: f64,
    /// How far it and its harmonics stand out of the noise, dB, about 3 for noise alone; absent where it cannot be resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    strength: Option<f64>,
}

/// One block of samples with its spectra.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evidence {
    asset: String,
    channel: String,
    /// Event time of the first sample, microseconds UTC.
    time: i64,
    occasion: Occasion,
    /// The alarm's condition, where it is shown for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    /// The alarm's occurrence, where it is shown for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    occurrence: Option<u64>,
    /// Samples per second.
    rate: f64,
    /// Unit of `count * scale + offset`, UCUM.
    unit: String,
    /// Unit per count.
    scale: f64,
    /// Value of count 0.
    offset: f64,
    /// Counts: base64 (RFC 4648, padded) of 16-bit little-endian, at most 6,144.
    samples: String,
    /// RMS amplitudes in `unit`.
    spectrum: Spectrum,
    /// RMS amplitudes of the squared envelope, in the square of `unit`.
    envelope: Spectrum,
    /// The band whose envelope it is: lowest and highest frequency, Hz.
    band: Vec<f64>,
    /// Samples that the envelope rests on: more than are shown where blocks were joined.
    joined: u64,
    /// The bearing's frequencies; absent without geometry or speed.
    #[schema(required = false)]
    lines: Vec<Line>,
    /// Turns of the shaft a second that were used, Hz; absent where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f64>,
    /// Whether `speed` is the rated one, for want of a reading.
    speed_assumed: bool,
}

/// What became of readings: received = used + late + duplicate + rejected + shed.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tally {
    received: u64,
    used: u64,
    late: u64,
    duplicate: u64,
    /// By reason.
    rejected: BTreeMap<String, u64>,
    /// By reason.
    shed: BTreeMap<String, u64>,
}

/// The account of one boot of one node, in frames: next = received + missing.
#[derive(ToSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeAccount {
    boot: String,
    next: u64,
    received: u64,
    missing: u64,
    /// Of the missing, lost for good.
    lost: u64,
    /// Inclusive, lowest first; the first 32.
    missing_ranges: Vec<Vec<u64>>,
}
