// What became of every reading, record and request: sites, ledger, missing frames, lag, stores, requests.
import { el, fill, mark } from "./dom.js";
import * as say from "./say.js";
import { enc, get, known, now } from "./state.js";

const cell = (v) => el("td", { class: "n" }, typeof v === "number" ? say.count(v) : v);
// Focusable, because on a phone it scrolls sideways, which must be possible by keyboard too.
const table = (name, head, rows, none) => (rows.length ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, el("table", { class: "plain wide" }, el("thead", {}, el("tr", {}, head.map(([h, n]) => el("th", { scope: "col", class: n ? "n" : null }, h)))), el("tbody", {}, rows))) : el("p", { class: "empty" }, none));

const PHASES = { waiting_for_kafka: ["high", "waits for Kafka"], idle: ["ok", "in the group, without partitions"], catching_up: ["wait", "takes partitions over"], running: ["ok", "takes records in"] };
const OUTCOMES = { pending: ["wait", "waits for the agent"], confirmed: ["ok", "confirmed"], expired: ["medium", "expired"] };

export function data(main) {
  const parts = Object.fromEntries(["sum", "sites", "missing", "intake", "stores", "audit"].map((n) => [n, el("section", {})]));
  fill(main, el("h1", { class: "hidden" }, "Data"), parts.sum, parts.sites, parts.missing, el("div", { class: "two" }, parts.intake, parts.stores), parts.audit);
  let stop = false;

  function drawSum() {
    const t = known.totals;
    if (!t) { fill(parts.sum, el("p", { class: "empty" }, "Reading …")); return; }
    const r = t.readings;
    const rest = [["rejected", r.rejected], ["shed", r.shed]].flatMap(([what, reasons]) => Object.entries(reasons).map(([why, n]) => [`${what}: ${say.words(why)}`, n]));
    const tile = (label, n, kind) => el("div", { class: `card ${kind ?? ""}` }, el("span", { class: "dim small" }, label), el("div", { class: "value" }, say.count(n)));
    fill(parts.sum, el("h2", {}, "Every reading"), el("p", {}, t.unbalanced === 0 && t.balances ? mark("ok", "the account balances: received = used + late + duplicate + rejected + shed") : mark("high", `${say.count(t.unbalanced)} accounts do not balance`), " ", known.conflicts ? mark("high", `${say.count(known.conflicts)} conflicting records`) : null),
      el("div", { class: "cards" }, tile("received", r.received), tile("used", r.used), tile("late", r.late), tile("duplicate", r.duplicate), rest.map(([label, n]) => tile(label, n)), tile("frames missing", t.missing), tile("of those lost for good", t.lost)));
  }

  function drawSites(s) {
    fill(parts.sites, el("h2", {}, "Sites"), table("Sites", [["Site"], ["Agents"], ["Assets", 1], ["Stale", 1], ["To adopt", 1], ["Open alarms", 1], ["Readings", 1], ["Used", 1], ["Missing frames", 1], ["Account"]], s.sites.map((x) => el("tr", {},
      el("th", { scope: "row" }, x.site), el("td", {}, x.agents.map((a) => el("div", {}, a.agent, " ", s.now - a.seen > s.stale_after ? mark("stale", `silent, ${say.age(a.seen, now())}`) : el("span", { class: "dim small" }, say.age(a.seen, now()))))),
      cell(x.assets), el("td", { class: "n" }, x.stale ? mark("stale", say.count(x.stale)) : "0"), cell(x.quarantined), el("td", { class: "n" }, say.count(x.open_alarms), x.unacknowledged ? el("span", { class: "dim small" }, ` ${say.count(x.unacknowledged)} to acknowledge`) : null, x.shelved_alarms ? el("span", { class: "dim small" }, ` ${say.count(x.shelved_alarms)} shelved`) : null),
      cell(x.readings.received), el("td", { class: "n" }, x.readings.received ? `${(100 * x.readings.used / x.readings.received).toFixed(1)} %` : "–"), el("td", { class: "n" }, say.count(x.missing), x.lost ? el("span", { class: "dim small" }, ` ${say.count(x.lost)} lost`) : null),
      el("td", {}, x.unbalanced ? mark("high", `${x.unbalanced} do not balance`) : mark("ok", "balances")))), "No agent has told of any asset yet."));
    const g = s.gateway;
    fill(parts.stores, el("h2", {}, "What this gateway keeps"),
      el("p", {}, "History: ", el("b", {}, say.bytes(g.history_bytes)), ` of at most ${say.bytes(g.history_max_bytes)} `, el("meter", { min: 0, max: 1, value: g.history_bytes / g.history_max_bytes, "aria-label": "fill of the history" })),
      el("p", {}, "Copy of the fleet: ", el("b", {}, say.bytes(g.store_bytes))),
      el("p", {}, Object.entries(g.history_records).map(([what, n]) => `${say.count(n)} ${what}`).join(", "), " kept"),
      el("h3", {}, "Not known here"), el("ul", { class: "notes" }, s.unknown.map((u) => el("li", {}, u))));
  }

  function drawMissing(l) {
    fill(parts.missing, el("h2", {}, "Missing frames"), table("Missing frames", [["Asset"], ["Agent"], ["Node's boot"], ["Missing", 1], ["Lost for good", 1], ["Sequences"]], l.entries.flatMap((a) => a.nodes.filter((n) => n.missing).map((n) => el("tr", {},
      el("th", { scope: "row" }, el("a", { href: `#/asset/${enc(a.site)}/${enc(a.asset)}` }, a.asset), " ", el("span", { class: "dim small" }, a.site)), el("td", {}, a.agent), el("td", {}, el("code", {}, n.boot)), cell(n.missing), cell(n.lost),
      el("td", {}, n.missing_ranges.map(([f, t]) => (f === t ? f : `${f}–${t}`)).join(", "))))), "No frame is missing."));
  }

  function drawIntake(lag, records) {
    const [kind, text] = PHASES[lag.instance.intake];
    const of = (p) => records.find((r) => r.topic === p.topic && r.partition === p.partition);
    fill(parts.intake, el("h2", {}, "Intake"), el("p", {}, mark(kind, `This instance ${text}`), " ", lag.instance.history_copied ? mark("ok", "history is current") : mark("wait", "history is catching up")),
      el("p", {}, lag.measured_at ? `${say.count(lag.total)} records wait in Kafka, measured ${say.age(lag.measured_at, now())}.` : "The lag has not been measured yet.", lag.error ? el("span", { class: "bad" }, ` ${lag.error}`) : null),
      table("Intake by partition", [["Topic"], ["Partition", 1], ["Owner"], ["Waiting", 1], ["Applied", 1], ["Duplicate", 1], ["Conflict", 1], ["Rejected", 1]], lag.partitions.map((p) => { const r = of(p); return el("tr", {}, el("td", {}, p.topic), cell(p.partition), el("td", {}, lag.owners[p.partition] ?? "–"), cell(p.lag), cell(r?.applied ?? 0), cell(r?.duplicates ?? 0), cell(r?.conflicts ?? 0), el("td", { class: "n" }, r ? Object.entries(r.rejected).map(([why, n]) => `${say.count(n)} ${say.words(why)}`).join(", ") || "0" : "0")); }), "No partition has been measured yet."));
  }

  function drawAudit(a) {
    fill(parts.audit, el("h2", {}, "Requests by people"), table("Requests by people", [["When"], ["Who"], ["What"], ["Asset"], ["Condition"], ["Outcome"], ["Command"]], a.entries.map((e) => el("tr", {},
      el("td", {}, say.time(e.issued)), el("td", {}, e.person), el("td", {}, e.what, e.until ? ` until ${say.time(e.until)}` : null, e.label ? `: ${say.words(e.label)}` : null, e.text ? el("span", { class: "comment" }, `“${e.text}”`) : null), el("td", {}, el("a", { href: `#/asset/${enc(e.site)}/${enc(e.asset)}` }, e.asset), " ", el("span", { class: "dim small" }, e.site)),
      el("td", {}, e.condition ? `${say.condition(e.condition)}${e.occurrence ? ` no. ${e.occurrence}` : ""}` : "–"), el("td", {}, mark(...OUTCOMES[e.outcome])), el("td", {}, el("code", { title: e.command }, e.command.slice(0, 10))))), "Nobody has asked for anything yet."));
  }

  let busy = false;
  async function fetchAll() {
    if (busy) return;
    busy = true;
    try {
      const [sites, ledger, lag, audit] = await Promise.all([get("/api/v1/sites"), get("/api/v1/ledger?missing=true&limit=500"), get("/api/v1/lag"), get("/api/v1/audit?limit=100")]);
      if (!stop) {
        // Whoever has scrolled a table sideways, or stands on it with the keyboard, stays there.
        const kept = [...main.querySelectorAll(".scroll")].map((t) => [t.ariaLabel, t.scrollLeft, t === document.activeElement]);
        drawSites(sites); drawMissing(ledger); drawIntake(lag, ledger.records); drawAudit(audit);
        for (const [name, left, isFocused] of kept) {
          const again = main.querySelector(`.scroll[aria-label="${name}"]`);
          if (again && left) again.scrollLeft = left;
          if (again && isFocused) again.focus({ preventScroll: true });
        }
      }
    } catch (error) { if (!stop && !parts.sites.hasChildNodes()) fill(parts.sites, el("p", { class: "empty" }, error.message)); }
    busy = false;
  }
  drawSum();
  fetchAll();
  return {
    update: (what) => {
      if (["ledger", "all"].includes(what)) drawSum();
      if (["all", "alarm", "status"].includes(what) || (what === "second" && known.linked && Math.floor(Date.now() / 1000) % 5 === 0)) fetchAll();
    },
    end: () => { stop = true; },
  };
}
