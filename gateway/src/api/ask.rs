//! What a list may be asked for: filters, a limit, and a cursor that says where the next page begins.
//!
//! A cursor is the sort key of the last item that was given, so pages neither repeat nor skip what did not move in the
//! order meanwhile. Opaque to callers.

use std::fmt::Write;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use fettle_wire::Priority;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::Problem;

/// The longest list.
pub(super) const MAX_LIMIT: usize = 10_000;
/// The length of a list unless asked for.
const LIMIT: usize = 1_000;

/// The parameters as they come.
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

/// The parameters, or what is wrong with them.
pub(super) fn ask<T: DeserializeOwned>(asked: Asked<T>, known: &str) -> Result<T, Problem> {
    match asked {
        Ok(Query(ask)) => Ok(ask),
        Err(e) => Err(Problem::bad_request(&format!("{}; parameters are {known}", e.body_text()))),
    }
}

/// How long a list may be.
pub(super) fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(LIMIT).clamp(1, MAX_LIMIT)
}

/// Which of the assets, and how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskAssets {
    /// Only of this site.
    pub(super) site: Option<String>,
    /// Only assets with an open alarm of at least this priority: low, medium, high, critical.
    pub(super) priority: Option<String>,
    /// Only in this state: normal, abnormal, none (no verdict), quarantined, silent (no health record yet), stale (not
    /// heard of for `stale_after`).
    pub(super) state: Option<String>,
    /// Only where site or asset contain this text, whatever its case.
    pub(super) text: Option<String>,
    /// `urgency` (unless given) or `name`.
    pub(super) order: Option<String>,
    /// Begin behind this one: what the last answer gave as `next`.
    pub(super) cursor: Option<String>,
    /// At most this many, 1 to 10,000; 1,000 unless given.
    pub(super) limit: Option<usize>,
}

/// Which of the alarms, and how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskAlarms {
    /// Only of this site.
    pub(super) site: Option<String>,
    /// Only open ones, or only ended ones.
    pub(super) open: Option<bool>,
    /// Only shelved ones, or only those that are not.
    pub(super) shelved: Option<bool>,
    /// Only of at least this priority: low, medium, high, critical.
    pub(super) priority: Option<String>,
    /// Only in this state: normal, unacknowledged, acknowledged, returned_unacknowledged.
    pub(super) state: Option<String>,
    /// Only where site, asset, condition or message contain this text, whatever its case.
    pub(super) text: Option<String>,
    /// Begin behind this one: what the last answer gave as `next`.
    pub(super) cursor: Option<String>,
    /// At most this many, 1 to 10,000; 1,000 unless given.
    pub(super) limit: Option<usize>,
}

/// Which changes of alarms, and how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskLog {
    /// Only of this site.
    pub(super) site: Option<String>,
    /// Only of this asset; needs its site.
    pub(super) asset: Option<String>,
    /// Only of at least this priority: low, medium, high, critical.
    pub(super) priority: Option<String>,
    /// Only where site, asset, condition or message contain this text, whatever its case.
    pub(super) text: Option<String>,
    /// Begin behind this one: what the last answer gave as `next`.
    pub(super) cursor: Option<String>,
    /// At most this many, 1 to 10,000; 1,000 unless given.
    pub(super) limit: Option<usize>,
}

/// Which of an asset's evidence, and how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskEvidence {
    /// Only of this channel.
    pub(super) channel: Option<String>,
    /// Only shown for this reason: alarm, periodic.
    pub(super) occasion: Option<String>,
    /// Only for an alarm with this condition.
    pub(super) condition: Option<String>,
    /// Only for this occurrence of an alarm.
    pub(super) occurrence: Option<u64>,
    /// Begin behind this one: what the last answer gave as `next`.
    pub(super) cursor: Option<String>,
    /// At most this many, 1 to 10,000; 1,000 unless given.
    pub(super) limit: Option<usize>,
}

/// Which accounts, and how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskLedger {
    /// Only of this site.
    pub(super) site: Option<String>,
    /// Only accounts with missing frames (true) or without (false).
    pub(super) missing: Option<bool>,
    /// Only where site, agent or asset contain this text, whatever its case.
    pub(super) text: Option<String>,
    /// Begin behind this one: what the last answer gave as `next`.
    pub(super) cursor: Option<String>,
    /// At most this many, 1 to 10,000; 1,000 unless given.
    pub(super) limit: Option<usize>,
}

