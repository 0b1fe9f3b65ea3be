//! deploy/ and docs/ agree with the agent: every metric that a rule or a dashboard names is in the catalogue, and every
//! rule has its entry in the runbook.

use std::collections::BTreeSet;
use std::path::Path;

use fettle_agent::events::METRICS;

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Every `fettle_agent_*` in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || matches!(c, '_' | '0'..='9')).collect();
    text.match_indices("fettle_agent_").map(|(at, _)| name(&text[at..])).collect()
}

#[test]
fn every_metric_in_rules_and_dashboard_is_in_the_catalogue() {
    let known: BTreeSet<&str> = METRICS.iter().map(|m| m.name).collect();
    for file in ["deploy/prometheus/fettle-agent.rules.yml", "deploy/grafana/fettle.json"] {
        for metric in metrics_in(&read(file)) {
            assert!(known.contains(metric.as_str()), "{file} names {metric}, which the agent does not have");
        }
    }
    assert!(metrics_in(&read("deploy/prometheus/fettle-agent.rules.yml")).len() > 10);
}

#[test]
fn every_rule_has_its_entry_in_the_runbook() {
    let (rules, runbook) = (read("deploy/prometheus/fettle-agent.rules.yml"), read("docs/runbook.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(runbook.contains(&format!("\n## {alert}\n")), "docs/runbook.md has no entry {alert}");
        assert!(rules.contains(&format!("docs/runbook.md#{}", alert.to_lowercase())), "{alert} points elsewhere");
    }
}
