//! Discharge pressure of a centrifugal pump.

/// The affinity law (head with the square of speed) and a curve that falls with the flow, taken as the load; bar.
pub(crate) fn discharge(shut_off: f64, speed: f64, load: f64) -> f64 {
    shut_off * speed * speed * (1.0 - 0.25 * load * load)
}
