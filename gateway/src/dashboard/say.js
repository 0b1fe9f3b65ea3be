// How things are said: times in the browser's zone, ages, numbers, units, and the words of the contract as a person
// would write them.
const PLACES = { minimumFractionDigits: 2, maximumFractionDigits: 2 };

export const seconds = (micros) => micros / 1e6;

export function time(micros) {
  const at = new Date(micros / 1000);
  if (Number.isNaN(at.getTime())) return "?";
  const day = at.toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" });
  const clock = at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return at.toDateString() === new Date().toDateString() ? clock : `${day}, ${clock}`;
}

export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";

export function span(s) {
  if (!Number.isFinite(s)) return "?";
  const steps = [[1, "s"], [60, "min"], [3600, "h"], [86400, "d"], [86400 * 365, "y"]];
  const size = Math.abs(s);
  let [unit, name] = steps[0];
  for (const [u, n] of steps) if (size >= u * (u === 1 ? 1 : 2)) [unit, name] = [u, n];
  const value = s / unit;
  return `${Math.abs(value) < 10 && unit > 60 ? value.toFixed(1) : Math.round(value)} ${name}`;
}

export const age = (micros, now) => `${span(Math.max(0, (now - micros) / 1e6))} ago`;

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2);
  return Number(value.toPrecision(4)).toLocaleString(undefined, { maximumFractionDigits: 6 });
}

// For the ticks of an axis.
export const brief = (value) => (Math.abs(value) >= 1e3 && value % 100 === 0 && Math.abs(value) < 1e6 ? `${value / 1e3}k` : Math.abs(value) < 1e-3 && value !== 0 ? value.toExponential(0) : String(Number(value.toPrecision(3))));

export const count = (value) => Number(value).toLocaleString();
export const index = (value) => (value === undefined || value === null ? "–" : value.toLocaleString(undefined, PLACES));
export const percent = (share) => `${Math.round(share * 100)} %`;

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export const words = (name) => String(name).replaceAll("_", " ");

// UCUM codes of SI units, as people write them, with how to get there from SI.
const UNITS = {
  K: ["°C", (v) => v - 273.15], Pa: ["bar", (v) => v / 1e5], "m/s": ["mm/s", (v) => v * 1e3], "rad/s": ["rpm", (v) => v * 30 / Math.PI],
  Hz: ["Hz", (v) => v], "/s": ["/s", (v) => v], "m/s2": ["m/s²", (v) => v], m: ["mm", (v) => v * 1e3], A: ["A", (v) => v], V: ["V", (v) => v], "[g]": ["g", (v) => v], W: ["kW", (v) => v / 1e3], 1: ["", (v) => v],
};
export const unit = (code) => UNITS[code] || [code, (v) => v];
export function quantity(value, code) {
  const [name, turn] = unit(code);
  return value === null || value === undefined ? "–" : `${number(turn(value))}${name ? ` ${name}` : ""}`;
}

// The interval of a remaining life: P10 to P90, open where P90 lies beyond the horizon.
export const between = (rul) => (rul.p90 === undefined ? `at least ${span(rul.p10)}` : `${span(rul.p10)} – ${span(rul.p90)}`);

export const condition = (name) => (name === "anomaly" ? "Unusual behaviour" : name.startsWith("limit.") ? `Limit of ${name.slice(6)}` : name);

const STATES = {
  normal: "ended", unacknowledged: "active, not acknowledged", acknowledged: "active, acknowledged",
  returned_unacknowledged: "went away, not acknowledged",
};
export const state = (name) => STATES[name] || words(name);

const NOTES = {
  restamped: "clock of the node was wrong; times were corrected",
  "verdict:baseline_not_learned": "baseline still being learned", "verdict:inputs_missing": "inputs missing",
  "verdict:regime_unknown": "operating state not seen before", "verdict:nothing_monitored": "no monitored channel",
  "verdict:degenerate": "a monitored channel is constant",
};
export const note = (text) => NOTES[text] || words(text.replace(/^verdict:/, "no verdict: ").replace(/^rul:/, "no life estimate: ").replace(/^imputed:/, "value estimated: "));
