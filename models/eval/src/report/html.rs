//! The report as one file without references to anything outside it; light and dark as the reader's system asks.

use std::fmt::Write as _;

use super::plot;
use super::text::{number, text};
use crate::cmapss::evaluate::{Headline, Report, SetReport};

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--dim:#6a737d;--line:#d0d7de;--mark:#0b6bcb;--band:#0b6bcb33;--truth:#b35900}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--dim:#9aa4ae;--line:#3a424c;--mark:#6cb6ff;--band:#6cb6ff3d;--truth:#ffb454}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}pre{overflow-x:auto;font-size:13px}.plots{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0}figcaption{color:var(--dim);font-size:13px}svg{max-width:100%;height:auto}
svg text{fill:var(--dim);font:11px system-ui,sans-serif}.axis{stroke:var(--line);fill:none}.dot{fill:var(--mark);fill-opacity:.7}
.said{stroke:var(--mark);fill:none;stroke-width:1.6}.band{fill:var(--band)}.truth{stroke:var(--truth);fill:none;stroke-width:1.4;stroke-dasharray:5 3}
.whisker{stroke:var(--mark);stroke-opacity:.35}
";

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Prognosis on C-MAPSS</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Remaining useful life on C-MAPSS</h1>"
    );
    page += &table(report);
    for (name, set) in &report.sets {
        page += &section(name, set);
    }
    let _ = write!(page, "<h2>Everything in words</h2><pre>{}</pre></body></html>", escape(&text(report)));
    page
}

/// Text that cannot be taken for markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn table(report: &Report) -> String {
    let mut out = "<table><tr><th>at the last row</th><th>RMSE capped</th><th>uncapped</th><th>NASA score</th>\
                   <th>coverage</th><th>width</th><th>s train</th><th>us p99</th></tr>"
        .to_owned();
    for (name, set) in &report.sets {
        out += &row(name, &set.figures.mean, &set.figures.deviation);
        if let Some(v) = &set.without_age {
            out += &row(&format!("{name} without age"), &v.mean, &v.deviation);
        }
    }
    out + "</table>"
}

fn row(name: &str, h: &Headline, d: &Headline) -> String {
    let cells = [
        format!("{} &plusmn; {}", number(h.rmse_capped, 2), number(d.rmse_capped, 2)),
        number(h.rmse_uncapped, 2),
        format!("{} &plusmn; {}", number(h.score_capped, 0), number(d.score_capped, 0)),
        number(h.coverage, 3),
        number(h.width, 1),
        number(h.seconds_train, 1),
        number(h.us_infer, 1),
    ];
    format!("<tr><td>{}</td>{}</tr>", escape(name), cells.map(|c| format!("<td>{c}</td>")).concat())
}

fn section(name: &str, set: &SetReport) -> String {
    let mut out = format!("<h2>{}</h2>", escape(name));
    if let Some(reason) = &set.reason {
        let _ = write!(out, "<p>No figures on the test file: {}.</p>", escape(reason));
    }
    let Some(drawn) = set.drawn.as_ref().filter(|d| !d.last.is_empty()) else { return out };
    out += "<div class=\"plots\">";
    out += &figure(
        "Predicted against true (capped) at each unit's last row, with the interval of 90 %",
        &plot::scatter(&drawn.last),
    );
    out += &figure(
        "Share of the truth within the interval, by predicted value; all rows. The line is 90 %",
        &plot::coverage(&drawn.rows),
    );
    for (unit, told, remaining, end) in &drawn.lives {
        let caption = format!("Unit {unit}: told, interval of 90 %, truth (dashed)");
        out += &figure(&caption, &plot::life(told, *remaining, *end));
    }
    out + "</div>"
}

fn figure(caption: &str, svg: &str) -> String {
    format!("<figure>{svg}<figcaption>{}</figcaption></figure>", escape(caption))
}
