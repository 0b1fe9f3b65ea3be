//! The dashboard as a person has it open all day: an alarm appears by itself and soon, is acknowledged with a name, comes
//! back confirmed; what is cut off is shown as old and never as healthy; it is usable on a phone, in dark and light, and
//! with an assistive technology; and it never complains in the console.

use std::time::Duration;

use fettle_wire::{Alert, Change};
use serde_json::json;
use testbed::browser::{Browser, DESK, PHONE, Page};
use testbed::{Plant, PlantOptions, eventually, plant, records, require};

/// How long after its Kafka record an alarm may appear on an open page.
const SOON_MS: i64 = 2_000;
/// How long anything else on the page may take; nothing is judged by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Notes when each alarm's row was first there, and is gone if the page is ever loaded again.
const NOTE_ROWS: &str = "void (window.rows = {}, new MutationObserver(() => {
    for (const r of document.querySelectorAll('table.alarms tbody tr[data-key]')) window.rows[r.dataset.key] ??= Date.now();
  }).observe(document.body, { childList: true, subtree: true }))";
/// Tells the page that an asset is old after 15 s instead of three minutes, so that a test need not wait those.
const SOON_STALE: &str = "{ const ask = window.fetch; window.fetch = async (...about) => {
    const answer = await ask(...about);
    if (!answer.ok || !String(about[0]).startsWith('/api/v1/assets?')) return answer;
    return new Response(JSON.stringify({ ...await answer.json(), stale_after: 15e6 }), { headers: answer.headers });
  }; }";
/// The conditions shown in the fleet's rows.
const VERDICTS: &str = "[...document.querySelectorAll('table.fleet tbody tr .c-verdict')]";

fn options() -> PlantOptions {
    let mut options = PlantOptions::new("page");
    options.sim =
        "seed = 5\nmachines = 6\ninterval = \"30s\"\nframe_readings = 10\nstart = \"now-150h\"\nspeed = 2880.0"
            .to_owned();
    options.sim_tables =
        "[fault]\nshare = 0.5\nonset = \"26h\"\ntime_to_failure = \"3h\"\ngrowth = \"exponential\"".to_owned();
    options.engine =
        "slide = \"2min\"\nwindow = \"30min\"\npublish = \"10min\"\nlateness = \"10min\"\nidle = \"10min\"\n\
                      baseline_slides = 720"
            .to_owned();
    options
}

/// The row of an alarm.
fn row(key: &str) -> String {
    format!("[...document.querySelectorAll('table.alarms tbody tr')].find((r) => r.dataset.key === {})", json!(key))
}

fn assert_no_complaint(page: &Page, when: &str) {
    assert_eq!(page.complaints(), [], "the page complained {when}");
}

#[test]
fn an_alarm_reaches_an_open_page_and_its_acknowledgement_reaches_the_agent_and_what_is_cut_off_looks_old() {
    if !require(&plant::TOOLS_AND_BROWSER) {
        return;
    }
    let mut plant = Plant::start(&options());
    let browser = Browser::start(&plant.folder);
    let page = browser.open(&plant.gateways[0].url("/#/alarms"));
    page.await_true("the page is live", PATIENCE, "document.querySelector('#link.on') !== null");
    page.value(NOTE_ROWS);
    plant.start_sim();

    let key = an_alarm_appears(&page);
    it_is_acknowledged(&plant, &page, &key);
    all_else_is_asked_in_its_dialog(&plant, &page, &key);
    every_alarm_appeared_soon(&plant, &page);
    every_view_is_usable(&page, &key);
    assert_no_complaint(&page, "while all was well");
    what_is_cut_off_looks_old(&mut plant, &browser, &page);
}

/// Waits for the first alarm that somebody has to see to; its key.
fn an_alarm_appears(page: &Page) -> String {
    let first = "[...document.querySelectorAll('table.alarms tbody tr')].find((r) => r.querySelector('button[aria-label^=Acknowledge]'))?.dataset.key";
    eventually("an alarm appears on the open page", Duration::from_secs(120), || {
        page.look(first)?.as_str().map(str::to_owned).ok_or_else(|| page.text())
    })
}

