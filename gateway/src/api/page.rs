//! The page at `/`: plain HTML made here, readable without script; the script only refreshes it and sends the two forms.
//!
//! Everything that came from outside goes through [`Text`], which escapes. Nothing is loaded from another host.

use std::fmt::{self, Display, Write};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response, Result};
use fettle_wire::time::Rfc3339;
use fettle_wire::{AlarmState, Micros, Priority, Rul, Verdict};

use super::{Shared, problem::Problem};
use crate::alarms::{AlarmView, Pending};
use crate::fleet::overview::{AssetView, Overview};
use crate::status::{Phase, Shown};

/// The longest table; what is beyond is said and found through the API.
const MAX_ROWS: usize = 200;

/// Text from outside, escaped for HTML text and quoted attributes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// An instant as a person reads it; the browser's script turns it into local time.
struct Time(Micros);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Rfc3339(self.0).to_string();
        let shown = text.get(..19).map_or_else(|| text.clone(), |t| format!("{} UTC", t.replace('T', " ")));
        write!(f, "<time datetime=\"{}\">{}</time>", Text(&text), Text(&shown))
    }
}

/// `GET /page.css`
pub(super) async fn css() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css")).into_response()
}

/// `GET /page.js`
pub(super) async fn js() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page.js")).into_response()
}

/// `GET /`
pub(super) async fn page(State(api): Shared) -> Result<Response, Problem> {
    let overview = api.overview().await?;
    let html = render(&overview, &api.status.show()).map_err(|_| Problem::internal("the page cannot be written"))?;
    Ok(Html(html).into_response())
}

fn render(overview: &Overview, shown: &Shown) -> std::result::Result<String, fmt::Error> {
    let mut html = String::with_capacity(64 * 1024);
    html.push_str(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>fettle</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"/page.css\"><script src=\"/page.js\" defer></script></head><body>\
         <header><h1>fettle</h1><label>Your name <input id=\"person\" maxlength=\"100\" autocomplete=\"name\"></label>\
         <output id=\"said\" role=\"status\"></output></header><main id=\"main\">\n",
    );
    write_standing(&mut html, overview, shown)?;
    write_alarms(&mut html, overview)?;
    write_assets(&mut html, overview)?;
    write_ledger(&mut html, overview)?;
    write_intake(&mut html, overview, shown)?;
    html.push_str("</main></body></html>\n");
    Ok(html)
}

fn write_standing(html: &mut String, overview: &Overview, shown: &Shown) -> fmt::Result {
    let open = overview.alarms.iter().filter(|a| a.open).count();
    let quarantined = overview.assets.iter().filter(|a| a.quarantined).count();
    let assets = overview.assets.len();
    let conflicts = overview.conflicts();
    let balance = if overview.totals.balances { "balances" } else { "does NOT balance" };
    write!(
        html,
        "<p class=\"standing\"><b>{assets}</b> assets, <b>{open}</b> open alarms, <b>{quarantined}</b> waiting for \
         adoption. The ledger <b>{balance}</b>, <b>{conflicts}</b> conflicts. As of {}.</p>",
        Time(overview.at)
    )?;
    if !shown.fleet_copied {
        html.push_str(
            "<p class=\"warn\">What is shown may be old: the fleet's state has not been read to its end yet.</p>",
        );
    }
    if shown.intake == Phase::WaitingForKafka {
        html.push_str("<p class=\"warn\">This instance is not taking records in: it waits for Kafka.</p>");
    }
    Ok(())
}

fn more(html: &mut String, shown: usize, total: usize, path: &str) -> fmt::Result {
    if total > shown {
        write!(html, "<p>{shown} of {total} are shown; all of them: <a href=\"{path}\">{path}</a></p>")?;
    }
    Ok(())
}

const fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

fn write_alarms(html: &mut String, overview: &Overview) -> fmt::Result {
    html.push_str("<section><h2>Open alarms</h2>");
    let open: Vec<&AlarmView> = overview.alarms.iter().filter(|a| a.open).collect();
    if open.is_empty() {
        html.push_str("<p>None.</p></section>");
        return Ok(());
    }
    html.push_str(
        "<table><thead><tr><th>Priority<th>Asset<th>Condition<th>What<th>Raised<th>State<th>Acknowledge</tr></thead>\
         <tbody>",
    );
    for alarm in open.iter().take(MAX_ROWS) {
        write_alarm(html, alarm)?;
    }
    html.push_str("</tbody></table>");
    more(html, open.len().min(MAX_ROWS), open.len(), "/api/v1/alarms?open=true")?;
    html.push_str("</section>");
    Ok(())
}

