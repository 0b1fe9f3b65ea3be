// What a person may ask about an alarm: acknowledge, shelve, end the shelf, comment, label. Each is a request; it shows as
// pending until the agent's alert confirms it, and nothing here changes an alarm by itself.
import { el, fill, mark } from "./dom.js";
import * as say from "./say.js";
import { enc, key, known, now, post, unseen } from "./state.js";
import { may, person, told } from "./app.js";

const HOUR = 3600e6;
const SHELVES = [["1 h", HOUR], ["8 h", 8 * HOUR], ["1 d", 24 * HOUR], ["7 d", 168 * HOUR]];
const LABELS = ["confirmed", "false_alarm", "maintenance_done"];
const DONE = { acknowledged: "Acknowledged already", shelved: "Shelved until then already", unshelved: "Not shelved", commented: "Said already", labelled: "Labelled so already" };

async function ask(a, what, more) {
  const name = person();
  if (!name) return;
  try {
    const answer = await post(`/api/v1/alarms/${enc(a.site)}/${enc(a.asset)}/${enc(a.condition)}/${what}`, { person: name, ...more });
    const present = known.alarms.get(key(a.site, a.asset, a.condition)) ?? a;
    for (const asked of answer.pending ?? []) {
      if (what === "acknowledge") present.pending ??= asked;
      else if (!present.requests.some((r) => r.command === asked.command)) present.requests.push(asked);
    }
    told(answer.status === "pending" ? "Asked for. It counts once the agent has confirmed." : `${DONE[answer.status] ?? "Done already"}${answer.by ? ` by ${answer.by}` : ""}.`);
  } catch (error) {
    told(error.message, true);
  }
}

export const acknowledge = (a) => ask(a, "acknowledge", { occurrence: a.occurrence });

// A shelf ends in event time, which may run ahead of the clock on the wall.
function until(a, length) {
  const heard = known.assets.get(key(a.site, a.asset))?.health?.window_end ?? 0;
  return Math.ceil((Math.max(a.at, heard, now()) + length) / 60e6) * 60e6;
}

const ASKED = {
  shelve: (r) => `shelf until ${say.time(r.until)}`, unshelve: () => "end of the shelf", comment: (r) => `comment “${r.text}”`,
  label: (r) => `label “${say.words(r.label)}”`, acknowledge: () => "acknowledgement",
};

// What was asked for and is not confirmed.
export function pending(a) {
  return [a.pending, ...a.requests].filter(Boolean).map((r) => (r.expired
    ? el("div", { class: "dim small" }, `${ASKED[r.what](r)}: the request of ${r.person} expired`)
    : el("div", {}, mark("wait", `${ASKED[r.what](r)}: asked for by ${r.person}, waiting for the agent`, say.time(r.issued)))));
}

// What people have said and done, as it stands.
export function standing(a) {
  return [
    a.shelved_until ? el("div", {}, mark("shelved", `shelved until ${say.time(a.shelved_until)}`, "It goes on, and calls nobody")) : null,
    a.label ? el("div", {}, mark("label", say.words(a.label), "What a person said this occurrence was")) : null,
    a.acknowledged_by ? el("div", { class: "small" }, `acknowledged by ${a.acknowledged_by}`) : null,
  ];
}

// A change, as the history tells it.
export function change(alert) {
  const what = alert.change === "shelved" && alert.shelved_until ? `shelved until ${say.time(alert.shelved_until)}` : alert.change === "labelled" && alert.label ? `labelled ${say.words(alert.label)}` : alert.change;
  return [what, alert.by ? el("span", { class: "dim" }, ` by ${alert.by}`) : null, alert.change === "commented" && alert.comment ? el("span", { class: "comment" }, `“${alert.comment}”`) : null];
}

export function action(a, redraw) {
  const about = `${say.condition(a.condition)} of ${a.asset}`;
  const asks = unseen(a) && (!a.pending || a.pending.expired);
  return el("div", { class: "acting" }, standing(a), pending(a), may() ? el("div", { class: "chips" },
    asks ? el("button", { type: "button", class: "act", onclick: () => acknowledge(a).then(redraw), "aria-label": `Acknowledge ${about}` }, "Acknowledge") : null,
    el("button", { type: "button", class: "quiet", onclick: () => dialog(a, "shelve", redraw), "aria-label": `Shelve, comment or label ${about}` }, "Shelve, comment …")) : null);
}

// Everything that can be asked, in one modal dialog: Tab goes through it, Escape closes it.
export function dialog(a, focus, redraw) {
  if (!may() || !person()) return;
  const from = document.activeElement;
  const box = el("dialog", { class: "acts", "aria-labelledby": "acts-title" });
  const act = (what, more) => { box.close(); ask(a, what, more).then(redraw); };
  const occurrence = a.occurrence;
  const text = el("textarea", { rows: 3, maxlength: 2000, "data-act": "comment", "aria-label": "Comment" });
  const group = (title, ...parts) => el("section", {}, el("h3", {}, title), parts);
  fill(box, el("h2", { id: "acts-title" }, `${say.condition(a.condition)} of ${a.asset}`), el("p", { class: "dim small" }, `${a.site} · occurrence ${a.occurrence} · ${say.state(a.state)}`),
    unseen(a) ? group("Acknowledge", el("button", { type: "button", class: "act", "data-act": "acknowledge", onclick: () => act("acknowledge", { occurrence }) }, "Acknowledge")) : null,
    group("Shelve: it goes on, and calls nobody for", el("div", { class: "chips" }, SHELVES.map(([label, length], n) => el("button", { type: "button", class: "chip", "data-act": n ? null : "shelve", title: `until ${say.time(until(a, length))}`, onclick: () => act("shelve", { until: until(a, length) }) }, label)),
      a.shelved_until ? el("button", { type: "button", class: "chip", onclick: () => act("unshelve", {}) }, "End the shelf now") : null)),
    group("It turned out to be", el("div", { class: "chips" }, LABELS.map((label, n) => el("button", { type: "button", class: "chip", "data-act": n ? null : "label", "aria-pressed": String(a.label === label), onclick: () => act("label", { occurrence, label }) }, say.words(label))))),
    group("Comment", text, el("div", { class: "chips" }, el("button", { type: "button", class: "act", onclick: () => { if (text.value.trim()) act("comment", { occurrence, text: text.value.trim() }); else text.focus(); } }, "Write the comment"),
      el("button", { type: "button", class: "quiet", onclick: () => box.close() }, "Close"))));
  box.addEventListener("close", () => { box.remove(); from?.focus?.(); });
  document.body.append(box);
  box.showModal();
  box.querySelector(`[data-act="${focus}"]`)?.focus();
}
