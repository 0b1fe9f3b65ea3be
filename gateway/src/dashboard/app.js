// The page: views by hash, what is common to them (link, name, theme, keys), and the start.
import { el, fill } from "./dom.js";
import * as say from "./say.js";
import { connect, get, known, listen, now, post, waits } from "./state.js";
import { fleet } from "./fleet.js";
import { alarms } from "./alarms.js";
import { asset } from "./asset.js";
import { data } from "./data.js";

const by = (id) => document.getElementById(id);
const main = by("main");
const stored = (name, value) => {
  // Storage may be refused; the page works without.
  try { if (value === undefined) return localStorage.getItem(name); localStorage.setItem(name, value); } catch { return null; }
  return value;
};

const field = by("person");
field.value = stored("person") ?? "";
field.addEventListener("change", () => stored("person", field.value.trim()));

// The person's name, or null after asking for it.
export function person() {
  const name = field.value.trim();
  if (name) return name;
  told("Write your name at the top first: requests carry it.", true);
  field.focus();
  return null;
}

// Whether this person may ask for anything.
export const may = () => known.role !== "viewer";

let saidUntil = 0;
export function told(text, isBad = false) {
  const said = by("said");
  said.textContent = text;
  said.className = isBad ? "said bad" : "said";
  saidUntil = Date.now() + 8000;
}

const THEMES = ["auto", "light", "dark"];
const isTheme = (name) => THEMES.includes(name);
const asked = new URLSearchParams(location.search).get("theme");
let theme = isTheme(asked) ? asked : isTheme(stored("theme")) ? stored("theme") : "auto";
function setTheme() {
  document.documentElement.dataset.theme = theme;
  by("theme").textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[theme];
}
by("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  stored("theme", theme);
  setTheme();
  view?.update("theme");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (theme === "auto") view?.update("theme"); });

let view = null;
function show() {
  view?.end();
  const [name, ...parts] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const views = { fleet, alarms, data, asset };
  view = (views[name] ?? fleet)(main, ...parts);
  document.title = name === "asset" ? `${parts[1]} · fettle` : `${{ alarms: "Alarms", data: "Data" }[name] ?? "Fleet"} · fettle`;
  for (const a of by("nav").querySelectorAll("a")) {
    if (a.getAttribute("href") === `#/${views[name] ? (name === "asset" ? "fleet" : name) : "fleet"}`) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
}
window.addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); scrollTo(0, 0); });

function standing() {
  const open = [...known.alarms.values()].filter((a) => waits(a)).length;
  by("alarm-count").textContent = open;
  by("alarm-count").hidden = !open;
  const link = by("link");
  fill(link, el("span", { class: "dot", "aria-hidden": "true" }), known.linked ? "live" : "no link");
  link.className = known.linked ? "link on" : "link off";
  document.body.classList.toggle("unlinked", known.loaded && !known.linked);
  const banner = by("banner");
  const text = bannerText();
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
}

function bannerText() {
  if (!known.linked) {
    if (!known.heard) return "Connecting to the gateway …";
    return `STALE: no connection to the gateway since ${say.time(known.heard * 1000)}. What is shown is the past. Trying again …`;
  }
  if (known.status && !known.status.fleet_copied) return "What is shown may be old: the fleet's state has not been read to its end yet.";
  if (known.status?.intake === "waiting_for_kafka") return "This gateway is not taking records in: it waits for Kafka. What is shown grows old.";
  if (known.lagError) return "STALE: Kafka does not answer this gateway. What is shown grows old. Trying again …";
  return "";
}

listen((what, about) => {
  if (what === "login") login();
  if (what === "closed") begin();
  if (what === "error") told(`Reading the fleet failed: ${about}`, true);
  if (what === "second" && saidUntil && Date.now() > saidUntil) { by("said").textContent = ""; saidUntil = 0; }
  if (["all", "alarm", "link", "status", "tick"].includes(what)) standing();
  soon(what, about);
});

// Many events at once are drawn once.
let waiting = null;
function soon(what, about) {
  if (what === "second" || what === "tick") { view?.update(what, about); return; }
  if (!waiting) { waiting = new Map(); setTimeout(() => { const all = waiting; waiting = null; all.forEach((a, w) => view?.update(w, a)); }, 120); }
  const list = waiting.get(what) ?? [];
  list.push(about);
  waiting.set(what, list);
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur?.();
    return;
  }
  const go = { 1: "#/fleet", 2: "#/alarms", 3: "#/data" }[event.key];
  if (go) location.hash = go;
  else if (event.key === "/" && view?.search) view.search.focus();
  else if (view?.keys?.[event.key]) view.keys[event.key]();
  else return;
  event.preventDefault();
});

// Who this is: a token's name comes before what is written in the field.
async function begin() {
  let session;
  try { session = await get("/api/v1/session"); } catch { setTimeout(begin, 3000); return; }
  if (session.required && !session.person) { login(); return; }
  known.role = session.role;
  field.readOnly = Boolean(session.person);
  if (session.person) field.value = session.person;
  by("logout").hidden = !session.person;
  show();
  connect();
}

let asking = false;
function login() {
  if (asking) return;
  asking = true;
  const token = el("input", { type: "password", autocomplete: "current-password", id: "token", required: true });
  const wrong = el("p", { class: "bad", role: "alert" });
  const box = el("dialog", { class: "acts", "aria-labelledby": "login-title" }, el("form", { onsubmit: (event) => { event.preventDefault(); enter(); } },
    el("h2", { id: "login-title" }, "Log in"), el("p", {}, el("label", { for: "token" }, "Your token, as whoever runs this gateway gave it to you")), token, wrong, el("button", { type: "submit", class: "act" }, "Log in")));
  const enter = async () => {
    try {
      await post("/api/v1/session", { token: token.value.trim() });
      asking = false;
      box.close();
      box.remove();
      begin();
    } catch (error) { fill(wrong, error.message); token.select(); }
  };
  // Without a session there is nothing else to do here.
  box.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(box);
  box.showModal();
  token.focus();
}
by("logout").addEventListener("click", async () => {
  try { await post("/api/v1/session/end", {}); } finally { location.reload(); }
});

setTheme();
standing();
begin();