fn write_alarm(html: &mut String, alarm: &AlarmView) -> fmt::Result {
    let AlarmView { site, asset, occurrence, .. } = alarm;
    let condition = Text(&alarm.condition);
    let priority = priority(alarm.priority);
    let state = match alarm.state {
        AlarmState::Normal => "ended",
        AlarmState::Unacknowledged => "holds, nobody has acknowledged",
        AlarmState::Acknowledged => "holds, acknowledged",
        AlarmState::ReturnedUnacknowledged => "went away, nobody has acknowledged",
    };
    write!(
        html,
        "<tr class=\"{priority}\"><td>{priority}<td><a href=\"/api/v1/assets/{site}/{asset}\">{site}/{asset}</a>\
         <td>{condition} <small>no. {occurrence}</small><td>{}",
        Text(&alarm.message)
    )?;
    for part in alarm.contributions.iter().take(3) {
        let share = part.share * 100.0;
        write!(html, "<br><small>{} {share:.0} %</small>", part.channel)?;
    }
    write!(html, "<td>{}<td>{state}<td>", Time(alarm.raised_at))?;
    match (&alarm.acknowledged_by, &alarm.pending) {
        (Some(by), _) if !crate::commands::is_unacknowledged(alarm.state) => write!(html, "by {}", Text(by)),
        (_, Some(pending)) if !pending.expired => write_pending(html, pending),
        _ if crate::commands::is_unacknowledged(alarm.state) => {
            let path = encode_path(&alarm.condition);
            write!(
                html,
                "<button data-post=\"/api/v1/alarms/{site}/{asset}/{path}/acknowledge\" \
                 data-occurrence=\"{occurrence}\">Acknowledge</button>"
            )
        }
        _ => Ok(()),
    }
}

fn write_pending(html: &mut String, pending: &Pending) -> fmt::Result {
    write!(html, "asked for by {} {}, the agent has not confirmed yet", Text(&pending.person), Time(pending.issued))
}

