//! The sections `[engine]`, `[waveform]` and `[lives]`: what is typed becomes [`Settings`], whose own rules then judge it.

use std::time::Duration;

use fettle_models::{Settings, UnknownPolicy};
use fettle_wire::time::{DAY, SECOND};
use toml::de::DeValue;

use super::checked::{JournalConfig, OutboxConfig};
use super::compile::bytes;
use super::quantity::{DURATION_FORM, micros, show_duration, show_size};
use super::raw::{Rule, Section, number, whole};

pub(super) fn engine(section: &Section<'_, '_>) -> Settings {
    let mut settings = Settings::default();
    spans(section, &mut settings);
    if !section.has("rul_step") && settings.slide > 0 {
        // The default must fit any slide: the next multiple of it.
        settings.rul_step = (settings.rul_step + settings.slide - 1) / settings.slide * settings.slide;
    }
    numbers(section, &mut settings);
    let remedy = "write \"quarantine\": unknown assets are counted, listed and taken into service by a command";
    let unknown = section.get("unknown", Rule("must be quarantine or adopt", remedy), |v| match v.as_str()? {
        "quarantine" => Some(UnknownPolicy::Quarantine),
        "adopt" => Some(UnknownPolicy::Adopt),
        _ => None,
    });
    settings.unknown = unknown.unwrap_or(settings.unknown);
    for problem in settings.check() {
        section.report_value(problem.key, problem.value, Rule(&problem.rule, &problem.remedy));
    }
    section.finish();
    settings
}

/// Reads `[waveform]` into the settings, and how many bytes of raw samples are kept.
pub(super) fn waveform(
    section: &Section<'_, '_>,
    journal: &JournalConfig,
    outbox: &OutboxConfig,
    settings: &mut Settings,
) -> u64 {
    let default = Settings::default();
    let rule = Rule("must be a whole number from 1 to 100000", "write 240 if in doubt");
    let typed = section.get("blocks_per_minute", rule, whole(1..=100_000_u32));
    settings.waveform_blocks_per_minute = typed.unwrap_or(default.waveform_blocks_per_minute);
    let rule = format!("must be from 1s to 30d, and {DURATION_FORM}");
    let read = |v: &DeValue<'_>| micros(v.as_str()?).filter(|t| (SECOND..=30 * DAY).contains(t));
    let typed = section.get("publish", Rule(&rule, "write \"1h\" if in doubt"), read);
    settings.waveform_publish = typed.unwrap_or(default.waveform_publish);
    let most = (64 << 20).min(journal.max_bytes / 16);
    let evidence = bytes(section, "evidence_bytes", 1 << 20, most);
    let (room, others) = (journal.max_bytes / 4 * 3, journal.keep_bytes.saturating_add(outbox.max_bytes));
    let sum = others.saturating_add(evidence);
    // Where the other two alone are too much, that has been said.
    if others <= room && sum > room {
        let rule = format!(
            "journal.keep_bytes + outbox.max_bytes + waveform.evidence_bytes = {} must fit into three quarters of journal.max_bytes, {}",
            show_size(sum),
            show_size(room)
        );
        let remedy = "raise journal.max_bytes or lower one of the three";
        section.report_value("evidence_bytes", show_size(evidence), Rule(&rule, remedy));
    }
    section.finish();
    evidence
}

/// Reads `[lives]`: how many bytes of machines' lives are kept for learning.
pub(super) fn lives(section: &Section<'_, '_>, journal: &JournalConfig, outbox: &OutboxConfig, evidence: u64) -> u64 {
    let is_typed = section.has("max_bytes");
    let lives = bytes(section, "max_bytes", 64 << 10, (8 << 20).min(journal.max_bytes / 32));
    let others = journal.keep_bytes.saturating_add(outbox.max_bytes).saturating_add(evidence);
    let (room, sum) = (journal.max_bytes / 4 * 3, others.saturating_add(lives));
    // Where the others alone are too much, that has been said. What was configured before there were lives, and fills
    // the room to the byte, goes on: the default takes what is left.
    if is_typed && others <= room && sum > room {
        let rule = format!(
            "journal.keep_bytes + outbox.max_bytes + waveform.evidence_bytes + lives.max_bytes = {} must fit into three quarters of journal.max_bytes, {}",
            show_size(sum),
            show_size(room)
        );
        section.report("max_bytes", Rule(&rule, "raise journal.max_bytes or lower one of the four"));
    }
    section.finish();
    if is_typed { lives } else { lives.min(room.saturating_sub(others).max(64 << 10)) }
}

fn spans(section: &Section<'_, '_>, settings: &mut Settings) {
    let rule = format!("must be a duration: {DURATION_FORM}");
    for (key, field) in [
        ("pane", &mut settings.pane),
        ("slide", &mut settings.slide),
        ("window", &mut settings.window),
        ("disorder", &mut settings.disorder),
        ("lateness", &mut settings.lateness),
        ("idle", &mut settings.idle),
        ("publish", &mut settings.publish),
        ("max_ahead", &mut settings.max_ahead),
        ("rul_step", &mut settings.rul_step),
        ("rul_horizon", &mut settings.rul_horizon),
        ("on_delay", &mut settings.on_delay),
        ("off_delay", &mut settings.off_delay),
        ("retire_after", &mut settings.retire_after),
    ] {
        let default = u64::try_from(*field).map(Duration::from_micros).unwrap_or_default();
        let remedy = format!("write \"{}\" if in doubt", show_duration(default));
        *field = section.get(key, Rule(&rule, &remedy), |v| micros(v.as_str()?)).unwrap_or(*field);
    }
}

fn numbers(section: &Section<'_, '_>, settings: &mut Settings) {
    for (key, field) in [
        ("false_alarms_per_asset_month", &mut settings.false_alarms_per_asset_month),
        ("mewma_lambda", &mut settings.mewma_lambda),
        ("max_imputed_share", &mut settings.max_imputed_share),
        ("deadband", &mut settings.deadband),
    ] {
        let remedy = format!("write {field} if in doubt");
        *field = section.get(key, Rule("must be a finite number", &remedy), number).unwrap_or(*field);
    }
    for (key, field) in [("max_assets", &mut settings.max_assets), ("max_channels", &mut settings.max_channels)] {
        let remedy = format!("write {field} if in doubt");
        let rule = Rule("must be a whole number from 1 to 1000000", &remedy);
        let typed = section.get(key, rule, whole(1..=1_000_000_i64)).and_then(|n| usize::try_from(n).ok());
        *field = typed.unwrap_or(*field);
    }
    let remedy = format!("write {} if in doubt", settings.baseline_slides);
    let typed = section.get("baseline_slides", Rule("must be a whole number of slides", &remedy), whole(0..=u32::MAX));
    settings.baseline_slides = typed.unwrap_or(settings.baseline_slides);
}
