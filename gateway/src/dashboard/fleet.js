// The fleet, most urgent first, with search and filters; a hundred rows at a time, each changed in place.
import { el, fill, gauge, icon, mark } from "./dom.js";
import * as say from "./say.js";
import { byUrgency, isStale, key, known, now } from "./state.js";

const PAGE = 100;
const view = { text: "", site: "", filter: "all", shown: PAGE };

const FILTERS = [
  ["all", "assets", null, () => true],
  ["waits", "to acknowledge", "high", (a) => a.unacknowledged !== undefined],
  ["open", "with open alarms", "medium", (a) => a.open_alarms > 0],
  ["shelved", "with shelved alarms", "shelved", (a) => a.shelved_alarms > 0],
  ["abnormal", "abnormal", "abnormal", (a) => a.health?.verdict === "abnormal"],
  ["stale", "stale", "stale", isStale],
  ["quarantined", "to adopt", "wait", (a) => a.quarantined],
];

export function verdict(a) {
  if (isStale(a)) return mark("stale", !known.linked ? "stale: no link" : `stale: silent for ${say.span((now() - a.seen) / 1e6)}`, "No record for too long: what is shown is the past, not the present");
  if (!a.health) return mark("none", a.quarantined ? "in quarantine" : "no record yet");
  if (a.health.verdict === "normal") return mark("ok", "normal");
  if (a.health.verdict === "abnormal") return mark("abnormal", "abnormal");
  return mark("none", `no verdict: ${say.words(a.health.reason ?? "")}`);
}

const priority = (a) => a.unacknowledged ?? a.highest;

function row(a) {
  const link = `#/asset/${encodeURIComponent(a.site)}/${encodeURIComponent(a.asset)}`;
  const health = a.health;
  const flags = health?.flags.length ? el("span", { class: "dim small", title: health.flags.map(say.note).join("; ") }, `${health.flags.length} data notes`) : null;
  return [
    el("td", { class: "c-prio" }, a.open_alarms ? mark(priority(a), `${priority(a)}${a.open_alarms > 1 ? ` · ${a.open_alarms}` : ""}`, a.unacknowledged ? "Open alarm, not acknowledged" : "Open alarm, acknowledged") : el("span", { class: "dim" }, "–"), a.unacknowledged ? null : a.open_alarms ? el("span", { class: "dim small" }, "acknowledged") : null, a.shelved_alarms ? el("span", { class: "dim small" }, `${a.shelved_alarms} shelved`) : null),
    el("td", { class: "c-name" }, el("a", { href: link }, a.asset), el("span", { class: "dim small" }, a.site)),
    el("td", { class: "c-verdict" }, verdict(a), flags),
    el("td", { class: "c-health", "data-label": "Health" }, health?.health_index === undefined ? el("span", { class: "dim" }, "–") : gauge(health.health_index, say.index(health.health_index))),
    el("td", { class: "c-life", "data-label": "Remaining life" }, health?.rul.kind === "interval" ? el("span", {}, el("b", {}, say.span(health.rul.p50)), el("span", { class: "dim small" }, ` ${say.between(health.rul)}`)) : el("span", { class: "dim" }, health ? say.words(health.rul.reason) : "–")),
    el("td", { class: "c-seen", "data-label": "Heard" }, el("span", { class: "dim" }, say.age(a.seen, now()))),
  ];
}

const signature = (a) => JSON.stringify(a) + isStale(a) + Math.floor((now() - a.seen) / 15e6);

// Rows keep their element (and with it the focus) for as long as their asset is shown.
export function sync(body, items, keyOf, signatureOf, make, className) {
  const old = new Map([...body.children].map((r) => [r.dataset.key, r]));
  let before = body.firstElementChild;
  for (const item of items) {
    const name = keyOf(item);
    let r = old.get(name);
    old.delete(name);
    if (!r) { r = el("tr", { "data-key": name }); r.sign = null; }
    const sign = signatureOf(item);
    if (r.sign !== sign) { const cells = make(item); fill(r, cells); r.className = className(item); r.sign = sign; }
    if (r === before) before = before.nextElementSibling;
    else body.insertBefore(r, before);
  }
  old.forEach((r) => r.remove());
}

export function fleet(main) {
  const chips = el("div", { class: "chips", role: "group", "aria-label": "Filter" });
  const search = el("input", { type: "search", placeholder: "Search assets  ( / )", "aria-label": "Search assets", value: view.text, oninput: () => { view.text = search.value; view.shown = PAGE; draw(); } });
  const site = el("select", { "aria-label": "Site", onchange: () => { view.site = site.value; view.shown = PAGE; draw(); } });
  const body = el("tbody", {});
  const head = ["Alarm", "Asset", "Condition", "Health", "Remaining life", "Heard"].map((h) => el("th", { scope: "col" }, h));
  const table = el("table", { class: "list fleet" }, el("caption", { class: "hidden" }, "Assets, most urgent first"), el("thead", {}, el("tr", {}, head)), body);
  const more = el("button", { type: "button", class: "more", onclick: () => { view.shown += PAGE; draw(); } });
  const empty = el("p", { class: "empty" });
  fill(main, el("h1", { class: "hidden" }, "Fleet"), chips, el("div", { class: "bar" }, search, site, el("span", { class: "dim grow" }, "Most urgent first: open alarms, then health, then remaining life")), table, empty, more);

  function draw() {
    const all = [...known.assets.values()];
    fill(chips, FILTERS.map(([name, label, shape, test]) => el("button", {
      type: "button", class: `chip ${shape ?? ""}`, "aria-pressed": String(view.filter === name), "data-name": name,
      onclick: () => { view.filter = view.filter === name ? "all" : name; view.shown = PAGE; draw(); chips.querySelector(`[data-name="${name}"]`).focus(); },
    }, shape ? icon(shape) : null, el("b", {}, say.count(all.filter(test).length)), ` ${label}`)));
    const sites = [...new Set(all.map((a) => a.site))].sort();
    if (site.options.length !== sites.length + 1) {
      fill(site, el("option", { value: "" }, "All sites"), sites.map((s) => el("option", { value: s }, s)));
      site.value = view.site;
    }
    const needle = view.text.trim().toLowerCase();
    const test = FILTERS.find(([name]) => name === view.filter)[3];
    const found = all.filter((a) => test(a) && (!view.site || a.site === view.site) && `${a.site}/${a.asset}`.toLowerCase().includes(needle)).sort(byUrgency);
    const shown = found.slice(0, view.shown);
    sync(body, shown, (a) => key(a.site, a.asset), signature, row, (a) => `${isStale(a) ? "is-stale" : ""} ${a.unacknowledged ? `p-${a.unacknowledged}` : ""}`);
    table.hidden = !shown.length;
    empty.hidden = shown.length > 0;
    fill(empty, !known.loaded ? "Reading the fleet …" : all.length ? "No asset is like that." : "No agent has told of any asset yet.");
    more.hidden = found.length <= shown.length;
    more.textContent = `Show more (${say.count(shown.length)} of ${say.count(found.length)})`;
  }
  const counts = () => draw();
  draw();
  return { update: (what) => { if (["all", "asset", "link", "alarm"].includes(what)) counts(); else if (what === "second" && Math.floor(Date.now() / 1000) % 5 === 0) counts(); }, search, end: () => {} };
}