/// Which requests, and how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskAudit {
    /// Only of this site.
    pub(super) site: Option<String>,
    /// Only where person, asset, condition or comment contain this text, whatever its case.
    pub(super) text: Option<String>,
    /// Begin behind this one: what the last answer gave as `next`.
    pub(super) cursor: Option<String>,
    /// At most this many, 1 to 10,000; 1,000 unless given.
    pub(super) limit: Option<usize>,
}

/// Which part of an asset's history.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskHistory {
    /// From, event time, microseconds UTC; unless given, a day before `to`.
    pub(super) from: Option<i64>,
    /// To, left out; unless given, just behind the newest point.
    pub(super) to: Option<i64>,
    /// auto (unless given), raw, 1min or 1h.
    pub(super) resolution: Option<String>,
    /// Names of series, or of channels for all of theirs, separated by commas; unless given, all.
    pub(super) series: Option<String>,
    /// At most this many points, 1 to 5,000; 1,000 unless given.
    pub(super) points: Option<usize>,
}

/// A priority by its name.
pub(super) fn priority(asked: Option<&str>) -> Result<Option<Priority>, Problem> {
    Ok(Some(match asked {
        None => return Ok(None),
        Some("low") => Priority::Low,
        Some("medium") => Priority::Medium,
        Some("high") => Priority::High,
        Some("critical") => Priority::Critical,
        Some(other) => {
            return Err(Problem::bad_request(&format!("priority is low, medium, high or critical, not {other:?}")));
        }
    }))
}

/// Looks for a text whatever its case.
pub(super) struct Needle(Option<String>);

impl Needle {
    pub(super) fn new(asked: Option<&str>) -> Self {
        Self(asked.map(str::trim).filter(|text| !text.is_empty()).map(str::to_lowercase))
    }

    pub(super) fn is_in(&self, texts: &[&str]) -> bool {
        self.0.as_ref().is_none_or(|needle| texts.iter().any(|text| text.to_lowercase().contains(needle)))
    }
}

/// One page of `items`, which have their sort keys, and where the next begins.
pub(super) fn page<T>(
    mut items: Vec<(String, T)>,
    cursor: Option<&str>,
    asked: Option<usize>,
) -> (Vec<T>, Option<String>) {
    items.sort_by(|a, b| a.0.cmp(&b.0));
    let begin = cursor.map_or(0, |cursor| items.partition_point(|(key, _)| key.as_str() <= cursor));
    let limit = limit(asked);
    let mut page: Vec<(String, T)> = items.into_iter().skip(begin).take(limit + 1).collect();
    let is_more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| is_more).map(|(key, _)| key.clone());
    (page.into_iter().map(|(_, item)| item).collect(), next)
}

/// Bytes as a cursor.
pub(super) fn to_cursor(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a cursor.
pub(super) fn of_cursor(cursor: Option<&str>) -> Result<Option<Vec<u8>>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let wrong = || Problem::bad_request("the cursor is not one that an answer gave as `next`");
    if cursor.len() % 2 != 0 || cursor.len() > 1_022 || !cursor.is_ascii() {
        return Err(wrong());
    }
    let digits = |at: usize| u8::from_str_radix(&cursor[at..at + 2], 16).map_err(|_| wrong());
    (0..cursor.len()).step_by(2).map(digits).collect::<Result<Vec<u8>, Problem>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_without_gap_or_overlap() {
        let items = || (0..10).rev().map(|n| (format!("{n:02}"), n)).collect::<Vec<_>>();
        let (first, next) = page(items(), None, Some(4));
        assert_eq!((first, next.as_deref()), (vec![0, 1, 2, 3], Some("03")));
        let (second, next) = page(items(), next.as_deref(), Some(6));
        assert_eq!((second, next), (vec![4, 5, 6, 7, 8, 9], None));
    }

    #[test]
    fn a_cursor_is_read_back_and_any_other_text_is_refused() {
        let bytes = vec![0, 255, 16];
        assert!(of_cursor(Some(&to_cursor(&bytes))).is_ok_and(|back| back == Some(bytes)));
        for wrong in ["0", "zz", "ää", &"00".repeat(600)] {
            assert!(of_cursor(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
