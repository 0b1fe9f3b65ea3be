//! What an agent saw when it raised an alarm is on the machine's page by itself: waveform, spectrum and the bearing's
//! lines, the numbers that were on Kafka, readable in dark and light, on a phone, by keyboard and as a table.

use std::time::Duration;

use fettle_wire::{Evidence, Occasion};
use serde_json::{Value, json};
use testbed::binaries::Binary;
use testbed::browser::{Browser, DESK, PHONE, Page};
use testbed::records::Published;
use testbed::{Plant, PlantOptions, eventually, plant, records, require};

/// How long anything on the page may take; nothing is judged by it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the plant may take until a machine alarms.
const WEARS_OUT: Duration = Duration::from_secs(180);
/// What the panel says where it has nothing to show.
const WHY: &str = "(document.querySelector('.waves .empty')?.innerText ?? '')";
/// The three pictures are there.
const DRAWN: &str = "document.querySelectorAll('.waves canvas').length === 3";
/// The line of the table that is the strongest: name and strength.
const STRONGEST: &str = "[...document.querySelectorAll('.waves .lines tbody tr')].map((r) =>
    [r.cells[0].innerText.trim().split(' ')[0], Number(r.cells[1].innerText), Number(r.cells[4].innerText)]).sort((a, b) => b[2] - a[2])[0]";
/// Tells the page that nothing is kept, and with `?plain` that the machine has no waveforms.
const NOTHING: &str = "{ const ask = window.fetch; window.fetch = async (...about) => {
    const [path, answer] = [String(about[0]), await ask(...about)];
    if (!answer.ok || !path.startsWith('/api/v1/assets/')) return answer;
    const body = await answer.json();
    if (path.includes('/evidence')) body.evidence = [];
    if (body.record && location.search.includes('plain')) body.record.indicators = body.record.indicators.filter((i) => !i.channel.startsWith('acceleration'));
    return new Response(JSON.stringify(body), { headers: answer.headers });
  }; }";
/// How long a waveform takes to be drawn again, in milliseconds: the median of forty zooms by key.
const REDRAW: &str = "(async () => { const plot = document.querySelector('.waves .plot'); const took = [];
    for (let n = 0; n < 40; n += 1) {
      const begun = performance.now();
      plot.dispatchEvent(new KeyboardEvent('keydown', { key: n % 2 ? '0' : '+', bubbles: true }));
      await Promise.resolve();
      took.push(performance.now() - begun);
      await new Promise((done) => requestAnimationFrame(done));
    }
    return took.sort((a, b) => a - b)[20]; })()";

fn options() -> PlantOptions {
    let mut options = PlantOptions::new("evidence");
    options.gateways = 2;
    options.sim =
        "seed = 5\nmachines = 4\nnode = \"firmware\"\ninterval = \"30s\"\nframe_readings = 16\nframe_age = \"5min\"\n\
                   start = \"now-16h\"\nspeed = 900.0\nring_bytes = \"2MiB\"\nresend_after = \"2s\""
            .to_owned();
    options.sim_tables = "[waveform]\ninterval = \"2min\"\nsamples = 8192\n\
                          [fault]\nshare = 0.5\nonset = \"7h\"\ntime_to_failure = \"6h\"\ncomponent = \"outer_ring\""
        .to_owned();
    options.engine =
        "slide = \"2min\"\nwindow = \"30min\"\npublish = \"10min\"\nlateness = \"10min\"\nidle = \"10min\"\n\
                      baseline_slides = 180\nfalse_alarms_per_asset_month = 0.1"
            .to_owned();
    options.agent_tables = "[waveform]\nblocks_per_minute = 100000\npublish = \"1h\"\n".to_owned();
    options
}

