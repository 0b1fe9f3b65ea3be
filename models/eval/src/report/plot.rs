//! Plots as inline SVG. Colours come from the page's style, so they follow its theme.

use std::fmt::Write as _;

use crate::judge::{Said, Told};

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 260.0;
const MARGIN: f64 = 36.0;

/// From data to picture.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |v: f64, (low, high): (f64, f64)| (v - low) / (high - low).max(1e-9);
        let (sx, sy) = (share(x, self.x), share(y, self.y));
        (MARGIN + sx * (WIDTH - 1.5 * MARGIN), HEIGHT - MARGIN - sy * (HEIGHT - 1.5 * MARGIN))
    }

    fn draw(&self, x_name: &str, y_name: &str, inner: &str) -> String {
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"{y_name} over {x_name}\">"
        );
        let ((left, bottom), (right, top)) = (self.at(self.x.0, self.y.0), self.at(self.x.1, self.y.1));
        let _ = write!(out, "<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>");
        for share in [0.0, 0.5, 1.0] {
            let (x, y) = (self.x.0 + share * (self.x.1 - self.x.0), self.y.0 + share * (self.y.1 - self.y.0));
            let (px, py) = self.at(x, y);
            let _ =
                write!(out, "<text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", bottom + 13.0, tick(x));
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 4.0,
                py + 4.0,
                tick(y)
            );
        }
        let _ = write!(out, "<text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{x_name}</text>", bottom + 27.0);
        let _ = write!(out, "<text x=\"4\" y=\"11\">{y_name}</text>");
        out + inner + "</svg>"
    }
}

fn tick(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn path(class: &str, frame: &Frame, points: impl Iterator<Item = (f64, f64)>, close: bool) -> String {
    let mut d = String::new();
    for (i, (x, y)) in points.enumerate() {
        let (x, y) = frame.at(x, y);
        let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    format!("<path class=\"{class}\" d=\"{d}{}\"/>", if close { "Z" } else { "" })
}

fn greatest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(1.0, f64::max)
}

/// Predicted over true.
pub(super) fn scatter(last: &[(Said, f64)]) -> String {
    let most = greatest(last.iter().map(|(s, t)| s.p90.1.max(*t)));
    let frame = Frame { x: (0.0, most), y: (0.0, most) };
    let mut inner = path("truth", &frame, [(0.0, 0.0), (most, most)].into_iter(), false);
    for (s, truth) in last {
        inner += &path("whisker", &frame, [(*truth, s.p90.0), (*truth, s.p90.1)].into_iter(), false);
        let (x, y) = frame.at(*truth, s.p50);
        let _ = write!(inner, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
    }
    frame.draw("true", "predicted", &inner)
}

/// Coverage by predicted value.
pub(super) fn coverage(rows: &[(Said, f64)]) -> String {
    const BINS: usize = 10;
    let most = greatest(rows.iter().map(|(s, _)| s.p50));
    let frame = Frame { x: (0.0, most), y: (0.0, 1.0) };
    let mut inner = path("truth", &frame, [(0.0, 0.9), (most, 0.9)].into_iter(), false);
    let mut bins = [(0.0, 0.0); BINS];
    for (s, truth) in rows {
        let bin = &mut bins[((s.p50 / most * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += 1.0;
        bin.1 += f64::from(u8::from((s.p90.0..=s.p90.1).contains(truth)));
    }
    let points = bins.iter().enumerate().filter(|(_, (n, _))| *n > 0.0);
    let points = points.map(|(i, (n, covered))| (most * (i as f64 + 0.5) / BINS as f64, covered / n));
    inner += &path("said", &frame, points, false);
    frame.draw("predicted", "coverage", &inner)
}

/// One life: told, band and truth over time.
pub(super) fn life(told: &Told, remaining: f64, end: f64) -> String {
    let (Some(first), Some(last)) = (told.said.first(), told.said.last()) else { return String::new() };
    let most = greatest(told.said.iter().map(|s| s.p90.1));
    let frame = Frame { x: (first.time, last.time), y: (0.0, most) };
    let upper = told.said.iter().map(|s| (s.time, s.p90.1));
    let lower = told.said.iter().rev().map(|s| (s.time, s.p90.0));
    let mut inner = path("band", &frame, upper.chain(lower), true);
    inner += &path("said", &frame, told.said.iter().map(|s| (s.time, s.p50)), false);
    let truth = told.said.iter().map(|s| (s.time, (remaining + end - s.time).min(most)));
    inner += &path("truth", &frame, truth, false);
    frame.draw("time", "remaining", &inner)
}