/// The person gives a name and presses the button; the agent confirms.
fn it_is_acknowledged(plant: &Plant, page: &Page, key: &str) {
    let press = format!("{}.querySelector('button[aria-label^=Acknowledge]')", row(key));
    page.click(&press);
    page.await_true("it asks for the person's name", PATIENCE, "document.activeElement?.id === 'person'");
    page.type_text("Ada Lovelace");
    page.press("Tab");
    page.click(&press);
    let confirmed = format!(
        "{}.querySelector('.c-act').innerText.includes('by Ada Lovelace') && !{0}.querySelector('.c-act .wait')",
        row(key)
    );
    page.await_true("the page shows it as confirmed", PATIENCE, &confirmed);

    let (asset, condition) = key.split_once('|').expect("a key names asset and condition");
    let told = records::alerts(&plant.kafka).unwrap_or_else(|e| panic!("{e}"));
    let by = told
        .iter()
        .map(|a| &a.body)
        .find(|a| a.change == Change::Acknowledged && asset.ends_with(a.asset.as_str()) && a.condition == condition);
    assert_eq!(by.and_then(|a| a.by.as_deref()), Some("Ada Lovelace"), "{key}: what the agent told of it");
    page.photograph("alarm-acknowledged");
}

/// Comments, labels, shelves and ends the shelf as a person does, each until the agent has confirmed it.
fn all_else_is_asked_in_its_dialog(plant: &Plant, page: &Page, key: &str) {
    let (asset, condition) = key.split_once('|').expect("a key names asset and condition");
    let acts = || {
        let told = records::alerts(&plant.kafka).unwrap_or_else(|e| panic!("{e}"));
        let about = |a: &Alert| asset.ends_with(a.asset.as_str()) && a.condition == condition && a.by.is_some();
        told.into_iter().map(|a| a.body).filter(about).collect::<Vec<_>>()
    };
    // A press on a button that is drawn again at that moment is none.
    let open = || {
        eventually("the dialog is open", PATIENCE, || {
            if page.look("document.querySelector('dialog.acts[open]') !== null")? == true {
                return Ok(());
            }
            page.click(&format!("{}.querySelector('button[aria-label^=Shelve]')", row(key)));
            Err("pressed".to_owned())
        });
    };
    let button = |says: &str| {
        format!("[...document.querySelectorAll('dialog.acts button')].find((b) => b.innerText === {})", json!(says))
    };
    let confirmed = |change: Change, shown: &str| {
        eventually(&format!("the agent told of it: {change:?}"), PATIENCE, || {
            let told = acts();
            if told.iter().any(|a| a.change == change) { Ok(()) } else { Err(format!("{told:?}")) }
        });
        let seen = format!("{}?.innerText.includes({}) && !{0}.querySelector('.c-act .wait')", row(key), json!(shown));
        page.await_true(&format!("the page shows it as confirmed: {change:?}"), PATIENCE, &seen);
    };
    let tab = |name: &str| page.click(&format!("document.querySelector('.chips [data-name={name}]')"));

    open();
    assert_no_barrier(page, "with the dialog open");
    page.photograph("alarm-dialog");
    page.press("Escape");
    page.await_true("Escape closes the dialog", PATIENCE, "document.querySelector('dialog') === null");
    let back = "document.activeElement?.ariaLabel?.startsWith('Shelve, comment or label')";
    page.await_true("the focus is where it was", PATIENCE, back);

    open();
    page.click("document.querySelector('dialog.acts textarea')");
    page.type_text("Ölstand geprüft <b>&amp;</b>");
    page.click(&button("Write the comment"));
    confirmed(Change::Commented, "by Ada Lovelace");
    open();
    page.click(&button("maintenance done"));
    confirmed(Change::Labelled, "maintenance done");
    open();
    page.click(&button("1 d"));
    page.await_true("a shelved alarm is not among the open ones", PATIENCE, &format!("!{}", row(key)));
    tab("shelved");
    confirmed(Change::Shelved, "shelved until");
    open();
    page.click(&button("End the shelf now"));
    page.await_true("its shelf has ended", PATIENCE, &format!("!{}", row(key)));
    tab("log");
    let written = "[...document.querySelectorAll('table.alarms .comment')].some((c) => c.innerText === '“Ölstand geprüft <b>&amp;</b>”')";
    page.await_true("the comment stands in the log as it was written", PATIENCE, written);
    tab("open");

    let acts = acts();
    let changes: Vec<_> = acts.iter().map(|a| a.change).collect();
    let all = [Change::Acknowledged, Change::Commented, Change::Labelled, Change::Shelved, Change::Unshelved];
    assert_eq!(changes, all, "what the agent told, in order");
    assert!(acts.iter().all(|a| a.by.as_deref() == Some("Ada Lovelace")), "{acts:?}");
}

