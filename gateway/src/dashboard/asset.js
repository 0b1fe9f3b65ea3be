// One machine: what it is like now, how it came to be so, what its alarms rest on, and how far the data can be trusted.
import { el, fill, gauge, mark } from "./dom.js";
import { chart } from "./chart.js";
import * as say from "./say.js";
import { alarmOrder, enc, get, isStale, key, known, now } from "./state.js";
import { action, change } from "./acts.js";
import { adopt, evidence } from "./alarms.js";
import { verdict } from "./fleet.js";
import { may } from "./app.js";
import { waveform } from "./waveform.js";

const HOUR = 3600e6;
const RANGES = [["1 h", HOUR], ["6 h", 6 * HOUR], ["24 h", 24 * HOUR], ["7 d", 168 * HOUR], ["30 d", 720 * HOUR], ["90 d", 2160 * HOUR], ["1 y", 8760 * HOUR], ["All", null]];
const WHAT = [["mean", "mean"], ["rms", "RMS"], ["max", "largest"]];

// `wanted` are the rest of the address: "evidence", a condition and an occurrence show the waveform of that alarm.
export function asset(main, site, name, ...wanted) {
  const path = `/api/v1/assets/${enc(site)}/${enc(name)}`;
  const view = { range: 24 * HOUR, zoom: null, what: "mean", detail: null, history: null, log: [], error: null, stop: false };
  const of = () => known.assets.get(key(site, name)) ?? view.detail?.summary;

  const head = el("div", { class: "asset-head" });
  const cards = el("div", { class: "cards" });
  const ranges = el("div", { class: "chips", role: "group", "aria-label": "Time shown" });
  const origin = el("p", { class: "dim small" });
  const charts = el("div", { class: "charts" });
  const current = el("section", {}, el("h2", {}, "Alarms"));
  const alarmList = el("div", { class: "stack" });
  const changes = el("div", {});
  current.append(alarmList, changes);
  // Its table may be wider than a phone: whoever has no finger scrolls it by keys.
  const values = el("section", { tabindex: "0", "aria-label": "Newest window" });
  const quality = el("section", {});
  const waves = waveform(site, name, () => view.detail?.record ?? null, () => { drawHead(); drawAlarms(); });
  const toWaves = (a, text) => (waves.has(a.condition, a.occurrence) ? el("button", { type: "button", class: "quiet small", onclick: () => waves.showAlarm(a.condition, a.occurrence) }, text) : null);
  fill(main, head, cards, el("div", { class: "asset-grid" },
    el("section", { class: "past" }, el("h2", {}, "History"), el("div", { class: "bar" }, ranges), origin, charts, waves.section),
    el("div", { class: "present first" }, current),
    el("div", { class: "present" }, values, quality)));

  function drawHead() {
    const a = of();
    const at = [...head.querySelectorAll("button")].indexOf(document.activeElement);
    fill(head, el("h1", {}, name, " ", el("span", { class: "dim" }, site)), a ? verdict(a) : null,
      a?.quarantined ? (a.adoption && !a.adoption.expired ? mark("wait", `adoption asked for by ${a.adoption.person}, waiting for the agent`) : may() ? el("button", { type: "button", class: "act", onclick: () => adopt(a) }, "Adopt") : mark("wait", "waits for adoption")) : null,
      waves.any() ? el("button", { type: "button", class: "quiet small", onclick: () => { waves.section.scrollIntoView({ block: "start" }); waves.section.querySelector("h2").focus({ preventScroll: true }); } }, "Waveform and spectrum ↓") : null,
      el("span", { class: "dim small grow" }, a ? `Told by agent ${a.agent}, ${say.age(a.seen, now())}` : view.error ?? "Reading …"));
    if (at >= 0) head.querySelectorAll("button")[at]?.focus();
    if (!a) { fill(cards); return; }
    const h = a.health;
    const record = view.detail?.record;
    const card = (label, value, more) => el("div", { class: "card" }, el("span", { class: "dim small" }, label), el("div", { class: "value" }, value), more ? el("span", { class: "dim small" }, more) : null);
    fill(cards,
      card("Health index", h?.health_index === undefined ? "–" : gauge(h.health_index, say.index(h.health_index)), "1 healthy, 0 failed"),
      card("Remaining life", h?.rul.kind === "interval" ? say.span(h.rul.p50) : "none", h ? (h.rul.kind === "interval" ? `${say.between(h.rul)} (${h.rul.p90 === undefined ? "90" : "80"} %); ${h.rul.channel} first` : say.words(h.rul.reason)) : null),
      card("How unusual", h?.score === undefined ? "–" : say.number(h.score), h?.p_value === undefined ? null : `p = ${say.number(h.p_value)} when healthy`),
      card("Baseline", h ? say.percent(h.baseline) : "–", !h ? null : h.reason === "regime_unknown" ? "operating state not seen before" : h.baseline < 1 ? "still being learned" : "learned; this operating state is known"),
      card("Window", h ? say.time(h.window_end) : "–", record ? `${say.span((record.window_end - record.window_start) / 1e6)} long${h.revision ? `, revision ${h.revision}` : ""}` : null));
    cards.classList.toggle("is-stale", isStale(a));
  }

  // Drawn again only where something is different: what is about to be clicked must not be replaced under the hand.
  let drawn = "";
  function drawAlarms() {
    const all = [...known.alarms.values()].filter((a) => a.site === site && a.asset === name).sort(alarmOrder);
    const shown = JSON.stringify([all, view.log, known.role, [...all, ...view.log.map((l) => l.alert)].map((a) => waves.has(a.condition, a.occurrence))]);
    if (shown === drawn) return;
    drawn = shown;
    fill(alarmList, all.length ? all.map((a) => el("article", { class: `alarm ${a.open && !a.shelved_until ? `p-${a.priority}` : "ended"}` },
      el("div", { class: "alarm-head" }, a.open ? mark(a.priority, a.priority) : mark("ok", "ended"), el("b", {}, say.condition(a.condition)), el("span", { class: "dim" }, say.state(a.state)), a.shelved_until ? mark("shelved", "shelved") : null),
      action(a, drawAlarms), evidence(a), toWaves(a, "Waveform at this alarm"), el("p", { class: "dim small" }, `Raised ${say.time(a.raised_at)}, last change ${a.change} ${say.time(a.at)}`))) : el("p", { class: "empty" }, "No alarm was ever raised."));
    fill(changes, view.log.length ? el("details", {}, el("summary", {}, `${say.count(view.log.length)} changes kept`), el("table", { class: "plain" }, el("tbody", {}, view.log.map((l) => el("tr", {}, el("td", {}, say.time(l.alert.at)), el("td", {}, say.condition(l.alert.condition)), el("td", {}, change(l.alert), " ", l.alert.change === "raised" ? toWaves(l.alert, "waveform") : null), el("td", { class: "n" }, say.number(l.alert.score))))))) : null);
  }

  function drawValues() {
    const record = view.detail?.record;
    fill(values, el("h2", {}, "Newest window", record ? el("span", { class: "dim small" }, ` ${say.count(record.indicators.reduce((n, i) => n + i.count, 0))} readings`) : null), !record ? el("p", { class: "empty" }, "No health record yet.") : el("table", { class: "plain" },
      el("thead", {}, el("tr", {}, ["Channel", "Mean", "RMS", "Least", "Largest"].map((h, n) => el("th", { scope: "col", class: n ? "n" : null }, h)))),
      el("tbody", {}, record.indicators.map((i) => el("tr", {}, el("th", { scope: "row" }, i.channel, el("span", { class: "dim" }, ` ${say.unit(i.unit)[0]}`)), [i.mean, i.unit === "K" ? null : i.rms, i.min, i.max].map((v) => el("td", { class: "n" }, say.number(v === null ? null : say.unit(i.unit)[1](v)))))))));
  }

  function drawQuality() {
    const record = view.detail?.record;
    const notes = [...(record?.flags ?? [])];
    if (record?.reason) notes.push(`verdict:${record.reason}`);
    fill(quality, el("h2", {}, "Data quality"), notes.length ? el("ul", { class: "notes" }, notes.map((n) => el("li", {}, say.note(n)))) : el("p", {}, mark("ok", "nothing to remark in the newest window")),
      (view.detail?.accounts ?? []).map((a) => {
        const lost = { ...a.readings.rejected, ...a.readings.shed };
        return el("div", {}, el("p", {}, `Agent ${a.agent}: `, el("b", {}, say.count(a.readings.received)), ` readings received, ${say.count(a.readings.used)} used, ${say.count(a.readings.late)} late, ${say.count(a.readings.duplicate)} duplicate`,
          Object.entries(lost).map(([why, n]) => `, ${say.count(n)} ${say.words(why)}`), a.balances && a.nodes_balance ? "." : el("b", { class: "bad" }, ". This account does not balance."),
          a.missing ? el("span", {}, " ", mark("medium", `${say.count(a.missing)} frames missing`), a.lost ? `, ${say.count(a.lost)} lost for good` : "") : " No frame is missing."),
          a.missing ? el("ul", { class: "notes" }, a.nodes.filter((n) => n.missing).map((n) => el("li", {}, `Boot ${n.boot}: ${n.missing_ranges.map(([f, t]) => (f === t ? f : `${f}–${t}`)).join(", ")}`))) : null);
      }));
  }

  function drawRanges() {
    fill(ranges, RANGES.map(([label, width]) => el("button", { type: "button", class: "chip", "data-name": label, "aria-pressed": String(!view.zoom && view.range === width), onclick: () => { view.range = width; view.zoom = null; refetch(); drawRanges(); ranges.querySelector(`[data-name="${label}"]`).focus(); } }, label)),
      view.zoom ? el("button", { type: "button", class: "chip", "aria-pressed": "true", onclick: () => { view.zoom = null; refetch(); drawRanges(); } }, "Back from zoom") : null,
      el("label", { class: "dim" }, "Show ", el("select", { onchange: (e) => { view.what = e.target.value; drawCharts(); } }, WHAT.map(([v, label]) => el("option", { value: v, selected: view.what === v }, label)))));
  }

  function zoom(from, to) {
    view.zoom = from === null ? null : [Math.round(from * 1e6), Math.round(to * 1e6)];
    drawRanges();
    refetch();
  }

  function drawCharts() {
    const h = view.history;
    const focused = [...charts.children].findIndex((c) => c.contains(document.activeElement));
    [...charts.children].forEach((c) => c.destroy?.());
    if (!h) { fill(charts, el("p", { class: "empty" }, view.error ?? "Reading the history …")); fill(origin); return; }
    fill(origin, h.at.length ? `${say.count(h.at.length)} points from ${say.count(h.records)} records (${{ raw: "each record", "1min": "minutes", "1h": "hours" }[h.resolution]}${h.slot ? `, folded into ${say.span(h.slot / 1e6)}; shades show least to largest` : ""}). Times in ${say.zone()}. Dashed lines: alarms raised. Drag to zoom, double-click or 0 to go back.` : "Nothing is kept of this time.");
    if (!h.at.length) { fill(charts); return; }
    const at = h.at.map((t) => t / 1e6);
    const marks = view.log.filter((l) => l.alert.change === "raised").map((l) => ({ at: l.alert.at / 1e6, color: `--${l.alert.priority}` }));
    const shown = { at, marks, from: h.from / 1e6, to: h.to / 1e6 };
    const series = (n) => h.series.find((s) => s.name === n);
    const line = (s, label, color, turn = (v) => v, more = {}) => {
      const column = (c) => c?.map((v) => (v === null ? null : turn(v)));
      return { label, color, values: column(s.mean), low: column(s.min), high: column(s.max), ...more };
    };
    const all = [];
    const health = series("health_index");
    if (health) all.push(chart({ ...shown, title: "Health index", lines: [line(health, "Health", "--c-health")], range: () => [0, 1.05], say: say.index }, zoom));
    const score = series("score");
    if (score) all.push(chart({ ...shown, title: "How unusual", note: "score, logarithmic", log: true, lines: [line({ ...score, mean: score.mean.map(above), min: score.min?.map(above), max: score.max?.map(above) }, "Score", "--c-score")], say: say.number }, zoom));
    const [p10, p50, p90] = ["rul_p10", "rul_p50", "rul_p90"].map(series);
    if (p50) {
      const days = (s) => s?.mean.map((v) => (v === null ? null : v / 86400));
      all.push(chart({ ...shown, title: "Remaining life", note: "days; shade P10 to P90", lines: [{ label: "Median", color: "--c-life", values: days(p50), low: days(p10), high: days(p90) ?? days(p50), fill: 0.25 }], say: (v) => say.span(v * 86400) }, zoom));
    }
    const channels = [...new Set(h.series.filter((s) => s.channel).map((s) => `${s.channel}|${s.unit}`))];
    channels.forEach((c, n) => {
      const [channel, code] = [c.slice(0, c.indexOf("|")), c.slice(c.indexOf("|") + 1)];
      const s = h.series.find((x) => x.channel === channel && x.unit === code && x.name === `${channel}.${view.what}`);
      if (!s) return;
      const [unit, turn] = say.unit(code);
      all.push(chart({ ...shown, title: channel, note: `${view.what === "rms" ? "RMS" : view.what}${unit ? `, ${unit}` : ""}`, lines: [line(s, channel, `--c-${n % 6}`, turn)], say: (v) => `${say.number(v)} ${unit}` }, zoom));
    });
    fill(charts, all);
    if (focused >= 0) charts.children[focused]?.querySelector(".plot")?.focus({ preventScroll: true });
  }
  const above = (v) => (v === null ? null : Math.max(v, 1e-3));

  let busy = false;
  let again = false;
  async function refetch() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      let query = "points=600";
      if (view.zoom) query += `&from=${view.zoom[0]}&to=${view.zoom[1]}`;
      else {
        const extent = view.history?.extent ?? (await get(`${path}/history?points=1`)).extent;
        if (extent) {
          // A little beyond the newest, so that the next points have room; the newest is asked for anew each time.
          const newest = Math.max(extent.last, of()?.health?.window_end ?? 0) + 1;
          query += `&from=${view.range === null ? extent.first : newest - view.range}&to=${newest}`;
        }
      }
      const history = await get(`${path}/history?${query}`);
      if (!view.stop) { view.history = history; view.error = null; }
    } catch (error) { view.error = error.message; }
    busy = false;
    if (view.stop) return;
    drawCharts();
    if (again) { again = false; refetch(); }
  }

  async function fetchDetail() {
    try {
      const [detail, log] = await Promise.all([get(path), get(`/api/v1/alarms/history?site=${enc(site)}&asset=${enc(name)}&limit=200`)]);
      if (view.stop) return;
      view.detail = detail;
      const isNew = log.changes.length !== view.log.length;
      view.log = log.changes;
      if (isNew && view.history) drawCharts();
    } catch (error) { view.error = error.message; }
    drawHead(); drawAlarms(); drawValues(); drawQuality();
    waves.update("state");
  }

  drawHead(); drawRanges(); drawCharts(); drawAlarms();
  fetchDetail();
  refetch();
  if (wanted[0] === "evidence") waves.showAlarm(wanted[1], Number(wanted[2]));
  const mine = (about) => about?.some((a) => a?.site === site && a?.asset === name);
  return {
    update: (what, about) => {
      // Curves are painted, not styled.
      if (what === "theme") { drawCharts(); waves.update("theme"); }
      if (what === "all") waves.update("all");
      if (what === "evidence" && mine(about)) waves.update("evidence", about.filter((e) => e.site === site && e.asset === name));
      if (what === "all" || (what === "alarm" && mine(about)) || (what === "asset" && mine(about))) fetchDetail();
      if ((what === "health" && mine(about)) || what === "all") { if (!view.zoom) refetch(); }
      if (what === "link" || (what === "second" && Math.floor(Date.now() / 1000) % 5 === 0)) drawHead();
    },
    end: () => { view.stop = true; waves.end(); [...charts.children].forEach((c) => c.destroy?.()); },
    keys: { "[": () => step(-1), "]": () => step(1) },
  };

  function step(by) {
    const n = Math.max(0, Math.min(RANGES.length - 1, RANGES.findIndex(([, w]) => w === view.range) + by));
    [view.range, view.zoom] = [RANGES[n][1], null];
    drawRanges();
    refetch();
  }
}
