// Keep the page of `grpo watch` up to date: the server says that something is new, the page fetches its parts.

import { readable } from "./curves.js";
import { hintScrolling } from "./scrolling.js";

const AT_MOST_EVERY = 1500; // ms

/** Follow the runs from a version on; `changed(news)` hears of every newer one. */
export function follow(version, changed) {
  const state = document.querySelector("#live");
  const events = new EventSource("events");
  let waiting = false;
  let news = null;
  events.addEventListener("message", (event) => {
    news = JSON.parse(event.data);
    state.textContent = news.indexing ? `live, reading the completions: ${news.indexing}` : "live";
    const isNew = version !== news.version;
    version = news.version;
    if (!isNew || waiting) return;
    waiting = true;
    setTimeout(async () => {
      waiting = false;
      await replaceParts();
      changed(news);
    }, AT_MOST_EVERY);
  });
  events.addEventListener("error", () => (state.textContent = "not connected: grpo watch has ended or is busy"));
}

/** Fetch the parts of the page that the server writes, and put them in place of the old ones. */
async function replaceParts() {
  const response = await fetch("parts");
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html"); // inert: nothing in it runs
  for (const old of document.querySelectorAll("[data-part]")) {
    const part = fresh.querySelector(`[data-part="${old.dataset.part}"]`);
    if (!part || part.innerHTML === old.innerHTML) continue;
    const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceChildren(...part.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus();
    readable(old);
    hintScrolling(old);
  }
}
