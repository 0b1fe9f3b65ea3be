// Alarms: those that stand, with their evidence and what can be asked of them, and every change there was.
import { el, fill, mark } from "./dom.js";
import * as say from "./say.js";
import { acknowledge, action, change, dialog } from "./acts.js";
import { alarmOrder, enc, get, isStale, key, known, now, post, unseen, waits } from "./state.js";
import { sync } from "./fleet.js";
import { may, person, told } from "./app.js";
import { linkOf } from "./waveform.js";

const link = (a) => `#/asset/${enc(a.site)}/${enc(a.asset)}`;
const asset = (a) => known.assets.get(key(a.site, a.asset));
const isOld = (a) => { const of = asset(a); return of ? isStale(of) : !known.linked; };

// An alarm that rests on waveforms, and the way to its own.
const waves = (site, a) => (linkOf(site, a) ? el("p", {}, el("a", { href: linkOf(site, a) }, "Waveform at this alarm")) : null);

// The share of each channel, as bars with what was seen and what was expected.
export function evidence(a) {
  const parts = a.contributions.map((c) => el("tr", {},
    el("th", { scope: "row" }, c.channel), el("td", { class: "share" }, el("meter", { min: 0, max: 1, value: c.share, "aria-label": `share of ${c.channel}` }), ` ${say.percent(c.share)}`),
    el("td", { class: "n" }, say.quantity(c.value, c.unit)), el("td", { class: "n" }, say.quantity(c.expected, c.unit))));
  return el("div", { class: "evidence" },
    el("p", {}, a.message),
    parts.length ? el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ["Channel", "Share", "Observed", "Expected"].map((h, n) => el("th", { scope: "col", class: n > 1 ? "n" : null }, h)))), el("tbody", {}, parts)) : null,
    el("p", { class: "dim small" }, `Score ${say.number(a.score)}${a.p_value === undefined ? "" : `, p ${say.number(a.p_value)}`} · occurrence ${a.occurrence} of ${a.condition}`,
      a.flags?.length ? ` · data: ${a.flags.map(say.note).join("; ")}` : ""));
}

export async function adopt(a) {
  const name = person();
  if (!name) return;
  try {
    await post(`/api/v1/assets/${enc(a.site)}/${enc(a.asset)}/adopt`, { person: name });
    told("Asked for. The asset is in service once the agent has confirmed.");
  } catch (error) {
    told(error.message, true);
  }
}

