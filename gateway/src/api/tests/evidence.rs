//! Evidence as it is asked for: filtered, in pages, whole.

use fettle_wire::time::MINUTE;
use serde_json::Value;

use super::document::exhibit;
use super::*;
use crate::history::store::Batch;

const LIST: &str = "/api/v1/assets/plant-a/pump/evidence";

fn body(answer: &(u16, String)) -> Value {
    assert_eq!(answer.0, 200, "{}", answer.1);
    serde_json::from_str(answer.1.split_once("\r\n\r\n").unwrap().1).unwrap()
}

async fn running() -> Running {
    let running = Running::start(Vec::new()).await;
    let begin = 20_778 * time::DAY;
    let mut all: Vec<_> =
        (1..=6_u8).map(|n| exhibit(n, begin + i64::from(n) * MINUTE, (n % 3 == 0).then_some(u64::from(n)))).collect();
    all[0].evidence.channel = name("housing");
    running.api.history.take_in(&Batch { evidence: all, ..Batch::default() }).unwrap();
    running
}

#[tokio::test]
async fn filters_choose_and_pages_join_without_gap_or_overlap() {
    let running = running().await;
    for (query, expected) in [
        ("", vec!["06", "05", "04", "03", "02", "01"]),
        ("?occasion=alarm", vec!["06", "03"]),
        ("?occasion=periodic&channel=acceleration", vec!["05", "04", "02"]),
        ("?channel=housing", vec!["01"]),
        ("?condition=anomaly&occurrence=3", vec!["03"]),
        ("?condition=limit.x", vec![]),
        ("?occurrence=9", vec![]),
    ] {
        let answer = body(&running.get(&format!("{LIST}{query}")).await);
        let ids: Vec<&str> =
            answer["evidence"].as_array().unwrap().iter().map(|e| &e["id"].as_str().unwrap()[..2]).collect();
        assert_eq!(ids, expected, "{query}");
    }
    let (mut cursor, mut ids) = (String::new(), Vec::new());
    loop {
        let answer = body(&running.get(&format!("{LIST}?limit=4{cursor}")).await);
        ids.extend(answer["evidence"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()[..2].to_owned()));
        match answer["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ids, ["06", "05", "04", "03", "02", "01"]);
}

#[tokio::test]
async fn one_is_given_whole_with_its_samples_as_the_agent_wrote_them() {
    let running = running().await;
    let answer = body(&running.get(&format!("{LIST}/{}", "03".repeat(16))).await);
    let mut expected = serde_json::to_value(&exhibit(3, 0, Some(3)).evidence).unwrap();
    expected["time"] = (20_778 * time::DAY + 3 * MINUTE).into();
    assert_eq!((&answer["evidence"], answer["agent"].as_str()), (&expected, Some("gw-1")));
    assert_eq!(answer["evidence"]["samples"].as_str().map(str::len), Some(16_384), "12,288 bytes in base64");
}
