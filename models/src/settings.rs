//! Settings of the engine, as run: every duration in microseconds, every number checked before an engine is built.
//!
//! Place in the flow: the agent reads them from its configuration, journals them as part of a generation and hands them
//! to [`crate::Engine`]. What a person types (`"10s"`) is the agent's matter; this file knows only what must hold.
//!
//! S1: `slide` is a multiple of `pane`, `window`, `publish` and `rul_step` are multiples of `slide`, a window has at most
//! 64 slides.
//! S2: an engine is built only from settings for which [`Settings::check`] finds nothing; it then never divides by zero
//! and every queue in it has a bound.

use fettle_wire::Micros;
use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};
use serde::{Deserialize, Serialize};

/// The most slides in a window: the most partial results merged for one.
pub const MAX_WINDOW_SLIDES: Micros = 64;
/// The longest slide. A reading is kept as its offset within the slide in 32 bits of microseconds.
pub const MAX_SLIDE: Micros = HOUR;
/// The most slides that may stand open to late readings.
pub const MAX_OPEN_LATENESS_SLIDES: Micros = 1_440;
/// The most channels of one asset that a configuration may allow.
pub const MAX_CHANNELS: usize = 256;

/// What to do with an asset that the registry does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// Count its readings, list it, wait for a command.
    #[default]
    Quarantine,
    /// Take it into service with whatever channels it shows.
    Adopt,
}

/// Settings of the engine. Durations are event time in microseconds unless said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Readings are folded together over slices of this length, aligned to the epoch.
    pub pane: Micros,
    /// The grid on which assets are evaluated.
    pub slide: Micros,
    /// Length of the window whose indicators are published.
    pub window: Micros,
    /// A channel's watermark is its highest event time less this.
    pub disorder: Micros,
    /// How long after its end, by the asset's frontier, a slide may still be revised by late readings.
    pub lateness: Micros,
    /// Arrival (monotonic) time without a reading after which a channel no longer holds its asset back.
    pub idle: Micros,
    /// One health record per asset each so much event time, besides those on a change of verdict.
    pub publish: Micros,
    /// Event time further ahead of arrival wall time is rejected, unless the wall clock is of unknown quality.
    pub max_ahead: Micros,
    /// Slides with data that are learned at commissioning.
    pub baseline_slides: u32,
    /// False alarms asked for, per asset and month of 30 days.
    pub false_alarms_per_asset_month: f64,
    /// Weight of the newest slide in the MEWMA statistic, 0..1.
    pub mewma_lambda: f64,
    /// The largest share of monitored channels that may be imputed before there is no verdict, 0..1.
    pub max_imputed_share: f64,
    /// Length of a step of an asset's life: what a learned prognosis sees at once, and what is kept for learning.
    pub rul_step: Micros,
    /// A remaining useful life beyond this is "none: beyond horizon".
    pub rul_horizon: Micros,
    /// How long a condition must hold before its alarm is raised.
    pub on_delay: Micros,
    /// How long a condition must be away before its alarm returns.
    pub off_delay: Micros,
    /// An alarm returns below `(1 - deadband) * threshold`, 0..1.
    pub deadband: f64,
    /// Policy for assets unknown to the registry.
    pub unknown: UnknownPolicy,
    /// The most assets held, registered, adopted and quarantined each.
    pub max_assets: usize,
    /// The most channels of one adopted or quarantined asset.
    pub max_channels: usize,
    /// Arrival wall time unseen after which an asset's state is dropped.
    pub retire_after: Micros,
    /// The most waveform blocks of one asset that are analysed in a minute of arrival (monotonic) time.
    pub waveform_blocks_per_minute: u32,
    /// One record of evidence per waveform channel each so much event time, besides those on a raised alarm.
    pub waveform_publish: Micros,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pane: 10 * SECOND,
            slide: MINUTE,
            window: 30 * MINUTE,
            disorder: 5 * SECOND,
            lateness: 2 * MINUTE,
            idle: 2 * MINUTE,
            publish: MINUTE,
            max_ahead: 10 * MINUTE,
            baseline_slides: 1_440,
            false_alarms_per_asset_month: 0.1,
            mewma_lambda: 0.1,
            max_imputed_share: 0.34,
            rul_step: 10 * MINUTE,
            rul_horizon: 365 * DAY,
            on_delay: 0,
            off_delay: 5 * MINUTE,
            deadband: 0.3,
            unknown: UnknownPolicy::Quarantine,
            max_assets: 10_000,
            max_channels: 64,
            retire_after: 30 * DAY,
            waveform_blocks_per_minute: 240,
            waveform_publish: HOUR,
        }
    }
}

