// Curves over time on uPlot: colours from the page's theme, times in the browser's zone, gaps shown as gaps, zoom by
// dragging or by keys, one cursor over all charts of a page.
import { el } from "./dom.js";
import * as say from "./say.js";

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const faint = (color, share) => `${color}${Math.round(share * 255).toString(16).padStart(2, "0")}`;

function ticks(plot, splits, axis, space, step) {
  let day = null;
  return splits.map((s) => {
    const at = new Date(s * 1000);
    const date = at.toLocaleDateString(undefined, { month: "short", day: "numeric" });
    if (step >= 86400 * 300) return String(at.getFullYear());
    if (step >= 86400) return date;
    const clock = at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", ...(step < 60 ? { second: "2-digit" } : {}) });
    const label = date === day ? clock : `${clock}\n${date}`;
    day = date;
    return label;
  });
}

// Breaks a line where nothing was recorded for several times the usual step.
export function gaps(at, columns) {
  const steps = [];
  for (let i = 1; i < at.length; i += 1) steps.push(at[i] - at[i - 1]);
  const usual = steps.slice().sort((a, b) => a - b)[Math.floor(steps.length / 2)] || 1;
  const x = [];
  const out = columns.map(() => []);
  at.forEach((t, i) => {
    if (i && t - at[i - 1] > usual * 3.5) { x.push(at[i - 1] + usual); out.forEach((c) => c.push(null)); }
    x.push(t);
    out.forEach((c, n) => c.push(columns[n][i] ?? null));
  });
  return [x, out];
}

// spec: { title, note, at: [s], lines: [{ label, values, color, low, high, dash, show }], from, to, range, unit, log }
// onrange(from, to) in seconds; null, null goes back.
export function chart(spec, onrange) {
  const host = el("div", { class: "plot", tabindex: "0", role: "img", "aria-label": summary(spec) });
  const box = el("figure", { class: "chart" }, el("figcaption", {}, el("h3", {}, spec.title), spec.note ? el("span", { class: "dim" }, spec.note) : null), host);
  const columns = [];
  const series = [{ label: "Time", value: (plot, v) => (v === null ? "–" : say.time(v * 1e6)) }];
  const bands = [];
  for (const line of spec.lines) {
    const color = css(line.color);
    if (line.low && line.high) {
      series.push({ label: `${line.label} largest`, stroke: "transparent", points: { show: false }, class: "hidden-legend" });
      columns.push(line.high);
      series.push({ label: `${line.label} least`, stroke: "transparent", points: { show: false }, class: "hidden-legend" });
      columns.push(line.low);
      bands.push({ series: [series.length - 2, series.length - 1], fill: faint(color, line.fill ?? 0.2) });
    }
    series.push({
      label: line.label, stroke: color, width: line.width ?? 1.75, dash: line.dash, value: (plot, v) => (v === null || v === undefined ? "–" : spec.say(v)),
      points: { show: spec.at.length < 3, size: 5 },
    });
    columns.push(line.values);
  }
  const [x, broken] = gaps(spec.at, columns);
  const grid = { stroke: css("--grid"), width: 1 };
  const axis = { stroke: css("--dim"), font: "12px system-ui, sans-serif", grid, ticks: { ...grid, size: 4 } };
  const options = {
    width: 300, height: spec.height ?? 190, series, bands,
    cursor: { sync: { key: "fettle", setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
    legend: { live: true },
    scales: {
      x: { time: true, range: () => [spec.from, spec.to] },
      y: { distr: spec.log ? 3 : 1, range: spec.range ?? ((plot, low, high) => padded(low, high, spec.log)) },
    },
    axes: [{ ...axis, values: ticks, space: 80 }, { ...axis, size: 58, values: (plot, all) => all.map((v) => (v === null ? "" : spec.tick ? spec.tick(v) : say.number(v))) }],
    hooks: {
      drawAxes: [(plot) => drawMarks(plot, spec.marks ?? [])],
      setSelect: [(plot) => {
        if (plot.select.width < 6) return;
        onrange(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
      }],
    },
  };
  let plot = null;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(host.clientWidth);
    if (width < 60) return;
    if (plot) plot.setSize({ width, height: options.height });
    else plot = new window.uPlot({ ...options, width }, [x, ...broken], host);
  });
  observer.observe(host);
  host.addEventListener("dblclick", () => onrange(null, null));
  host.addEventListener("keydown", (event) => {
    const width = spec.to - spec.from;
    const moves = { ArrowLeft: [-0.25, -0.25], ArrowRight: [0.25, 0.25], "+": [0.25, -0.25], "-": [-0.5, 0.5] };
    if (event.key === "0" || event.key === "Escape") onrange(null, null);
    else if (moves[event.key]) onrange(spec.from + width * moves[event.key][0], spec.to + width * moves[event.key][1]);
    else return;
    event.preventDefault();
  });
  box.destroy = () => { observer.disconnect(); plot?.destroy(); };
  return box;
}

function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  for (const { at, color } of marks) {
    if (at < plot.scales.x.min || at > plot.scales.x.max) continue;
    const x = Math.round(plot.valToPos(at, "x", true)) + 0.5;
    ctx.save();
    ctx.strokeStyle = css(color);
    ctx.lineWidth = devicePixelRatio * 1.5;
    ctx.setLineDash([5, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
}

export function padded(low, high, log) {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return log ? [0.1, 10] : [0, 1];
  if (log) return [Math.max(1e-12, low / 1.5), high * 1.5 || 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

function summary(spec) {
  const values = spec.lines.at(-1)?.values.filter((v) => v !== null && v !== undefined) ?? [];
  if (!values.length) return `${spec.title}: no values in this time`;
  return `${spec.title}: newest ${spec.say(values.at(-1))}, least ${spec.say(Math.min(...values))}, largest ${spec.say(Math.max(...values))}. Arrow keys move, plus and minus zoom, 0 goes back.`;
}