/// Compares the time of each alarm's Kafka record with the time of its row in the page, which was never loaded again.
fn every_alarm_appeared_soon(plant: &Plant, page: &Page) {
    let rows = page.value("window.rows");
    let rows = rows.as_object().expect("the page was loaded again: what was noted in it is gone");
    let alerts = records::alerts(&plant.kafka).unwrap_or_else(|e| panic!("{e}"));
    let mut compared = 0;
    for raised in alerts.iter().filter(|a| a.body.change == Change::Raised && a.body.occurrence == 1) {
        let key = format!("{}/{}|{}", plant::SITE, raised.body.asset, raised.body.condition);
        let Some(seen) = rows.get(&key).and_then(serde_json::Value::as_i64) else { continue };
        let late = seen - raised.record.appended;
        println!("{key}: on the page {late} ms after its Kafka record");
        assert!(late <= SOON_MS, "{key}: on the page {late} ms after its Kafka record");
        compared += 1;
    }
    assert!(compared > 0, "no alarm could be compared: {rows:?}");
}

/// Each view at a desk in light and dark and on a phone: a picture, no barrier, no sideways scrolling.
fn every_view_is_usable(page: &Page, key: &str) {
    let asset = key.split_once('|').expect("a key names asset and condition").0;
    let views = [
        ("fleet", "#/fleet".to_owned(), "document.querySelectorAll('table.fleet tbody tr').length === 6"),
        ("asset", format!("#/asset/{asset}"), "document.querySelectorAll('.chart canvas').length >= 4"),
        ("alarms", "#/alarms".to_owned(), "document.querySelector('table.alarms .evidence') !== null"),
        ("data", "#/data".to_owned(), "document.querySelectorAll('main table').length >= 3"),
    ];
    let mut barriers = Vec::new();
    for (name, hash, there) in views {
        page.go(&hash);
        if name == "alarms" {
            // What a person has opened stays open when the theme changes.
            let closed = "document.querySelector('table.alarms tbody button[aria-expanded=false]')";
            page.await_true("alarms are listed", PATIENCE, &format!("{closed} !== null"));
            page.click(closed);
        }
        page.await_true(&format!("the view {name} is there"), PATIENCE, there);
        for (kind, scheme, size) in [("dark", "dark", DESK), ("light", "light", DESK), ("phone", "light", PHONE)] {
            page.resize(size);
            page.prefer(scheme);
            let dark = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((c) => c < 64)";
            let expected = if scheme == "dark" { dark.to_owned() } else { format!("!{dark}") };
            page.await_true(&format!("{name} is {scheme}"), PATIENCE, &expected);
            page.await_true(&format!("{name} is drawn again"), PATIENCE, there);
            page.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
            page.photograph(&format!("{name}-{kind}"));
            barriers.extend(page.barriers().into_iter().map(|barrier| format!("{name}, {kind}: {barrier}")));
            let width = page.value("[document.scrollingElement.scrollWidth, innerWidth]");
            let fits = width[0].as_u64() <= Some(size.0.into()) && width[1].as_u64() == Some(size.0.into());
            assert!(fits, "{name} on {size:?}: content and viewport are {width} wide");
            let out = page.value(
                "[...document.querySelectorAll('.alarm, .card, .evidence')].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.innerText)",
            );
            assert_eq!(out, json!([]), "{name} on {size:?}: what sticks out of its box");
        }
        page.resize(DESK);
    }
    assert!(barriers.is_empty(), "axe-core:\n{}", barriers.join("\n"));
    page.resize(PHONE);
    page.value("void (window.table = document.querySelector('.scroll'), table.scrollLeft = 40, table.focus())");
    page.await_true("the data is drawn again", PATIENCE, "!window.table.isConnected");
    let place = page.value("[document.activeElement.ariaLabel, document.querySelector('.scroll').scrollLeft]");
    assert_eq!(place, json!(["Sites", 40]), "where the person was in the table");
    page.resize(DESK);
}