/// The first machine whose bearing will spall.
fn doomed(plant: &Plant) -> String {
    let truth = plant.command(Binary::Sim, &["truth"]);
    let mut machines = truth.lines().map(|line| serde_json::from_str::<Value>(line).expect("truth is JSON lines"));
    let doomed = machines.find(|machine| !machine["fault"].is_null()).expect("half of the machines are faulty");
    doomed["asset"].as_str().expect("a machine has a name").to_owned()
}

fn told(plant: &Plant) -> Vec<Published<Evidence>> {
    records::read(&plant.kafka, "fettle.evidence").unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn what_an_alarm_rests_on_is_seen_on_the_open_page_of_its_machine() {
    if !require(&plant::TOOLS_AND_BROWSER) {
        return;
    }
    let mut plant = Plant::start(&options());
    let asset = doomed(&plant);
    let browser = Browser::start(&plant.folder);
    let address = format!("/#/asset/{}/{asset}", plant::SITE);
    let page = browser.open(&plant.gateways[0].url(&address));
    page.await_true("it says why there is nothing", PATIENCE, &format!("{WHY}.startsWith('No health record yet')"));
    page.value("void (window.same = true)");
    plant.start_sim();

    page.await_true("the first waveform appears by itself", WEARS_OUT, DRAWN);
    it_appears_at_once(&plant, &page, &asset);
    let shown = the_alarm_leads_to_its_waveform(&plant, &page, &asset);
    it_is_usable(&page);
    keys_zoom_and_it_is_drawn_fluidly(&page);
    the_alarms_view_leads_there_too(&page, &shown);
    // The browser itself reports each answer "not found" about a machine that nobody had told of yet.
    let own = page.complaints().into_iter().filter(|c| c.source != "network").collect::<Vec<_>>();
    assert_eq!(own, [], "the page complained");
    let counted = plant.gateways[0].metric("fettle_gateway_fleet_conflicts").unwrap_or_else(|e| panic!("{e}"));
    assert!(counted == 0.0, "{counted} conflicts");
    assert_eq!(records::conflicts(&told(&plant)), Vec::<String>::new());

    each_instance_has_it_by_itself(&mut plant, &asset);

    let bare = browser.open_with(&plant.gateways[0].url(&address), NOTHING);
    bare.await_true("it says that none came yet", PATIENCE, &format!("{WHY}.startsWith('No evidence yet')"));
    bare.value("document.querySelector('.waves').scrollIntoView()");
    bare.photograph("waveform-none-yet");
    let bare = browser.open_with(&plant.gateways[0].url(&format!("/?plain{}", &address[1..])), NOTHING);
    let says = format!("{WHY}.startsWith('This asset sends no waveforms')");
    bare.await_true("it says that the machine has none", PATIENCE, &says);
    assert_eq!(bare.complaints(), [], "the page complained of nothing to show");
}

/// The ids of a machine's evidence of alarms, as a gateway lists them.
fn listed(plant: &Plant, gateway: usize, asset: &str) -> Result<Vec<String>, String> {
    let path = format!("/api/v1/assets/{}/{asset}/evidence?occasion=alarm", plant::SITE);
    let answer = plant.gateways[gateway].json(&path)?;
    let all = answer["evidence"].as_array().ok_or_else(|| answer.to_string())?;
    Ok(all.iter().map(|e| e["id"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Both gateways list the same; what cannot be used is counted by each and in nobody's way; a lost disk is read again.
fn each_instance_has_it_by_itself(plant: &mut Plant, asset: &str) {
    plant.kafka.produce("fettle.evidence", &format!("{}/{asset}", plant::SITE), "rubbish");
    for gateway in [0, 1] {
        eventually("the rubbish is counted", PATIENCE, || {
            match plant.gateways[gateway].metric("fettle_gateway_rejected_total")? {
                1.0 => Ok(()),
                counted => Err(format!("{counted} rejected")),
            }
        });
    }
    plant.gateways[1].stop();
    let history = plant.folder.path().join("gateway-1/history");
    std::fs::remove_dir_all(&history).unwrap_or_else(|e| panic!("cannot remove {}: {e}", history.display()));
    plant.gateways[1].start_again();
    eventually("both list the same", PATIENCE, || match (listed(plant, 0, asset)?, listed(plant, 1, asset)?) {
        (one, other) if one == other && !one.is_empty() => Ok(()),
        lists => Err(format!("{lists:?}")),
    });
}

/// The alarm's own appears in the list of the page, which was never loaded again, as soon as it is known.
fn it_appears_at_once(plant: &Plant, page: &Page, asset: &str) {
    let of_alarm = "[...document.querySelectorAll('.waves option')].some((o) => o.innerText.includes('alarm'))";
    page.await_true("the waveform of an alarm appears by itself", WEARS_OUT, of_alarm);
    let told = told(plant);
    let mine = told.iter().filter(|e| e.body.asset.as_str() == asset && e.body.occasion == Occasion::Alarm);
    assert!(mine.count() > 0, "the agent told of it");
    assert_eq!(page.value("window.same"), json!(true), "the page was loaded again");
}

/// From the alarm of the failing bearing to its waveform, which shows what the agent wrote; what was shown.
fn the_alarm_leads_to_its_waveform(plant: &Plant, page: &Page, asset: &str) -> Evidence {
    let card = "[...document.querySelectorAll('.alarm')].find((a) => a.innerText.includes('Unusual behaviour'))";
    let button = format!(
        "[...({card}?.querySelectorAll('button') ?? [])].find((b) => b.innerText === 'Waveform at this alarm')"
    );
    page.await_true("the alarm leads to its waveform", WEARS_OUT, &format!("{button} !== undefined"));
    page.click(&button);
    let there = format!(
        "{DRAWN} && document.querySelector('.waves').innerText.includes('sent with the alarm Unusual behaviour')"
    );
    page.await_true("it is shown", PATIENCE, &there);
    page.await_true("the person is there", PATIENCE, "document.activeElement.id === 'waves-title'");

    let id = page.value("document.querySelector('.waves select').value");
    let shown = told(plant).into_iter().find(|e| id == json!(e.envelope.id.to_string())).expect("it is on Kafka").body;
    assert_eq!((shown.asset.as_str(), shown.condition.as_deref()), (asset, Some("anomaly")));
    let strongest = page.value(STRONGEST);
    let outer = shown.lines.iter().find(|l| l.name == "bpfo").expect("the registry has the bearing");
    println!(
        "{asset}: {strongest} shown; on Kafka {outer:?}, speed {:?}, {} samples",
        shown.speed,
        shown.samples.len() / 2
    );
    assert_eq!(strongest[0], "BPFO", "the spalled ring's line stands out: {strongest}");
    let near =
        |value: &Value, expected: f64| value.as_f64().is_some_and(|v| (v - expected).abs() < 0.06 * expected.max(1.0));
    assert!(
        near(&strongest[1], outer.frequency) && near(&strongest[2], outer.strength.unwrap_or(0.0)),
        "{strongest}, {outer:?}"
    );
    let text = page.value("document.querySelector('.waves').innerText");
    let text = text.as_str().unwrap_or_default();
    assert!(text.contains("6,144 samples") && text.contains("m/s²") && text.contains("rpm), measured"), "{text}");
    shown
}

/// In dark and light and on a phone: pictures, no barrier, nothing wider than the screen.
fn it_is_usable(page: &Page) {
    // What comes in moves what lies below; a person would aim again, too.
    eventually("the peaks are opened", PATIENCE, || {
        if page.look("document.querySelector('.waves .peaks').open")? == json!(true) {
            return Ok(());
        }
        page.click("document.querySelector('.waves .peaks summary')");
        Err("closed".to_owned())
    });
    let mut barriers = Vec::new();
    for (kind, scheme, size) in [("dark", "dark", DESK), ("light", "light", DESK), ("phone", "light", PHONE)] {
        page.resize(size);
        page.prefer(scheme);
        let dark = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((c) => c < 64)";
        let expected = if scheme == "dark" { dark.to_owned() } else { format!("!{dark}") };
        page.await_true(&format!("it is {scheme}"), PATIENCE, &format!("{expected} && {DRAWN}"));
        let frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))";
        for (part, place) in
            [("", "document.querySelector('.waves')"), ("-lines", "document.querySelector('.waves .two')")]
        {
            page.value(&format!("({place}.scrollIntoView(), {frame})"));
            page.photograph(&format!("waveform-{kind}{part}"));
        }
        assert_eq!(
            page.value("document.querySelector('.waves .peaks').open"),
            json!(true),
            "what was opened stays open"
        );
        barriers.extend(page.barriers().into_iter().map(|barrier| format!("{kind}: {barrier}")));
        let width = page.value("[document.scrollingElement.scrollWidth, innerWidth]");
        let fits = width[0].as_u64() <= Some(size.0.into()) && width[1].as_u64() == Some(size.0.into());
        assert!(fits, "on {size:?}: content and viewport are {width} wide");
        let out = page.value(
            "[...document.querySelectorAll('.waves, .waves .chart, .waves .two > *')].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => `${e.className}: ${e.scrollWidth} in ${e.clientWidth}`)",
        );
        assert_eq!(out, json!([]), "on {size:?}: what sticks out of its box");
    }
    page.resize(DESK);
    page.prefer("light");
    assert!(barriers.is_empty(), "axe-core:\n{}", barriers.join("\n"));
}

fn keys_zoom_and_it_is_drawn_fluidly(page: &Page) {
    let picture = "document.querySelector('.waves canvas').toDataURL()";
    page.await_true("it is drawn", PATIENCE, DRAWN);
    page.value("document.querySelector('.waves .plot').focus()");
    let whole = page.value(picture);
    page.press("+");
    eventually("plus zooms", PATIENCE, || if page.look(picture)? == whole { Err("unchanged".into()) } else { Ok(()) });
    page.press("0");
    eventually("0 shows all again", PATIENCE, || {
        if page.look(picture)? == whole { Ok(()) } else { Err("changed".into()) }
    });
    println!("drawing 6,144 samples again takes {} ms (median)", page.value(REDRAW));
    // Newer and older by keyboard, and back to following what comes.
    let chosen = "document.querySelector('.waves select').selectedIndex";
    let before = page.value(chosen);
    page.value("document.querySelector('.waves [data-name=older]').focus()");
    page.press(" ");
    page.await_true(
        "the one before is shown",
        PATIENCE,
        &format!("{chosen} === {} && {DRAWN}", before.as_u64().unwrap_or(0) + 1),
    );
    assert_eq!(page.value("document.activeElement.dataset.name"), json!("older"), "where the person was");
}

/// The evidence of an alarm in the list of all alarms has a link, which opens the page at that waveform.
fn the_alarms_view_leads_there_too(page: &Page, shown: &Evidence) {
    page.go("#/alarms");
    let key = format!("{}/{}|anomaly", plant::SITE, shown.asset);
    let row = format!(
        "[...document.querySelectorAll('table.alarms tbody tr')].find((r) => r.dataset.key === {})",
        json!(key)
    );
    page.await_true("the alarm is listed", PATIENCE, &format!("{row} !== undefined"));
    page.click(&format!("{row}.querySelector('button[aria-expanded]')"));
    let link = format!("[...{row}.querySelectorAll('a')].find((a) => a.innerText === 'Waveform at this alarm')");
    page.await_true("it has a link", PATIENCE, &format!("{link} !== undefined"));
    page.click(&link);
    let there = "document.querySelector('.waves').innerText.includes('sent with the alarm Unusual behaviour')";
    page.await_true("its waveform is shown", PATIENCE, &format!("{DRAWN} && {there}"));
}
