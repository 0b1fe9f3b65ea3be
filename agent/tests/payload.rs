//! Claims about foreign payloads that hold for every input: no panic, every value accounted for, what was written is read.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use fettle_agent::acquire::payload::{Decoded, MAX_READINGS, PayloadError, decode};
use fettle_agent::acquire::template::Match;
use proptest::collection::vec;
use proptest::prelude::*;

fn found(channel: Option<&str>) -> Match<'_> {
    Match { asset: "pump", channel, unit: None }
}

fn is_sound(result: &Result<Decoded<'_>, PayloadError>) -> bool {
    match result {
        Ok(decoded) => {
            let rejected: u64 = decoded.rejected.iter().map(|(_, count)| count).sum();
            let all = decoded.readings.len() as u64 + rejected;
            (1..=MAX_READINGS as u64).contains(&all) && decoded.readings.iter().all(|reading| reading.value.is_finite())
        }
        Err(error) => ["malformed_json", "empty", "oversized", "bad_name"].contains(&error.reason),
    }
}

/// Text that is often JSON: pieces of it in any order.
fn nearly_json() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "1",
        "-2.5e3",
        "\"value\"",
        "\"ts\"",
        "\"unit\"",
        "\"Cel\"",
        "null",
        "true",
        "\"a\"",
        " ",
        "1732183514123",
        "\"2024-11-21T10:05:14Z\"",
        "{\"value\":1}",
        "1e999",
        "\"\\ud800\"",
    ];
    vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn arbitrary_bytes_never_panic_and_are_accounted_for(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(is_sound(&decode(found(Some("t")), &bytes)));
        prop_assert!(is_sound(&decode(found(None), &bytes)));
    }

    #[test]
    fn what_is_nearly_json_never_panics_and_is_accounted_for(text in nearly_json()) {
        prop_assert!(is_sound(&decode(found(Some("t")), text.as_bytes())), "{}", text);
        prop_assert!(is_sound(&decode(found(None), text.as_bytes())), "{}", text);
    }

    #[test]
    fn what_was_written_is_read(rows in vec((-1e12..1e12f64, prop::option::of(946_684_800_000_000..4_102_444_800_000_000i64)), 1..50)) {
        let items: Vec<String> = rows
            .iter()
            .map(|(value, time)| match time {
                Some(time) => format!(r#"{{"ts":{time},"value":{value:?}}}"#),
                None => format!("{value:?}"),
            })
            .collect();
        let payload = format!("[{}]", items.join(","));
        let decoded = decode(found(Some("t")), payload.as_bytes()).unwrap();
        let read: Vec<_> = decoded.readings.iter().map(|reading| (reading.value, reading.time)).collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn channels_of_one_object_are_read(rows in prop::collection::btree_map("[a-z][a-z0-9_.-]{3,20}", -1e9..1e9f64, 1..40)) {
        // Four letters and more, so that no field is taken for "ts"; "time" and "unit" are.
        prop_assume!(!rows.contains_key("time") && !rows.contains_key("unit") && !rows.contains_key("timestamp"));
        let fields: Vec<String> = rows.iter().map(|(channel, value)| format!("{channel:?}:{value:?}")).collect();
        let payload = format!(r#"{{{},"ts":1732183514123}}"#, fields.join(","));
        let decoded = decode(found(None), payload.as_bytes()).unwrap();
        let read: Vec<_> = decoded.readings.iter().map(|reading| (reading.channel.to_string(), reading.value)).collect();
        prop_assert_eq!(read, rows.into_iter().collect::<Vec<_>>());
        prop_assert!(decoded.readings.iter().all(|reading| reading.time == Some(1_732_183_514_123_000)));
    }
}