export function alarms(main) {
  const view = { tab: "open", text: "", open: new Set(), log: [], next: null };
  const tabs = el("div", { class: "chips", role: "group", "aria-label": "Which alarms" });
  const search = el("input", { type: "search", placeholder: "Search alarms  ( / )", "aria-label": "Search alarms", oninput: () => { view.text = search.value; if (view.tab === "log") fetchLog(); else draw(); } });
  const body = el("tbody", {});
  const head = el("tr", {});
  const table = el("table", { class: "list alarms" }, el("thead", {}, head), body);
  const empty = el("p", { class: "empty" });
  const more = el("button", { type: "button", class: "more", onclick: () => fetchLog(view.next) }, "Earlier changes");
  const hint = el("p", { class: "dim small keys" }, "Keys: ", el("kbd", {}, "j"), " ", el("kbd", {}, "k"), " next and previous · ", el("kbd", {}, "a"), " acknowledge · ", el("kbd", {}, "s"), " shelve · ", el("kbd", {}, "c"), " comment · ", el("kbd", {}, "l"), " label · ", el("kbd", {}, "e"), " evidence · ", el("kbd", {}, "/"), " search");
  fill(main, el("h1", { class: "hidden" }, "Alarms"), tabs, el("div", { class: "bar" }, search, hint), table, empty, more);

  const TESTS = { open: (a) => a.open && !a.shelved_until, shelved: (a) => Boolean(a.shelved_until), all: () => true };
  const TABS = [["open", "Open", () => [...known.alarms.values()].filter(TESTS.open).length], ["shelved", "Shelved", () => [...known.alarms.values()].filter(TESTS.shelved).length], ["all", "All as they stand", () => known.alarms.size], ["log", "Every change", null]];

  function toggle(a) {
    const name = key(a.site, a.asset, a.condition);
    if (!view.open.delete(name)) view.open.add(name);
    draw();
  }

  function cells(a) {
    const shown = view.open.has(key(a.site, a.asset, a.condition));
    const top = a.contributions[0];
    return [
      el("td", { class: "c-prio" }, mark(a.priority, a.priority)),
      el("td", { class: "c-name" }, el("a", { href: link(a) }, a.asset), el("span", { class: "dim small" }, a.site)),
      el("td", { class: "c-what" }, el("b", {}, say.condition(a.condition)), top ? el("span", { class: "dim" }, ` mostly ${top.channel} (${say.percent(top.share)})`) : null,
        " ", el("button", { type: "button", class: "quiet small", "aria-expanded": String(shown), onclick: () => toggle(a) }, shown ? "Hide evidence" : "Evidence"), shown ? [evidence(a), waves(a.site, a)] : null),
      el("td", { class: "c-state", "data-label": "State" }, say.state(a.state), isOld(a) ? el("div", {}, mark("stale", "stale", "The asset was not heard of lately: the alarm may stand otherwise")) : null),
      el("td", { class: "c-seen", "data-label": "Raised" }, el("time", { title: say.time(a.raised_at) }, say.time(a.raised_at)), el("span", { class: "dim small" }, say.age(a.raised_at, now()))),
      el("td", { class: "c-act" }, action(a, draw)),
    ];
  }

  function drawStanding() {
    const needle = view.text.trim().toLowerCase();
    const found = [...known.alarms.values()].filter((a) => TESTS[view.tab](a) && `${a.site}/${a.asset} ${a.condition} ${a.message}`.toLowerCase().includes(needle)).sort(alarmOrder);
    fill(head, ["Priority", "Asset", "What", "State", "Raised", "People"].map((h) => el("th", { scope: "col" }, h)));
    sync(body, found.slice(0, 300), (a) => key(a.site, a.asset, a.condition), (a) => JSON.stringify(a) + view.open.has(key(a.site, a.asset, a.condition)) + isOld(a) + Math.floor(now() / 30e6), cells, (a) => `${isOld(a) ? "is-stale" : ""} ${waits(a) ? `p-${a.priority}` : ""}`);
    [...body.children].forEach((r) => r.setAttribute("tabindex", "-1"));
    empty.hidden = found.length > 0;
    table.hidden = !found.length;
    fill(empty, !known.loaded ? "Reading the alarms …" : view.tab === "open" ? "No open alarms." : view.tab === "shelved" ? "No alarm is shelved." : "No alarm was ever raised.");
    more.hidden = true;
    hint.hidden = false;
  }

  function drawLog() {
    fill(head, ["Time", "Priority", "Asset", "What", "Change"].map((h) => el("th", { scope: "col" }, h)));
    fill(body, view.log.map((l) => el("tr", { "data-key": "" },
      el("td", { class: "c-seen" }, say.time(l.alert.at)), el("td", { class: "c-prio" }, mark(l.alert.priority, l.alert.priority)),
      el("td", { class: "c-name" }, el("a", { href: link({ site: l.site, asset: l.alert.asset }) }, l.alert.asset), el("span", { class: "dim small" }, l.site)),
      el("td", { class: "c-what" }, el("details", {}, el("summary", {}, say.condition(l.alert.condition)), evidence(l.alert), waves(l.site, l.alert))),
      el("td", {}, change(l.alert)))));
    empty.hidden = view.log.length > 0;
    table.hidden = !view.log.length;
    fill(empty, "No change of an alarm is kept.");
    more.hidden = !view.next;
    hint.hidden = true;
  }

  async function fetchLog(cursor = null) {
    try {
      const answer = await get(`/api/v1/alarms/history?limit=100&text=${enc(view.text)}${cursor ? `&cursor=${enc(cursor)}` : ""}`);
      view.log = cursor ? view.log.concat(answer.changes) : answer.changes;
      view.next = answer.next ?? null;
      if (view.tab === "log") drawLog();
    } catch (error) { told(error.message, true); }
  }

  function draw() {
    fill(tabs, TABS.map(([name, label, count]) => el("button", { type: "button", class: "chip", "data-name": name, "aria-pressed": String(view.tab === name), onclick: () => { view.tab = name; fill(body); if (name === "log") fetchLog(); draw(); tabs.querySelector(`[data-name="${name}"]`).focus(); } }, count ? el("b", {}, say.count(count())) : null, ` ${label}`)));
    if (view.tab === "log") drawLog();
    else drawStanding();
  }

  function move(step) {
    const rows = [...body.children];
    const at = rows.indexOf(document.activeElement?.closest("tr"));
    rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))]?.focus();
  }
  const focused = () => known.alarms.get(document.activeElement?.closest("tr")?.dataset.key ?? "");
  const open = (what) => { const a = focused(); if (a) dialog(a, what, draw); };
  draw();
  return {
    update: (what) => { if (view.tab !== "log" && ["all", "alarm", "link"].includes(what)) draw(); else if (view.tab === "log" && what === "alarm") fetchLog(); else if (what === "second" && view.tab !== "log" && Math.floor(Date.now() / 1000) % 10 === 0) draw(); },
    search, end: () => {},
    keys: { j: () => move(1), k: () => move(-1), a: () => { const a = focused(); if (a && unseen(a) && may()) acknowledge(a).then(draw); }, s: () => open("shelve"), c: () => open("comment"), l: () => open("label"), e: () => { const a = focused(); if (a) toggle(a); } },
  };
}
