//! The dashboard's files, which are part of the program: nothing is built, nothing comes from another host.
//!
//! Whatever the page shows is inserted as text; its policy (`require-trusted-types-for 'script'`) makes the browser
//! refuse the other ways.

use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response, Result};

use super::problem::Problem;

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// The page.
const INDEX: &str = include_str!("../dashboard/index.html");

/// Name, kind and contents of every other file.
const FILES: &[(&str, &str, &str)] = &[
    ("app.css", CSS, include_str!("../dashboard/app.css")),
    ("app.js", JS, include_str!("../dashboard/app.js")),
    ("dom.js", JS, include_str!("../dashboard/dom.js")),
    ("state.js", JS, include_str!("../dashboard/state.js")),
    ("say.js", JS, include_str!("../dashboard/say.js")),
    ("chart.js", JS, include_str!("../dashboard/chart.js")),
    ("fleet.js", JS, include_str!("../dashboard/fleet.js")),
    ("trace.js", JS, include_str!("../dashboard/trace.js")),
    ("waveform.js", JS, include_str!("../dashboard/waveform.js")),
    ("asset.js", JS, include_str!("../dashboard/asset.js")),
    ("acts.js", JS, include_str!("../dashboard/acts.js")),
    ("alarms.js", JS, include_str!("../dashboard/alarms.js")),
    ("data.js", JS, include_str!("../dashboard/data.js")),
    ("icon.svg", "image/svg+xml", include_str!("../dashboard/icon.svg")),
    ("uPlot.js", JS, include_str!("../dashboard/vendor/uPlot.iife.min.js")),
    ("uPlot.css", CSS, include_str!("../dashboard/vendor/uPlot.min.css")),
    ("uPlot.LICENSE", "text/plain; charset=utf-8", include_str!("../dashboard/vendor/uPlot.LICENSE")),
];

/// The dashboard.
#[utoipa::path(get, path = "/", tag = "dashboard",
    responses((status = 200, description = "as asked for", body = String, content_type = "text/html")))]
pub(super) async fn page() -> Html<&'static str> {
    Html(INDEX)
}

/// A file that the dashboard consists of.
#[utoipa::path(get, path = "/app/{file}", tag = "dashboard", params(("file" = String, Path)),
    responses((status = 200, description = "as asked for", body = String, content_type = "text/javascript"),
        (status = 404, description = "there is no such thing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn file(Path(file): Path<String>) -> Result<Response, Problem> {
    match FILES.iter().find(|(name, _, _)| *name == file) {
        Some((_, kind, contents)) => Ok(([(CONTENT_TYPE, *kind)], *contents).into_response()),
        None => Err(Problem::not_found(&format!("the dashboard has no file {file}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> impl Iterator<Item = (&'static str, &'static str)> {
        let files = FILES.iter().filter(|(name, ..)| !name.starts_with("uPlot")).map(|(name, _, text)| (*name, *text));
        files.chain([("index.html", INDEX)])
    }

    #[test]
    fn the_dashboard_loads_nothing_from_another_host() {
        for (name, text) in ours() {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for elsewhere in ["http://", "https://", "url(", "//cdn", "@import"] {
                assert!(!text.contains(elsewhere), "{name} has {elsewhere}");
            }
        }
    }

    #[test]
    fn what_came_from_outside_can_only_become_text() {
        for (name, text) in ours().filter(|(name, _)| name.ends_with(".js")) {
            let ways =
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "srcdoc", "eval("];
            for way in ways.into_iter().chain(["Function(", "createContextualFragment", "setHTMLUnsafe", "javascript:"])
            {
                assert!(!text.contains(way), "{name} has {way}");
            }
        }
    }

    #[test]
    fn the_policy_needs_no_exception() {
        assert!(!INDEX.contains("style=") && !INDEX.contains("<style") && !INDEX.contains(" on"), "inline");
        for script in INDEX.split("<script").skip(1) {
            assert!(
                script.starts_with(" src=\"/app/") || script.starts_with(" type=\"module\" src=\"/app/"),
                "{script}"
            );
        }
    }

    #[test]
    fn every_file_that_is_named_is_there() {
        let quoted = ours().flat_map(|(_, text)| text.split(['"', '\'']));
        let local = quoted.filter_map(|word| word.strip_prefix("/app/").or_else(|| word.strip_prefix("./")));
        let named: Vec<&str> = local.filter(|name| !name.is_empty()).collect();
        assert!(named.len() > 10, "{named:?}");
        for name in named {
            assert!(FILES.iter().any(|(file, ..)| *file == name), "{name} is named and not there");
        }
    }
}
