// Makes elements. Text only ever becomes text: there is no way here from a string to markup.
const SVG = "http://www.w3.org/2000/svg";

// el("td", { class: "n", onclick: f, "aria-label": "x" }, "text", el("b", {}, "child"), null)
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  return add(made, children);
}

export function add(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return parent;
}

export function fill(parent, ...children) {
  parent.replaceChildren();
  return add(parent, children);
}

// Shapes differ as well as colours, so that neither is needed alone.
const SHAPES = {
  critical: "M8 1 15 14H1zM8 5.5v4M8 11.5v.5",
  high: "M8 1 15 8 8 15 1 8zM8 4.5v4M8 10.5v.5",
  medium: "M8 2a6 6 0 1 0 .01 0M8 5v4M8 10.5v.5",
  low: "M3 3h10v10H3zM8 6v4",
  ok: "M2 8.5 6 12.5 14 3.5",
  abnormal: "M1 8h3l2-5 3 10 2-5h4",
  none: "M4 8h8",
  stale: "M8 2a6 6 0 1 0 .01 0M8 4.5V8l2.5 2",
  shelved: "M5 3v10M11 3v10",
  label: "M2 2h6l6 6-6 6-6-6zM5 5v.5",
  wait: "M4 2h8M4 14h8M5 2c0 6 6 6 6 12M11 2c0 6-6 6-6 12",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["viewBox", "0 0 16 16"], ["class", `icon ${name}`], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name] || SHAPES.none);
  svg.append(path);
  return svg;
}

export function mark(kind, text, title) {
  return el("span", { class: `mark ${kind}`, title }, icon(kind), el("span", {}, text));
}

// A piece of the line that a chart draws: its colour and dashes.
export function swatch(color, dash) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, v] of [["viewBox", "0 0 24 8"], ["class", "swatch"], ["aria-hidden", "true"]]) svg.setAttribute(key, v);
  const line = document.createElementNS(SVG, "path");
  for (const [key, v] of [["d", "M0 4h24"], ["stroke", `var(${color})`], ["stroke-width", 2], ["stroke-dasharray", dash.join(" ") || "none"]]) line.setAttribute(key, v);
  svg.append(line);
  return svg;
}

// A small bar from 0 to 1 with its number beside it.
export function gauge(value, label) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, v] of [["viewBox", "0 0 60 8"], ["class", "gauge"], ["aria-hidden", "true"], ["preserveAspectRatio", "none"]]) svg.setAttribute(key, v);
  const width = Math.max(0, Math.min(1, value)) * 60;
  for (const [cls, w] of [["track", 60], ["level " + (value < 0.4 ? "bad" : value < 0.75 ? "mid" : "good"), width]]) {
    const rect = document.createElementNS(SVG, "rect");
    for (const [key, v] of [["class", cls], ["width", w], ["height", 8], ["rx", 2]]) rect.setAttribute(key, v);
    svg.append(rect);
  }
  return el("span", { class: "gauged" }, svg, el("span", { class: "n" }, label));
}
