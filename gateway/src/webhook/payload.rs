//! Alertmanager's webhook payload, version 4 (prometheus.io, "webhook_config"). One notice, one payload.

use fettle_wire::{Micros, Name, Priority, RecordId};
use serde_json::{Value, json};

use super::notice::{Notice, Status};

const DAY: i64 = 86_400;

/// RFC 3339 in UTC, with seconds. Days to a date by Howard Hinnant's `civil_from_days`.
pub fn rfc3339(at: Micros) -> String {
    let seconds = at.div_euclid(1_000_000);
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

const fn severity(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

/// What identifies the occurrence: the same for its begin and its end, and for each repetition.
pub fn fingerprint(site: &Name, asset: &Name, condition: &str, notice: &Notice) -> String {
    let occurrence = notice.of.occurrence.to_be_bytes();
    let parts: [&[u8]; 5] =
        [site.as_bytes(), asset.as_bytes(), condition.as_bytes(), notice.of.incarnation.as_bytes(), &occurrence];
    RecordId::of(&parts).to_string().chars().take(16).collect()
}

/// The payload; `page` is where people see the alarm, or empty.
pub fn payload(site: &Name, agent: &Name, asset: &Name, condition: &str, notice: &Notice, page: &str) -> Value {
    let (status, ends) = match notice.status {
        Status::Firing => ("firing", "0001-01-01T00:00:00Z".to_owned()),
        Status::Resolved => ("resolved", rfc3339(notice.at)),
    };
    let group = json!({ "alertname": condition, "site": site, "asset": asset });
    let labels = json!({
        "alertname": condition, "site": site, "asset": asset, "agent": agent,
        "severity": severity(notice.of.priority), "occurrence": notice.of.occurrence.to_string(),
    });
    let annotations = json!({ "summary": notice.message });
    let link = if page.is_empty() { String::new() } else { format!("{page}/#/asset/{site}/{asset}") };
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname=\"{condition}\", asset=\"{asset}\", site=\"{site}\"}}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "fettle",
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": page,
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": rfc3339(notice.of.raised_at),
            "endsAt": ends,
            "generatorURL": link,
            "fingerprint": fingerprint(site, asset, condition, notice),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (1_700_000_000_999_999, "2023-11-14T22:13:20Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(at), text);
        }
    }
}
