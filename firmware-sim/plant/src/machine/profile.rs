//! Load and speed: three shifts a day, quieter weekends, ramps of a quarter of an hour.

use fettle_wire::Micros;
use fettle_wire::time::{DAY, HOUR, MINUTE};

const RAMP: Micros = 15 * MINUTE;
/// Early, late and night shift begin at 06:00, 14:00 and 22:00 UTC.
const BEGINS: [Micros; 3] = [6 * HOUR, 14 * HOUR, 22 * HOUR];

/// The share of rated power that the plan asks for at `time`.
pub(crate) fn load(shifts: &[f64; 3], time: Micros) -> f64 {
    let in_day = time.rem_euclid(DAY);
    // The shift running and the one before it, blended over the ramp.
    let now = (0..3).rev().find(|i| in_day >= BEGINS[*i]).unwrap_or(2);
    let since = (in_day - BEGINS[now]).rem_euclid(DAY);
    let blend = if since < RAMP { since as f64 / RAMP as f64 } else { 1.0 };
    let smooth = blend * blend * (3.0 - 2.0 * blend);
    let before = shifts[(now + 2) % 3];
    (before + (shifts[now] - before) * smooth) * weekend(time)
}

/// 1970-01-01 was a Thursday; Saturday and Sunday run at nine tenths, with a ramp at their midnights.
fn weekend(time: Micros) -> f64 {
    let quiet = |days: i64| if matches!(days.rem_euclid(7), 2 | 3) { 0.9 } else { 1.0 };
    let (days, in_day) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let blend = (in_day as f64 / RAMP as f64).min(1.0);
    quiet(days - 1) + (quiet(days) - quiet(days - 1)) * blend
}

/// Speed as a share of the rated speed: a frequency converter follows the load.
pub(crate) fn speed(load: f64) -> f64 {
    0.70 + 0.30 * load
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_continuous_and_reaches_each_shift() {
        let shifts = [0.9, 0.7, 0.5];
        let minutes: Vec<f64> = (0..7 * 1440 * 6).map(|i| load(&shifts, i * 10_000_000)).collect();
        assert!(minutes.windows(2).all(|w| (w[1] - w[0]).abs() < 0.01));
        assert_eq!(load(&shifts, 7 * HOUR), 0.9);
        assert_eq!(load(&shifts, 15 * HOUR), 0.7);
        assert_eq!(load(&shifts, 2 * HOUR), 0.5);
        assert!((load(&shifts, 2 * DAY + 7 * HOUR) - 0.81).abs() < 1e-12, "1970-01-03 was a Saturday");
    }
}