/// One setting that cannot be run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The setting.
    pub key: &'static str,
    /// What must hold.
    pub rule: String,
    /// What was found.
    pub value: String,
    /// What to write instead.
    pub remedy: String,
}

/// Shows a duration the way a person writes it in the configuration: `90s`, `30min`, `7d`.
fn duration(micros: Micros) -> String {
    for (unit, name) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"), (1_000, "ms")] {
        if micros != 0 && micros % unit == 0 {
            return format!("{}{name}", micros / unit);
        }
    }
    format!("{micros}us")
}

/// Collects problems; every `!(a <= x)` also turns NaN away.
struct Check(Vec<SettingProblem>);

impl Check {
    fn problem(&mut self, key: &'static str, rule: String, value: String, remedy: String) {
        self.0.push(SettingProblem { key, rule, value, remedy });
    }

    fn time(&mut self, key: &'static str, value: Micros, low: Micros, high: Micros, default: Micros) -> bool {
        let fits = (low..=high).contains(&value);
        if !fits {
            let (low, high) = (duration(low), duration(high));
            let rule = format!("must lie between {low} and {high}");
            self.problem(key, rule, duration(value), format!("write \"{}\"", duration(default)));
        }
        fits
    }

    fn multiple(&mut self, key: &'static str, value: Micros, of: &'static str, base: Micros) {
        if value % base != 0 {
            let nearest = ((value + base / 2) / base).max(1) * base;
            let rule = format!("must be a multiple of {of} ({})", duration(base));
            self.problem(key, rule, duration(value), format!("write \"{}\"", duration(nearest)));
        }
    }

    fn share(&mut self, key: &'static str, value: f64, fits: bool, rule: &str, default: f64) {
        if !fits {
            self.problem(key, rule.into(), value.to_string(), format!("write {default}"));
        }
    }

    fn count(&mut self, key: &'static str, value: usize, low: usize, high: usize, default: usize) {
        if !(low..=high).contains(&value) {
            let rule = format!("must lie between {low} and {high}");
            self.problem(key, rule, value.to_string(), format!("write {default}"));
        }
    }
}

impl Settings {
    /// Everything that is wrong, all at once. An engine may be built only when the list is empty (S2).
    pub fn check(&self) -> Vec<SettingProblem> {
        let d = Self::default();
        let mut check = Check(Vec::new());
        let pane = check.time("pane", self.pane, 1_000, MAX_SLIDE, d.pane);
        let slide = check.time("slide", self.slide, 1_000, MAX_SLIDE, d.slide);
        let window = check.time("window", self.window, 1_000, MAX_WINDOW_SLIDES * MAX_SLIDE, d.window);
        let publish = check.time("publish", self.publish, 1_000, 30 * DAY, d.publish);
        if pane && slide {
            check.multiple("slide", self.slide, "pane", self.pane);
        }
        if slide && window {
            check.multiple("window", self.window, "slide", self.slide);
            if self.window / self.slide > MAX_WINDOW_SLIDES {
                let rule = format!("must have at most {MAX_WINDOW_SLIDES} slides of {}", duration(self.slide));
                let remedy = format!("write \"{}\" or lengthen slide", duration(MAX_WINDOW_SLIDES * self.slide));
                check.problem("window", rule, duration(self.window), remedy);
            }
        }
        if check.time("rul_step", self.rul_step, 1_000, 30 * DAY, d.rul_step) && slide {
            check.multiple("rul_step", self.rul_step, "slide", self.slide);
        }
        if slide && publish {
            check.multiple("publish", self.publish, "slide", self.slide);
        }
        check.time("disorder", self.disorder, 0, DAY, d.disorder);
        if check.time("lateness", self.lateness, 0, 30 * DAY, d.lateness)
            && slide
            && self.lateness > MAX_OPEN_LATENESS_SLIDES * self.slide
        {
            let most = duration(MAX_OPEN_LATENESS_SLIDES * self.slide);
            let rule = format!("must be at most {MAX_OPEN_LATENESS_SLIDES} slides of {}", duration(self.slide));
            check.problem("lateness", rule, duration(self.lateness), format!("write \"{most}\" or lengthen slide"));
        }
        check.time("idle", self.idle, SECOND, 30 * DAY, d.idle);
        check.time("max_ahead", self.max_ahead, 0, 30 * DAY, d.max_ahead);
        check.time("on_delay", self.on_delay, 0, 30 * DAY, d.on_delay);
        check.time("off_delay", self.off_delay, 0, 30 * DAY, d.off_delay);
        check.time("retire_after", self.retire_after, MINUTE, 36_500 * DAY, d.retire_after);
        check.time("waveform_publish", self.waveform_publish, SECOND, 30 * DAY, d.waveform_publish);
        check.time("rul_horizon", self.rul_horizon, HOUR, 36_500 * DAY, d.rul_horizon);
        self.check_numbers(&d, &mut check);
        check.0
    }