/// RFC 3986, 2.3: what is not unreserved is written as its bytes.
fn encode_path(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn write_assets(html: &mut String, overview: &Overview) -> fmt::Result {
    html.push_str("<section><h2>Assets, most urgent first</h2>");
    if overview.assets.is_empty() {
        html.push_str("<p>No agent has told of any asset yet.</p></section>");
        return Ok(());
    }
    html.push_str(
        "<table><thead><tr><th>Asset<th>Verdict<th>Health<th>Remaining life<th>Open alarms<th>Last heard</tr></thead>\
         <tbody>",
    );
    let assets = overview.by_urgency();
    for asset in assets.iter().take(MAX_ROWS) {
        write_asset(html, asset)?;
    }
    html.push_str("</tbody></table>");
    more(html, assets.len().min(MAX_ROWS), assets.len(), "/api/v1/assets")?;
    html.push_str("</section>");
    Ok(())
}

fn write_asset(html: &mut String, asset: &AssetView) -> fmt::Result {
    let AssetView { site, asset: name, open_alarms, .. } = asset;
    write!(html, "<tr><td><a href=\"/api/v1/assets/{site}/{name}\">{site}/{name}</a><td>")?;
    match &asset.health {
        None if asset.quarantined => html.push_str("in quarantine"),
        None => html.push_str("no health record yet"),
        Some(health) => match (health.verdict, health.reason) {
            (Verdict::Normal, _) => html.push_str("normal"),
            (Verdict::Abnormal, _) => html.push_str("<b class=\"abnormal\">abnormal</b>"),
            (Verdict::None, reason) => {
                let reason = reason.map(|r| format!("{r:?}")).unwrap_or_default();
                write!(html, "none: {}", words(&reason))?;
            }
        },
    }
    if asset.quarantined {
        match &asset.adoption {
            Some(pending) if !pending.expired => {
                html.push_str("<br>adoption ");
                write_pending(html, pending)?;
            }
            _ => write!(html, " <button data-post=\"/api/v1/assets/{site}/{name}/adopt\">Adopt</button>")?,
        }
    }
    match asset.health.as_ref().and_then(|h| h.health_index) {
        Some(index) => write!(html, "<td>{index:.2}")?,
        None => html.push_str("<td>"),
    }
    html.push_str("<td>");
    match asset.health.as_ref().map(|h| &h.rul) {
        Some(Rul::Interval { p10, p50, .. }) => {
            let days = |seconds: &f64| seconds / 86_400.0;
            write!(html, "{:.1} days (with 90 %: more than {:.1})", days(p50), days(p10))?;
        }
        Some(Rul::None { reason }) => write!(html, "<small>{}</small>", Text(&reason.replace('_', " ")))?,
        None => {}
    }
    writeln!(html, "<td>{open_alarms}<td>{}", Time(asset.seen))
}

/// `BaselineNotLearned` -> `baseline not learned`
fn words(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn write_ledger(html: &mut String, overview: &Overview) -> fmt::Result {
    let totals = &overview.totals;
    let tally = &totals.readings;
    html.push_str("<section><h2>Ledger: what became of every reading</h2><table><tbody>");
    let mut row = |what: &str, count: u64| write!(html, "<tr><td>{}<td class=\"n\">{count}</tr>", Text(what));
    row("received", tally.received)?;
    row("used", tally.used)?;
    row("late", tally.late)?;
    row("duplicate", tally.duplicate)?;
    for (reason, count) in &tally.rejected {
        row(&format!("rejected: {}", reason.replace('_', " ")), *count)?;
    }
    for (reason, count) in &tally.shed {
        row(&format!("shed: {}", reason.replace('_', " ")), *count)?;
    }
    row("frames missing", totals.missing)?;
    row("frames lost for good", totals.lost)?;
    html.push_str("</tbody></table>");
    if totals.unbalanced > 0 {
        let unbalanced = totals.unbalanced;
        write!(
            html,
            "<p class=\"warn\">{unbalanced} accounts do not balance; see <a href=\"/api/v1/ledger\">/api/v1/ledger</a>.</p>"
        )?;
    }
    html.push_str("</section>");
    Ok(())
}

fn write_intake(html: &mut String, overview: &Overview, shown: &Shown) -> fmt::Result {
    html.push_str("<section><h2>Intake</h2>");
    match shown.lag.measured_at {
        None => html.push_str("<p>The lag has not been measured yet.</p>"),
        Some(at) => {
            let total = shown.lag.total;
            write!(html, "<p>{total} records are waiting to be taken in (measured {}).</p>", Time(at))?;
        }
    }
    if let Some(error) = &shown.lag.error {
        write!(html, "<p class=\"warn\">The last measurement failed: {}</p>", Text(error))?;
    }
    html.push_str("<table><thead><tr><th>Topic<th>Partition<th>Owner<th>Applied<th>Duplicate<th>Conflict<th>Rejected</tr></thead><tbody>");
    for record in overview.records.iter().take(MAX_ROWS) {
        let counts = &record.counts;
        let owner = overview.owners.get(&record.partition).map(|name| name.as_str()).unwrap_or_default();
        let rejected: Vec<String> = counts.rejected.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        writeln!(
            html,
            "<tr><td>{}<td class=\"n\">{}<td>{owner}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>",
            Text(&record.topic),
            record.partition,
            counts.applied,
            counts.duplicates,
            counts.conflicts,
            Text(&rejected.join(", "))
        )?;
    }
    html.push_str("</tbody></table></section>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use fettle_wire::Change;

    use super::*;
    use crate::alarms;
    use crate::fleet::asset::{AlarmRecord, Origin};
    use crate::intake::record::tests::{alert, name};

    #[test]
    fn what_came_from_outside_is_escaped() {
        let mut alert = alert("pump", "limit.<script>\"'/?", 1, Change::Raised);
        alert.message = "<img src=x onerror=alert(1)>&".into();
        let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0".repeat(16) };
        let record = AlarmRecord { origin, alert, seen: 0, recent: Vec::new(), conflicts: 0 };
        let overview = Overview { alarms: vec![alarms::view(record, None, 0)], ..Overview::default() };
        let html = render(&overview, &Shown::default()).unwrap();
        assert!(!html.contains("<img") && !html.contains("<script>"), "{html}");
        assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;&amp;"));
        assert!(html.contains("/limit.%3Cscript%3E%22%27%2F%3F/acknowledge"));
    }

    #[test]
    fn the_page_loads_nothing_from_another_host() {
        let html = render(&Overview::default(), &Shown::default()).unwrap();
        for text in [html.as_str(), include_str!("page.css"), include_str!("page.js")] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("url("));
        }
    }

    #[test]
    fn an_empty_fleet_says_so() {
        let html = render(&Overview::default(), &Shown::default()).unwrap();
        assert!(html.contains("No agent has told of any asset yet") && html.contains("waits for Kafka"));
    }

    #[test]
    fn names_are_shown_as_words() {
        assert_eq!(words("BaselineNotLearned"), "baseline not learned");
    }
}
