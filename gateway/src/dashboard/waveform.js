// Waveform and spectrum of an asset: which records of evidence there are, and one of them as a person reads it - the
// samples, their spectrum, the spectrum of their envelope with the bearing's frequencies, and the same as tables.
import { el, fill, mark, swatch } from "./dom.js";
import * as say from "./say.js";
import { enc, get } from "./state.js";
import { trace } from "./trace.js";

// How each part of the bearing is named and drawn: colour, dashes and a row of its own, so that none is needed alone.
const PARTS = {
  bpfo: { row: 3, title: "BPFO", part: "outer ring", color: "--c-1", dash: [] },
  bpfi: { row: 2, title: "BPFI", part: "inner ring", color: "--c-0", dash: [7, 4] },
  bsf: { row: 1, title: "BSF", part: "ball", color: "--c-2", dash: [2, 3] },
  ftf: { row: 0, title: "FTF", part: "cage", color: "--c-3", dash: [9, 3, 2, 3] },
};
const partOf = (name) => PARTS[name] ?? { row: 0, title: name.toUpperCase(), part: "", color: "--c-4", dash: [1, 2] };
const HARMONICS = [1, 2, 3];
const PAGE = 100;
// A peak this close to a known frequency carries its name, or as close as its neighbours: bearings slip by some percent,
// and a short block does not tell frequencies apart that are closer than that.
const NEAR = 0.03;
const PEAKS = 5;

// Channels that are sent in blocks, by what the agent derives from them.
export function waveformChannels(record) {
  const names = new Set(record?.indicators.map((i) => i.channel));
  return [...names].filter((n) => n.endsWith(".kurtosis") && names.has(n.replace(/kurtosis$/, "rms"))).map((n) => n.slice(0, -".kurtosis".length));
}

const DERIVED = /\.(rms|kurtosis|peak|crest|band[1-5]|bpfo|bpfi|bsf|ftf)$/;
// Where an alarm that rests on waveforms shows its own.
export const linkOf = (site, alarm) => (alarm.contributions.some((c) => DERIVED.test(c.channel)) ? `#/asset/${enc(site)}/${enc(alarm.asset)}/evidence/${enc(alarm.condition)}/${alarm.occurrence}` : null);

// The counts of a record as values in its unit.
function samplesOf(evidence) {
  const text = atob(evidence.samples);
  const values = new Array(text.length >> 1);
  for (let i = 0; i < values.length; i += 1) {
    const count = text.charCodeAt(2 * i) | (text.charCodeAt(2 * i + 1) << 8);
    values[i] = (count > 32767 ? count - 65536 : count) * evidence.scale + evidence.offset;
  }
  return values;
}

function shape(values) {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  let [second, fourth, peak] = [0, 0, 0];
  for (const v of values) {
    const d = v - mean;
    second += d * d;
    fourth += d * d * d * d;
    peak = Math.max(peak, Math.abs(d));
  }
  return { rms: Math.sqrt(second / n), peak, kurtosis: second > 0 ? (fourth * n) / (second * second) : null };
}

// Every frequency that has a name, with its harmonics.
function known(evidence) {
  const of = (title, at) => HARMONICS.map((n) => ({ at: n * at, text: n === 1 ? title : `${n} × ${title}` }));
  return [...(evidence.speed ? of("shaft", evidence.speed) : []), ...(evidence.lines ?? []).flatMap((l) => of(partOf(l.name).title, l.frequency))];
}

function peaks(spectrum, names) {
  const v = spectrum.values;
  const tops = [];
  for (let i = 0; i < v.length; i += 1) if (v[i] > 0 && (i === 0 || v[i] >= v[i - 1]) && (i === v.length - 1 || v[i] > v[i + 1])) tops.push(i);
  tops.sort((a, b) => v[b] - v[a]);
  return tops.slice(0, PEAKS).map((i) => {
    const at = spectrum.frequencies[i];
    const apart = ((spectrum.frequencies[i + 1] ?? at) - (spectrum.frequencies[i - 1] ?? at)) / 2;
    const near = names.filter((n) => Math.abs(n.at - at) <= Math.max(NEAR * at, apart)).sort((a, b) => Math.abs(a.at - at) - Math.abs(b.at - at));
    return { at, value: v[i], near: near.slice(0, 2).map((n) => n.text).join(" or ") };
  });
}