    fn check_numbers(&self, d: &Self, check: &mut Check) {
        let rate = self.false_alarms_per_asset_month;
        let fits = rate > 0.0 && rate <= 1_000.0;
        let rule = "must be above 0 and at most 1000";
        check.share("false_alarms_per_asset_month", rate, fits, rule, d.false_alarms_per_asset_month);
        let lambda = self.mewma_lambda;
        check.share(
            "mewma_lambda",
            lambda,
            lambda > 0.0 && lambda <= 1.0,
            "must be above 0 and at most 1",
            d.mewma_lambda,
        );
        let share = self.max_imputed_share;
        let fits = (0.0..1.0).contains(&share);
        check.share("max_imputed_share", share, fits, "must be at least 0 and below 1", d.max_imputed_share);
        let fits = (0.0..1.0).contains(&self.deadband);
        check.share("deadband", self.deadband, fits, "must be at least 0 and below 1", d.deadband);
        let slides = self.baseline_slides as usize;
        check.count("baseline_slides", slides, 30, 1_000_000, d.baseline_slides as usize);
        let (blocks, default) = (self.waveform_blocks_per_minute as usize, d.waveform_blocks_per_minute as usize);
        check.count("waveform_blocks_per_minute", blocks, 1, 100_000, default);
        check.count("max_assets", self.max_assets, 1, 1_000_000, d.max_assets);
        check.count("max_channels", self.max_channels, 1, MAX_CHANNELS, d.max_channels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_run_with() {
        assert_eq!(Settings::default().check(), Vec::new());
    }

    #[test]
    fn every_broken_setting_is_named_at_once_with_rule_value_and_remedy() {
        let broken = Settings {
            pane: 7 * SECOND,
            window: 2 * HOUR,
            publish: 90 * SECOND,
            rul_step: 100 * SECOND,
            deadband: f64::NAN,
            mewma_lambda: 0.0,
            max_channels: 0,
            lateness: 2 * DAY,
            ..Settings::default()
        };
        let problems = broken.check();
        let keys: Vec<_> = problems.iter().map(|p| p.key).collect();
        assert_eq!(
            keys,
            ["slide", "window", "rul_step", "publish", "lateness", "mewma_lambda", "deadband", "max_channels"]
        );
        let window = &problems[1];
        assert_eq!(window.rule, "must have at most 64 slides of 1min");
        assert_eq!((window.value.as_str(), window.remedy.as_str()), ("2h", "write \"64min\" or lengthen slide"));
    }

    #[test]
    fn extreme_numbers_neither_overflow_nor_divide_by_zero() {
        for value in [i64::MIN, -1, 0, 1, i64::MAX] {
            let settings = Settings { pane: value, slide: value, window: value, publish: value, ..Settings::default() };
            assert!(!settings.check().is_empty());
        }
    }

    #[test]
    fn settings_survive_the_journal() {
        let settings = Settings { unknown: UnknownPolicy::Adopt, ..Settings::default() };
        let bytes = fettle_wire::cbor::encode(&settings).unwrap();
        assert_eq!(fettle_wire::cbor::decode::<Settings>(&bytes, 4096).unwrap(), settings);
    }
}
