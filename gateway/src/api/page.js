// Refreshes the page's contents, shows times in the browser's zone, and sends the two forms. Nothing else.
"use strict";
const person = document.getElementById("person");
const said = document.getElementById("said");
person.value = localStorage.getItem("person") || "";
person.addEventListener("change", () => localStorage.setItem("person", person.value.trim()));

function localTimes() {
  for (const time of document.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.textContent = at.toLocaleString();
  }
}

async function refresh() {
  try {
    const answer = await fetch("/", { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("main").replaceWith(page.getElementById("main"));
    localTimes();
    if (said.dataset.lost) { said.textContent = ""; delete said.dataset.lost; }
  } catch (error) {
    said.textContent = "What is shown is old: the gateway does not answer.";
    said.dataset.lost = "1";
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  const name = person.value.trim();
  if (!name) { said.textContent = "Write your name above first."; person.focus(); return; }
  const body = { person: name };
  if (button.dataset.occurrence) body.occurrence = Number(button.dataset.occurrence);
  button.disabled = true;
  try {
    const answer = await fetch(button.dataset.post, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const told = await answer.json();
    said.textContent = answer.ok ? "Asked for; the agent has to confirm." : told.detail;
  } catch (error) {
    said.textContent = "The gateway does not answer.";
  }
  await refresh();
});

localTimes();
setInterval(refresh, 5000);
