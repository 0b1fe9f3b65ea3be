// Curves over milliseconds or hertz on uPlot: one curve, axes with their units, linear or logarithmic, named marks above
// the plot, zoom by dragging or by keys. Over wall time see chart.js.
import { css, faint, padded } from "./chart.js";
import { el } from "./dom.js";
import * as say from "./say.js";

const ROW = 15;
const FONT = "system-ui, sans-serif";
// A logarithmic axis ends so far below its highest value: what lies lower is rounding.
const DEPTH = 1e-5;

// spec: { title, note, x: { label, at, log }, y: { label, values, log }, color, summary,
//         marks: [{ at, row, text, before, color, dash }], rows: how many rows of marks, band: { from, to, text } }
export function trace(spec) {
  const { x, y } = spec;
  const host = el("div", { class: "plot", tabindex: "0", role: "img", "aria-label": `${spec.title}: ${spec.summary} Arrow keys move, plus and minus zoom, 0 shows all.` });
  const box = el("figure", { class: "chart trace" }, el("figcaption", {}, el("h3", {}, spec.title), spec.note ? el("span", { class: "dim" }, spec.note) : null), host);
  const largest = y.values.reduce((a, b) => Math.max(a, b), 0);
  const values = y.log ? y.values.map((v) => Math.max(v, largest * DEPTH)) : y.values;
  const [first, last] = [x.at[0], x.at.at(-1)];
  const grid = { stroke: css("--grid"), width: 1 };
  const axis = { stroke: css("--dim"), font: `12px ${FONT}`, labelFont: `12px ${FONT}`, labelGap: 0, grid, ticks: { ...grid, size: 4 } };
  const short = (plot, all) => all.map((v) => (v === null ? "" : say.brief(v)));
  const options = {
    width: 300, height: 215 + (spec.rows ?? 0) * ROW, padding: [8 + (spec.rows ?? 0) * ROW, 12, 0, 0],
    series: [
      { label: x.label, value: (plot, v) => (v === null ? "–" : say.number(v)) },
      { label: y.label, stroke: css(spec.color), width: x.at.length > 2000 ? 1 : 1.5, points: { show: false }, value: (plot, v) => (v === null || v === undefined ? "–" : say.number(v)) },
    ],
    cursor: { drag: { x: true, y: false }, points: { size: 7 } },
    scales: {
      x: { time: false, distr: x.log ? 3 : 1, range: (plot, low, high) => [low ?? first, high ?? last] },
      y: { distr: y.log ? 3 : 1, range: (plot, low, high) => (y.log ? decades(low, high) : padded(low, high)) },
    },
    axes: [{ ...axis, label: x.label, labelSize: 18, size: 34, space: 46, values: short }, { ...axis, label: y.label, labelSize: 18, size: 52, values: short }],
    // Lines lie under the curve, so that they hide no peak; names lie over everything.
    hooks: { drawAxes: [(plot) => { if (spec.band) drawBand(plot, spec.band); drawLines(plot, placed(plot, spec.marks)); }], draw: [(plot) => drawNames(plot, placed(plot, spec.marks))] },
  };
  let plot = null;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(host.clientWidth);
    if (width < 60) return;
    if (plot) plot.setSize({ width, height: options.height });
    else plot = new window.uPlot({ ...options, width }, [x.at, values], host);
  });
  observer.observe(host);
  const bend = x.log ? Math.log : (v) => v;
  const straighten = x.log ? Math.exp : (v) => v;
  function move(from, to) {
    const [low, high] = [bend(plot.scales.x.min), bend(plot.scales.x.max)];
    const [least, most] = [bend(first), bend(last)];
    const width = Math.min((high - low) * (1 + to - from), most - least);
    if (width < (most - least) / 500) return;
    const begin = Math.min(Math.max(low + (high - low) * from, least), most - width);
    plot.setScale("x", { min: straighten(begin), max: straighten(begin + width) });
  }
  host.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-0.25, -0.25], ArrowRight: [0.25, 0.25], "+": [0.25, -0.25], "-": [-0.5, 0.5] };
    if (!plot || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "0" || event.key === "Escape") plot.setScale("x", { min: first, max: last });
    else if (moves[event.key]) move(...moves[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  box.destroy = () => { observer.disconnect(); plot?.destroy(); };
  return box;
}

const within = (plot, at) => at >= plot.scales.x.min && at <= plot.scales.x.max;

function drawBand(plot, { from, to, text }) {
  const { ctx, bbox } = plot;
  const [low, high] = [Math.max(from, plot.scales.x.min), Math.min(to, plot.scales.x.max)];
  if (!(high > low)) return;
  const [left, right] = [low, high].map((at) => plot.valToPos(at, "x", true));
  ctx.save();
  ctx.fillStyle = faint(css("--c-4"), 0.16);
  ctx.fillRect(left, bbox.top, right - left, bbox.height);
  ctx.fillStyle = css("--text");
  ctx.font = `${11 * devicePixelRatio}px ${FONT}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "top";
  ctx.fillText(text, right - 4 * devicePixelRatio, bbox.top + 4 * devicePixelRatio);
  ctx.restore();
}

// Whole decades; at least one.
function decades(low, high) {
  const [from, to] = [Math.floor(Math.log10(low ?? 0.1)), Math.ceil(Math.log10(high ?? 10))];
  return [10 ** from, 10 ** Math.max(to, from + 1)];
}

const placed = (plot, marks) => (marks ?? []).filter((m) => within(plot, m.at)).map((m) => ({ ...m, x: Math.round(plot.valToPos(m.at, "x", true)) + 0.5 }));
// Each kind of mark has a row above the plot: names of different kinds never meet.
const above = (plot, row) => plot.bbox.top - (row + 1) * ROW * devicePixelRatio;

function drawLines(plot, marks) {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  ctx.save();
  for (const mark of marks) {
    ctx.strokeStyle = css(mark.color);
    ctx.lineWidth = 1.5 * scale;
    ctx.setLineDash(mark.dash.map((d) => d * scale));
    ctx.beginPath();
    ctx.moveTo(mark.x, above(plot, mark.row) + ROW * scale);
    ctx.lineTo(mark.x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function drawNames(plot, marks) {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `600 ${11 * scale}px ${FONT}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  const ends = [];
  for (const mark of marks) {
    const width = ctx.measureText(mark.text).width;
    const left = Math.max(bbox.left, Math.min(mark.x - width * (mark.before ? 0.8 : 0.5), bbox.left + bbox.width + 10 * scale - width));
    // Where names of one kind would meet, the line of the later one stands without.
    if (left < ends[mark.row] + 2 * scale) continue;
    ends[mark.row] = left + width;
    ctx.fillStyle = css("--panel");
    ctx.fillRect(left - 2 * scale, above(plot, mark.row), width + 4 * scale, (ROW - 1) * scale);
    ctx.fillStyle = css(mark.color);
    ctx.fillText(mark.text, left, above(plot, mark.row) + (ROW / 2) * scale);
  }
  ctx.restore();
}
