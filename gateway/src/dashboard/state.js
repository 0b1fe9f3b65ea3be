// What the page knows: loaded once, then kept current by server-sent events. Views listen for what they show.
//
// The link is judged by the gateway's heartbeat, not by hope: no sign of life for LOST ms, and everything shown is old.
export const LOST = 12000;

export const known = {
  assets: new Map(), alarms: new Map(), totals: null, conflicts: 0, status: null, lag: null, lagError: null,
  staleAfter: 180e6, offset: 0, heard: 0, linked: false, loaded: false, copied: true, role: null,
};
const listeners = new Set();

export const key = (site, asset, condition = "") => `${site}/${asset}|${condition}`;
// The gateway's time in microseconds, whatever this computer's clock says.
export const now = () => Date.now() * 1000 + known.offset;
export const isStale = (asset) => !known.linked || now() - asset.seen > known.staleAfter;

export function listen(tell) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}
const tell = (what, about) => listeners.forEach((listener) => listener(what, about));

export async function get(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  const body = await answer.json();
  if (answer.status === 401) tell("login");
  if (!answer.ok) throw Object.assign(new Error(body.detail || answer.statusText), { status: answer.status });
  return body;
}

export async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const told = await answer.json();
  if (answer.status === 401 && path !== "/api/v1/session") tell("login");
  if (!answer.ok) throw new Error(told.detail || answer.statusText);
  return told;
}

export const enc = encodeURIComponent;

async function all(path, name) {
  const found = [];
  let page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=1000`);
  for (;;) {
    found.push(...page[name]);
    if (!page.next) return [found, page];
    page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=1000&cursor=${enc(page.next)}`);
  }
}

let loading = null;
export function load() {
  loading ||= (async () => {
    const [[assets, told], [alarms], ledger, lag] = await Promise.all([
      all("/api/v1/assets", "assets"), all("/api/v1/alarms", "alarms"), get("/api/v1/ledger?limit=1"), get("/api/v1/lag"),
    ]);
    known.assets = new Map(assets.map((a) => [key(a.site, a.asset), a]));
    known.alarms = new Map(alarms.map((a) => [key(a.site, a.asset, a.condition), a]));
    known.totals = ledger.totals;
    known.conflicts = ledger.conflicts;
    known.status = lag.instance;
    known.lag = lag.total;
    known.lagError = lag.error;
    known.staleAfter = told.stale_after;
    known.loaded = true;
    setNow(told.now);
    tell("all");
  })().catch((error) => tell("error", error.message)).finally(() => { loading = null; });
  return loading;
}

function setNow(micros) { known.offset = micros - Date.now() * 1000; }

function heard() {
  known.heard = Date.now();
  if (!known.linked) { known.linked = true; tell("link"); }
}

export function connect() {
  const source = new EventSource("/api/v1/events");
  const on = (name, act) => source.addEventListener(name, (event) => { heard(); act(JSON.parse(event.data)); });
  on("hello", (e) => { setNow(e.now); load(); });
  on("resumed", (e) => { setNow(e.now); if (!known.loaded) load(); });
  on("reset", () => load());
  on("tick", (e) => { setNow(e.now); tell("tick"); });
  on("asset", (a) => { known.assets.set(key(a.site, a.asset), a); tell("asset", a); });
  on("alarm", (a) => { known.alarms.set(key(a.site, a.asset, a.condition), a); tell("alarm", a); });
  on("health", (h) => tell("health", h));
  on("evidence", (e) => tell("evidence", e));
  on("ledger", (l) => { known.totals = l.totals; known.conflicts = l.conflicts; tell("ledger"); });
  on("status", (s) => { known.status = s.instance; known.lag = s.lag; known.lagError = s.lag_error; tell("status"); });
  source.addEventListener("error", () => {
    // Closed for good (an error status): the browser does not try again by itself; perhaps the session is over.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => tell("closed"), 3000);
  });
}

setInterval(() => {
  if (known.linked && Date.now() - known.heard > LOST) { known.linked = false; tell("link"); }
  tell("second");
}, 1000);

// As the gateway orders: waits for a person, open, standing, health, remaining life, name.
const RANK = { critical: 0, high: 1, medium: 2, low: 3 };
const rank = (priority) => (priority === undefined ? 4 : RANK[priority]);
function standing(a) {
  if (a.health?.verdict === "abnormal") return 0;
  if (a.quarantined) return 1;
  return !a.health || a.health.verdict === "none" ? 2 : 3;
}
const life = (a) => (a.health?.rul.kind === "interval" ? a.health.rul.p50 : Infinity);
export function byUrgency(a, b) {
  return rank(a.unacknowledged) - rank(b.unacknowledged) || rank(a.highest) - rank(b.highest) || standing(a) - standing(b)
    || (a.health?.health_index ?? 1) - (b.health?.health_index ?? 1) || (life(a) === life(b) ? 0 : life(a) - life(b))
    || key(a.site, a.asset).localeCompare(key(b.site, b.asset));
}
export const unseen = (alarm) => alarm.state === "unacknowledged" || alarm.state === "returned_unacknowledged";
// A shelved alarm calls nobody.
export const waits = (alarm) => unseen(alarm) && !alarm.shelved_until;
export function alarmOrder(a, b) {
  return Boolean(a.shelved_until) - Boolean(b.shelved_until) || b.open - a.open || waits(b) - waits(a) || RANK[a.priority] - RANK[b.priority] || a.raised_at - b.raised_at;
}
