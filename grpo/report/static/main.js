// The page of a report, and of `grpo watch`. Order of reading: source.js, browser.js, cards.js, text.js.

import { Browser } from "./browser.js";
import { readable } from "./curves.js";
import { follow } from "./live.js";
import { hintScrolling } from "./scrolling.js";
import { PageSource, ServerSource } from "./source.js";

const page = JSON.parse(document.getElementById("data").textContent);
const source = page.live ? new ServerSource() : new PageSource(page.rows);
const browser = new Browser(document.getElementById("rollouts"), page, source);

readable(document);
hintScrolling(document);
browser.show(0);
if (page.live) {
  follow(page.version, (news) => {
    browser.offer(news.facets);
    if (!document.querySelector("dialog[open], #list [aria-pressed='true'], #list :focus")) browser.show(browser.query().page);
  });
}