// state(): the newest health record, or null while none is known. changed(): other evidence is known than before.
export function waveform(site, name, state, changed) {
  const path = `/api/v1/assets/${enc(site)}/${enc(name)}/evidence`;
  const view = { records: [], next: null, alarms: [], only: false, chosen: null, shown: null, loaded: false, error: null, asked: null, peaks: false, stop: false };
  const wholes = new Map();
  const title = el("h2", { id: "waves-title", tabindex: "-1" }, "Waveform and spectrum");
  const why = el("p", { class: "empty" });
  const choose = el("div", { class: "bar" });
  const body = el("div", {});
  const section = el("section", { class: "waves", "aria-labelledby": "waves-title" }, title, why, choose, body);
  let plots = [];

  const list = () => (view.only ? view.alarms : view.records);
  const current = () => view.chosen ?? list()[0] ?? null;
  const has = (condition, occurrence) => view.alarms.some((r) => r.condition === condition && r.occurrence === occurrence);

  function reason() {
    if (view.error) return view.error;
    if (!view.loaded) return "Reading what is kept …";
    if (view.asked) return `No waveform is kept of ${say.condition(view.asked[0])}, occurrence ${view.asked[1]}: it is older than what is kept, its asset had sent no block then, or it has not arrived yet.`;
    if (list().length) return "";
    if (view.only) return "No waveform was kept for an alarm.";
    const record = state();
    if (!record) return "No health record yet, so it is not known whether this asset sends waveforms.";
    const channels = waveformChannels(record);
    if (!channels.length) return "This asset sends no waveforms: none of its channels is measured in blocks.";
    return `No evidence yet. Blocks of ${channels.join(" and ")} arrive; the agent sends one in a while (hourly, unless configured), and one at once with each alarm.`;
  }

  function label(r) {
    const channels = new Set([...view.records, ...view.alarms].map((o) => o.channel));
    const what = r.occasion === "alarm" ? `▲ alarm: ${say.condition(r.condition ?? "")}, occurrence ${r.occurrence ?? "?"}` : "from time to time";
    return `${say.time(r.time)} · ${channels.size > 1 ? `${r.channel} · ` : ""}${what}`;
  }

  function drawChoice() {
    const had = choose.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const records = list();
    why.textContent = reason();
    why.hidden = !why.textContent;
    const now = current();
    const known = [...view.records, ...view.alarms];
    if (!known.length) { fill(choose); fill(body); plots.forEach((p) => p.destroy()); plots = []; view.shown = null; return; }
    const all = now && !records.some((r) => r.id === now.id) ? [now, ...records] : records;
    const at = all.findIndex((r) => r.id === now?.id);
    const go = (to) => () => pick(all[to]);
    const newer = view.chosen ? records.filter((r) => r.time > now.time).length : 0;
    fill(choose,
      el("label", { class: "record" }, el("span", { class: "dim" }, "Record "), el("select", { "data-name": "record", onchange: (e) => pick(all[e.target.selectedIndex]) }, all.map((r) => el("option", { value: r.id, selected: r.id === now?.id }, label(r))))),
      el("button", { type: "button", "data-name": "newer", disabled: at <= 0, onclick: go(at - 1) }, "Newer"),
      el("button", { type: "button", "data-name": "older", disabled: at < 0 || at >= all.length - 1, onclick: go(at + 1) }, "Older"),
      el("button", { type: "button", class: "chip", "data-name": "only", "aria-pressed": String(view.only), onclick: () => { view.only = !view.only; view.chosen = null; view.asked = null; drawChoice(); } }, el("b", {}, say.count(view.alarms.length)), " Only of alarms"),
      view.chosen ? el("button", { type: "button", class: "chip", "data-name": "follow", onclick: () => { view.chosen = null; view.asked = null; drawChoice(); } }, newer ? `Newest (${say.count(newer)} newer)` : "Follow the newest") : null,
      view.next && !view.only ? el("button", { type: "button", class: "quiet", "data-name": "more", onclick: more }, "List earlier ones") : null);
    if (had) (choose.querySelector(`[data-name="${had}"]:not(:disabled)`) ?? choose.querySelector("select")).focus();
    if (now) show(now); else { fill(body); plots.forEach((p) => p.destroy()); plots = []; view.shown = null; }
  }

  function pick(record) {
    if (!record) return;
    view.chosen = record;
    view.asked = null;
    drawChoice();
  }

  async function show(record) {
    if (view.shown === record.id) return;
    view.shown = record.id;
    try {
      const whole = wholes.get(record.id) ?? await get(`${path}/${record.id}`);
      wholes.set(record.id, whole);
      if (wholes.size > 8) wholes.delete(wholes.keys().next().value);
      if (!view.stop && view.shown === record.id) draw(whole);
    } catch (error) {
      if (view.shown !== record.id) return;
      view.shown = null;
      fill(body, el("p", { class: "bad" }, error.message));
    }
  }

  function draw({ evidence, agent }) {
    const held = plots.findIndex((p) => p.contains(document.activeElement));
    plots.forEach((p) => p.destroy());
    const [unit, turn] = say.unit(evidence.unit);
    const factor = turn(1) - turn(0);
    const values = samplesOf(evidence).map(turn);
    const ms = values.map((v, i) => (i / evidence.rate) * 1e3);
    const spectrum = { ...evidence.spectrum, values: evidence.spectrum.values.map((v) => v * factor) };
    const envelope = { ...evidence.envelope, values: evidence.envelope.values.map((v) => v * factor * factor) };
    const squared = /^[A-Za-z]+$/.test(unit) ? `${unit}²` : `(${unit})²`;
    const form = shape(values);
    const hz = (v) => `${say.number(v)} Hz`;
    const names = known(evidence);
    const tops = [peaks(spectrum, names), peaks(envelope, names)];
    const highest = (all) => (all.length ? `highest at ${hz(all[0].at)}${all[0].near ? `, near ${all[0].near}` : ""}.` : "no values.");
    const lines = evidence.lines ?? [];
    const marks = lines.flatMap((l) => HARMONICS.map((n) => ({ at: n * l.frequency, ...partOf(l.name), text: n === 1 ? partOf(l.name).title : `×${n}` })));
    const shaft = evidence.speed ? HARMONICS.map((n) => ({ at: n * evidence.speed, row: 0, text: n === 1 ? "shaft" : `×${n}`, before: n === 1, color: "--dim", dash: [3, 3] })) : [];
    const long = ms.length ? ms.length / evidence.rate * 1e3 : 0;
    plots = [];
    if (values.length > 1) plots.push(trace({ title: "Waveform", note: `${say.count(values.length)} samples, ${say.number(long)} ms`, x: { label: "ms", at: ms }, y: { label: unit, values }, color: "--c-0",
      summary: `${say.count(values.length)} samples over ${say.number(long)} ms, RMS ${say.number(form.rms)} ${unit}, largest distance from the mean ${say.number(form.peak)} ${unit}.` }));
    if (spectrum.values.length > 1) plots.push(trace({ title: "Spectrum", note: "RMS amplitude", x: { label: "Hz", at: spectrum.frequencies, log: true }, y: { label: unit, values: spectrum.values, log: true }, color: "--c-0", marks: shaft, rows: shaft.length ? 1 : 0,
      band: evidence.band[1] > 0 ? { from: evidence.band[0], to: evidence.band[1], text: "envelope" } : null, summary: highest(tops[0]) }));
    if (envelope.values.length > 1) plots.push(trace({ title: "Envelope spectrum", note: `of ${say.number(evidence.band[0])} to ${hz(evidence.band[1])}`, x: { label: "Hz", at: envelope.frequencies.map((f, i) => f || envelope.frequencies[i + 1] / 2), log: true }, y: { label: squared, values: envelope.values }, color: "--text", marks, rows: marks.length ? 4 : 0,
      summary: `${highest(tops[1])} ${lines.map((l) => `${partOf(l.name).title} at ${hz(l.frequency)}${strength(l) ? `, ${strength(l)}` : ""}`).join("; ")}.` }));
    fill(body, el("p", {}, evidence.occasion === "alarm" ? mark("abnormal", `sent with the alarm ${say.condition(evidence.condition ?? "")}, occurrence ${evidence.occurrence ?? "?"}`) : mark("none", "sent from time to time, without an alarm"),
      el("span", { class: "dim" }, ` ${evidence.channel}, ${say.time(evidence.time)}, told by agent ${agent}`)),
    el("p", { class: "small" }, `RMS ${say.number(form.rms)} ${unit} · peak ${say.number(form.peak)} ${unit} · kurtosis ${say.number(form.kurtosis)} (3 for noise) · ${say.number(evidence.rate)} samples/s`,
      evidence.speed ? ` · shaft ${say.number(evidence.speed)} turns/s (${say.number(evidence.speed * 60)} rpm), ` : " · speed of the shaft unknown",
      evidence.speed ? (evidence.speed_assumed ? mark("medium", "assumed: the rated speed, for want of a reading") : "measured") : null),
    el("div", { class: "charts" }, plots), tables(lines, tops, unit, squared, evidence));
    if (held >= 0) plots[Math.min(held, plots.length - 1)]?.querySelector(".plot")?.focus({ preventScroll: true });
  }

  const strength = (l) => (l.strength === undefined ? null : `${l.strength.toFixed(1)} dB above the noise`);

  function tables(lines, [spectrum, envelope], unit, squared, evidence) {
    const n = (value) => el("td", { class: "n" }, say.number(value));
    const head = (all) => el("thead", {}, el("tr", {}, all.map((h, i) => el("th", { scope: "col", class: i ? "n" : null }, h))));
    const peaked = (caption, all, of) => el("table", { class: "plain" }, el("caption", {}, caption), head(["Frequency, Hz", `RMS, ${of}`, "Near"]),
      el("tbody", {}, all.map((p) => el("tr", {}, el("th", { scope: "row" }, say.number(p.at)), n(p.value), el("td", { class: "n" }, p.near || "–")))));
    return el("div", { class: "two" },
      lines.length ? el("table", { class: "plain lines" }, el("caption", {}, `The bearing's frequencies in the envelope${evidence.joined ? ` of ${say.count(evidence.joined)} samples` : ""}; strength in dB above the noise, about 3 for noise alone`),
        head(["Line", ...HARMONICS.map((h) => `× ${h}, Hz`), "dB"]),
        el("tbody", {}, lines.map((l) => el("tr", {}, el("th", { scope: "row" }, swatch(partOf(l.name).color, partOf(l.name).dash), " ", partOf(l.name).title, el("span", { class: "dim" }, ` ${partOf(l.name).part}`)), HARMONICS.map((h) => n(h * l.frequency)), el("td", { class: "n" }, l.strength === undefined ? "not resolved" : el("b", {}, l.strength.toFixed(1)))))))
        : el("p", { class: "dim" }, "No lines of the bearing: the registry has no geometry of it, or no speed is known."),
      el("details", { class: "peaks", open: view.peaks, ontoggle: (e) => { view.peaks = e.target.open; } }, el("summary", {}, "Main peaks as a table"), peaked("Spectrum", spectrum, unit), peaked("Envelope spectrum", envelope, squared)));
  }

  const by = (a, b) => b.time - a.time || (a.id < b.id ? 1 : -1);
  const merge = (old, more) => [...new Map([...old, ...more].map((r) => [r.id, r])).values()].sort(by);

  async function load() {
    try {
      const [page, alarms] = await Promise.all([get(`${path}?limit=${PAGE}`), get(`${path}?occasion=alarm&limit=1000`)]);
      if (view.stop) return;
      [view.records, view.next, view.alarms, view.error, view.loaded] = [page.evidence, page.next ?? null, alarms.evidence, null, true];
    } catch (error) {
      // What no agent has told of has no waveforms yet either.
      [view.loaded, view.error] = [true, error.status === 404 ? null : `What is kept of waveforms cannot be read: ${error.message}`];
    }
    if (view.stop) return;
    find();
    drawChoice();
    changed();
  }

  async function more() {
    try {
      const page = await get(`${path}?limit=${PAGE}&cursor=${enc(view.next)}`);
      if (view.stop) return;
      [view.records, view.next] = [merge(view.records, page.evidence), page.next ?? null];
    } catch (error) { view.error = error.message; }
    drawChoice();
  }

  // Shows what was asked for, once it is there.
  function find() {
    const found = view.asked && view.alarms.find((r) => r.condition === view.asked[0] && r.occurrence === view.asked[1]);
    if (found) [view.chosen, view.asked] = [found, null];
    return found;
  }

  function showAlarm(condition, occurrence) {
    view.asked = [condition, occurrence];
    find();
    drawChoice();
    section.scrollIntoView({ block: "start" });
    title.focus({ preventScroll: true });
  }

  drawChoice();
  load();
  return {
    section, has, showAlarm,
    any: () => view.records.length > 0 || view.alarms.length > 0,
    update: (what, about) => {
      if (what === "all") load();
      else if (what === "evidence") {
        view.records = merge(view.records, about);
        view.alarms = merge(view.alarms, about.filter((r) => r.occasion === "alarm"));
        view.loaded = true;
        find();
        drawChoice();
        changed();
      } else if (what === "theme") {
        const whole = wholes.get(view.shown);
        if (whole) draw(whole);
      } else if (what === "state" && !view.shown) drawChoice();
    },
    end: () => { view.stop = true; plots.forEach((p) => p.destroy()); },
  };
}
