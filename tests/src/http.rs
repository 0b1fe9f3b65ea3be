//! HTTP to our own daemons on loopback.

use std::time::Duration;

use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>, url: &str) -> Result<String, String> {
    let mut response = response.map_err(|e| format!("{url}: {e}"))?;
    let text = response.body_mut().read_to_string().map_err(|e| format!("{url}: {e}"))?;
    if response.status().is_success() { Ok(text) } else { Err(format!("{url}: {} {text}", response.status())) }
}

/// The text at `url`; the error names the address and the status.
pub fn get(url: &str) -> Result<String, String> {
    answer(agent().get(url).call(), url)
}

/// The JSON at `url`.
pub fn get_json(url: &str) -> Result<Value, String> {
    let text = get(url)?;
    serde_json::from_str(&text).map_err(|e| format!("{url}: {e}: {text}"))
}

/// Posts JSON to `url` and returns the answer's text.
pub fn post_json(url: &str, body: &Value) -> Result<String, String> {
    answer(agent().post(url).send_json(body), url)
}

/// The value of a Prometheus metric, summed over its labels; `None` if it does not occur.
pub fn metric(text: &str, name: &str) -> Option<f64> {
    sum(text, |series| series.split('{').next() == Some(name))
}

/// As [`metric`], only of series that have `label="value"`.
pub fn labelled_metric(text: &str, name: &str, label: &str, value: &str) -> Option<f64> {
    let pair = format!("{label}=\"{value}\"");
    sum(text, |series| series.split_once('{').is_some_and(|(bare, labels)| bare == name && labels.contains(&pair)))
}

fn sum(text: &str, wanted: impl Fn(&str) -> bool) -> Option<f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        wanted(series).then(|| value.parse::<f64>().ok()).flatten()
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 9\n";
        assert_eq!(metric(text, "a"), Some(5.0));
        assert_eq!(metric(text, "ab"), Some(9.0));
        assert_eq!(metric(text, "c"), None);
        assert_eq!(labelled_metric(text, "a", "x", "2"), Some(3.0));
    }
}