fn assert_no_barrier(page: &Page, when: &str) {
    let barriers = page.barriers();
    assert!(barriers.is_empty(), "axe-core, {when}:\n{}", barriers.join("\n"));
}

/// Cuts the agent off, then Kafka, then the gateway, and mends all: the page follows without being loaded again.
fn what_is_cut_off_looks_old(plant: &mut Plant, browser: &Browser, page: &Page) {
    let all_old = format!(
        "{VERDICTS}.length === 6 && {VERDICTS}.every((c) => c.querySelector('.mark.stale') && !c.querySelector('.ok'))"
    );
    let all_new = format!("{VERDICTS}.length === 6 && {VERDICTS}.every((c) => !c.querySelector('.mark.stale'))");
    let banner = |says: &str| format!("document.querySelector('#banner').innerText.includes({})", json!(says));
    let impatient = browser.open_with(&plant.gateways[0].url("/#/fleet"), SOON_STALE);
    impatient.await_true("every machine was heard of lately", PATIENCE, &all_new);
    page.go("#/fleet");
    let healthy = format!("{VERDICTS}.some((c) => c.querySelector('.mark.ok'))");
    page.await_true("a machine is shown as healthy, before anything is cut", PATIENCE, &healthy);

    plant.agent.kill();
    impatient.await_true("machines of a silent agent look old", PATIENCE, &all_old);
    assert_eq!(impatient.value("document.querySelector('#link').className"), "link on");
    impatient.photograph("agent-cut-off");
    assert_no_barrier(&impatient, "with an agent cut off");
    plant.kafka.stop();
    page.await_true("the page says that Kafka is away", PATIENCE, &banner("STALE: Kafka does not answer"));
    page.photograph("kafka-cut-off");
    assert_no_complaint(&impatient, "while the agent and Kafka were away");
    assert_no_complaint(page, "while Kafka was away");

    plant.gateways[0].kill();
    page.await_true("the page says that it is cut off", PATIENCE, &banner("STALE: no connection to the gateway"));
    page.await_true("nothing looks healthy", PATIENCE, &all_old);
    page.photograph("gateway-cut-off");
    assert_no_barrier(page, "with the gateway cut off");
    page.go("#/alarms");
    let old =
        "[...document.querySelectorAll('table.alarms tbody tr')].every((r) => r.querySelector('.c-state .stale'))";
    page.await_true("alarms look old too", PATIENCE, old);
    page.go("#/fleet");

    plant.kafka.start_again();
    plant.gateways[0].start_again();
    plant.agent.start_again();
    for page in [page, &impatient] {
        let whole = format!(
            "document.querySelector('#link.on') !== null && document.querySelector('#banner').hidden && {all_new}"
        );
        page.await_true("the page is live again", PATIENCE, &whole);
        // The browser itself reports each connection that was refused.
        let own = page.complaints().into_iter().filter(|c| c.source != "network").collect::<Vec<_>>();
        assert_eq!(own, [], "the page complained while the gateway was away");
    }
    assert!(page.value("typeof window.rows") == "object", "the page was loaded again");
}
