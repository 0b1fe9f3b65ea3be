//! Current of a three-phase induction motor.

/// Rated current in A at 400 V, power factor 0.86, efficiency 0.93: `P / (sqrt(3) U cos(phi) eta)`.
pub(crate) fn rated_current(power_kw: f64) -> f64 {
    power_kw * 1e3 / (3f64.sqrt() * 400.0 * 0.86 * 0.93)
}

/// Current in A: magnetising current in quadrature with the load current; a worn bearing costs a little.
pub(crate) fn current(rated: f64, load: f64, severity: f64) -> f64 {
    let (idle, active) = (0.35, 0.94 * load);
    rated * (idle * idle + active * active).sqrt() * (1.0 + 0.03 * severity)
}
