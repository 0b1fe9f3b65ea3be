//! Two fleet gateways, a page on each. One gateway is killed and comes back: its page says so and goes on without being
//! loaded again; the other's page notices nothing, and whoever listens there hears of every record once.

use std::collections::BTreeMap;
use std::time::Duration;

use fettle_wire::{Health, LedgerEntry};
use serde_json::Value;
use testbed::browser::{Browser, Page};
use testbed::listener::Event;
use testbed::{Listener, Plant, PlantOptions, eventually, plant, records, require};

const PATIENCE: Duration = Duration::from_secs(60);
const MACHINES: usize = 8;
const LIVE: &str = "document.querySelector('#link.on') !== null && document.querySelector('#banner').hidden";
/// Notes whether the page ever said that it has no link; gone if the page is loaded again.
const NOTE_LINK: &str = "void (window.wasCut = false, new MutationObserver(() => {
    window.wasCut ||= document.querySelector('#link').classList.contains('off');
  }).observe(document.querySelector('#link'), { attributes: true, childList: true }))";
/// What the fleet's rows say, ages left out, which differ by the moment of looking.
const ROWS: &str = "[...document.querySelectorAll('table.fleet tbody tr')].map((r) =>
    [...r.querySelectorAll('td:not(.c-seen)')].map((c) => c.innerText).join(' '))";

/// A health record as a page hears of it: asset, window, revision; beside the event's number.
type Heard = (u64, Option<(String, i64, u64)>);

fn keep(event: Event) -> Option<Heard> {
    let number = event.number()?;
    if event.name != "health" {
        // A greeting carries the number of the event before.
        return (!["hello", "resumed", "reset"].contains(&event.name.as_str())).then_some((number, None));
    }
    let data: Value = serde_json::from_str(&event.data).ok()?;
    let about = (data["asset"].as_str()?.to_owned(), data["at"].as_i64()?, data["revision"].as_u64()?);
    Some((number, Some(about)))
}

fn options() -> PlantOptions {
    let mut options = PlantOptions::new("two-pages");
    options.gateways = 2;
    options.sim = format!(
        "seed = 13\nmachines = {MACHINES}\ninterval = \"30s\"\nframe_readings = 10\nstart = \"now-60h\"\nspeed = 1440.0"
    );
    options.engine =
        "slide = \"2min\"\nwindow = \"30min\"\npublish = \"10min\"\nlateness = \"10min\"\nidle = \"10min\"\n\
                      baseline_slides = 180"
            .to_owned();
    options
}

#[test]
fn a_page_outlives_its_gateway_and_the_page_of_the_other_gateway_notices_nothing() {
    if !require(&plant::TOOLS_AND_BROWSER) {
        return;
    }
    let mut plant = Plant::start(&options());
    let listener = Listener::start(&plant.gateways[1].address(), keep);
    let browser = Browser::start(&plant.folder);
    let pages = [0, 1].map(|gateway| browser.open(&plant.gateways[gateway].url("/#/fleet")));
    plant.start_sim();
    let rows = format!("document.querySelectorAll('table.fleet tbody tr').length === {MACHINES}");
    for page in &pages {
        page.await_true("the page shows the whole fleet", PATIENCE, &format!("{LIVE} && {rows}"));
        page.value(NOTE_LINK);
    }

    plant.gateways[0].kill();
    let before = listener.count();
    pages[0].await_true(
        "it says that it is cut off",
        PATIENCE,
        "window.wasCut && !document.querySelector('#banner').hidden",
    );
    let old =
        "[...document.querySelectorAll('table.fleet tbody .c-verdict')].every((c) => c.querySelector('.mark.stale'))";
    pages[0].await_true("nothing on it looks healthy", PATIENCE, old);
    eventually("the other goes on", PATIENCE, || match listener.count() - before {
        heard if heard > 100 => Ok(()),
        heard => Err(format!("{heard} events heard")),
    });
    plant.gateways[0].start_again();
    pages[0].await_true("it is live again", PATIENCE, LIVE);
    assert_eq!(pages[0].value("window.wasCut"), true, "the page was loaded again");
    assert_eq!(pages[1].value("window.wasCut"), false, "the page of the other gateway was disturbed");
    assert_eq!(pages[1].complaints(), []);
    let own = pages[0].complaints().into_iter().filter(|c| c.source != "network").collect::<Vec<_>>();
    assert_eq!(own, [], "the page complained while its gateway was away");

    let sim = plant.sim.as_mut().expect("it was started above");
    sim.stop(PATIENCE);
    plant.await_outbox_empty(PATIENCE);
    both_show_the_same(&plant, &pages);
    every_record_is_told_once(&plant, &listener);
}

fn both_show_the_same(plant: &Plant, pages: &[Page; 2]) {
    let ledger: Vec<records::Published<LedgerEntry>> =
        records::read(&plant.kafka, "fettle.ledger").unwrap_or_else(|e| panic!("{e}"));
    assert!(!ledger.is_empty());
    let total = records::total(records::final_ledger(&plant.kafka).unwrap_or_else(|e| panic!("{e}")).values());
    let health: Vec<records::Published<Health>> =
        records::read(&plant.kafka, "fettle.health").unwrap_or_else(|e| panic!("{e}"));
    for gateway in [0, 1] {
        plant.await_gateway_total(gateway, &total, PATIENCE);
        let applied = plant.fleet(gateway).unwrap_or_else(|e| panic!("{e}")).records_of("fettle.health");
        assert_eq!(applied, (health.len() as u64, 0), "gateway {gateway}: records applied, and known already");
    }
    eventually("both pages show the same", PATIENCE, || {
        let shown = [pages[0].look(ROWS)?, pages[1].look(ROWS)?];
        let whole = shown[0].as_array().is_some_and(|rows| rows.len() == MACHINES);
        if whole && shown[0] == shown[1] { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    pages[0].photograph("after-its-gateway-came-back");
}

fn every_record_is_told_once(plant: &Plant, listener: &Listener<Heard>) {
    let published: Vec<records::Published<Health>> =
        records::read(&plant.kafka, "fettle.health").unwrap_or_else(|e| panic!("{e}"));
    let mut expected: BTreeMap<_, u32> = BTreeMap::new();
    for Health { asset, window_end, revision, .. } in published.into_iter().map(|p| p.body) {
        *expected.entry((asset.to_string(), window_end, u64::from(revision))).or_default() += 1;
    }
    let mut numbers = Vec::new();
    let mut told: BTreeMap<_, u32> = BTreeMap::new();
    eventually("every record is told of", PATIENCE, || {
        for (number, health) in listener.take() {
            numbers.push(number);
            health.into_iter().for_each(|about| *told.entry(about).or_default() += 1);
        }
        if told.len() >= expected.len() { Ok(()) } else { Err(format!("{} of {}", told.len(), expected.len())) }
    });
    assert!(told == expected, "told other than published: {:?}", differences(&told, &expected));
    let gaps: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(gaps.is_empty(), "event numbers that do not follow one another: {gaps:?}");
    println!("{} records told once each, in {} events", told.len(), numbers.len());
}

type Counts = BTreeMap<(String, i64, u64), u32>;

fn differences(told: &Counts, expected: &Counts) -> Vec<String> {
    let every = told.keys().chain(expected.keys());
    let differs = every.filter(|key| told.get(*key) != expected.get(*key));
    differs.take(10).map(|key| format!("{key:?}: {:?} of {:?}", told.get(key), expected.get(key))).collect()
}
