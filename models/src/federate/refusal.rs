//! Why something a site sent was not used, and why a round came to nothing. Names are stable: they are metrics and text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a message was refused. None of them changes the result (G1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Not the CBOR it should be, or longer than it may be.
    Malformed,
    /// A schema version this build does not read.
    Version,
    /// Without a signature.
    Unsigned,
    /// Signed by a key nobody has registered.
    UnknownKey,
    /// The signature is not that key's over these bytes.
    BadSignature,
    /// The key belongs to another site or agent than the message says.
    WrongIdentity,
    /// For another cohort.
    WrongCohort,
    /// A number is not finite.
    NonFinite,
    /// A step size or the whole change is greater than any honest site sends.
    TooLarge,
    /// Number or size of tensors is not the base's.
    WrongShape,
    /// Based on a release this cohort never had.
    UnknownBase,
    /// The release named is known under another version.
    WrongBase,
    /// Based on a release too many versions ago.
    TooStale,
    /// These very bytes were taken before.
    Replayed,
    /// The site has sent a newer one, which is kept.
    Superseded,
    /// The site has sent more updates than a window of versions allows.
    Flooded,
    /// Learned from nothing.
    NoSamples,
    /// By itself it makes the active model worse on the root set.
    Harmful,
    /// Statistics too far from those of most sites.
    Implausible,
    /// Not asked for: the census is closed, or there is no such candidate.
    NotAsked,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Malformed,
        Self::Version,
        Self::Unsigned,
        Self::UnknownKey,
        Self::BadSignature,
        Self::WrongIdentity,
        Self::WrongCohort,
        Self::NonFinite,
        Self::TooLarge,
        Self::WrongShape,
        Self::UnknownBase,
        Self::WrongBase,
        Self::TooStale,
        Self::Replayed,
        Self::Superseded,
        Self::Flooded,
        Self::NoSamples,
        Self::Harmful,
        Self::Implausible,
        Self::NotAsked,
    ];

    /// Its name in metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::WrongIdentity => "wrong_identity",
            Self::WrongCohort => "wrong_cohort",
            Self::NonFinite => "non_finite",
            Self::TooLarge => "too_large",
            Self::WrongShape => "wrong_shape",
            Self::UnknownBase => "unknown_base",
            Self::WrongBase => "wrong_base",
            Self::TooStale => "too_stale",
            Self::Replayed => "replayed",
            Self::Superseded => "superseded",
            Self::Flooded => "flooded",
            Self::NoSamples => "no_samples",
            Self::Harmful => "harmful",
            Self::Implausible => "implausible",
            Self::NotAsked => "not_asked",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refusal {}

/// Why a round gave no new weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Void {
    /// The candidate is not better on the root set.
    NotBetter,
    /// Most sites report that the candidate is not better on their own data.
    SitesDisagree,
    /// Too few sites judged the candidate in time.
    NotJudged,
    /// The candidate holds a number that is not finite.
    NonFinite,
    /// The release was replaced by hand meanwhile.
    Replaced,
}

impl Void {
    /// Its name in metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotBetter => "not_better",
            Self::SitesDisagree => "sites_disagree",
            Self::NotJudged => "not_judged",
            Self::NonFinite => "non_finite",
            Self::Replaced => "replaced",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_record_is_the_name_in_a_metric_and_each_is_its_own() {
        let mut names: Vec<&str> = Refusal::ALL.iter().map(|r| r.as_str()).collect();
        for reason in Refusal::ALL {
            // CBOR with names, as a state is written: a text string, its head one or two bytes.
            let bytes = serde_cbor::to_vec(&reason).unwrap();
            assert!(bytes.ends_with(reason.as_str().as_bytes()), "{reason}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
