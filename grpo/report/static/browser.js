// The browser of completions: a form of filters, the groups that fit, page by page, and two set side by side.

import { card, groupHead } from "./cards.js";
import { diffView } from "./diff.js";
import { h, shortName } from "./dom.js";
import { hintScrolling } from "./scrolling.js";
import { PAGE } from "./source.js";

const WAIT = 150; // ms after the last key

export class Browser {
  #page = 0;
  #timer = 0;
  #asked = 0;

  /** `root`: the section of the page; `page`: its data; `source`: what answers queries. */
  constructor(root, page, source) {
    this.root = root;
    this.source = source;
    this.form = root.querySelector("form");
    this.list = root.querySelector("#list");
    this.status = root.querySelector("#status");
    this.dialog = root.querySelector("dialog");
    this.state = { runs: page.runs, formulas: true, compared: new Map() };
    this.form.addEventListener("input", () => this.#soon());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("reset", () => setTimeout(() => this.show(0)));
    root.querySelector("#formulas").addEventListener("change", (event) => {
      this.state.formulas = event.target.checked;
      this.show(this.#page);
    });
    root.querySelector("#previous").addEventListener("click", () => this.show(this.#page - 1, true));
    root.querySelector("#next").addEventListener("click", () => this.show(this.#page + 1, true));
    root.querySelector("#compare").addEventListener("click", () => this.#compare());
    this.dialog.querySelector("button").addEventListener("click", () => this.dialog.close());
    this.offer(page.facets);
  }

  /** Offer what there is to choose from; a choice already made stays. */
  offer(facets) {
    const fill = (name, options) => {
      const select = this.form.elements[name];
      const chosen = select.value;
      select.replaceChildren(h("option", { value: "" }, "all"), ...options.map(([value, text]) => h("option", { value }, text)));
      select.value = chosen;
      if (select.value !== chosen) select.value = "";
      select.closest("label").hidden = options.length < 2;
    };
    fill("run", this.state.runs.map((label, place) => [String(place), label]));
    fill("kind", facets.kinds.map((kind) => [kind, kind]));
    fill("stop", facets.stops.map((stop) => [stop, stop]));
    fill("part", facets.parts.map((name) => [name, shortName(name)]));
    const part = this.form.elements.part;
    part.closest("label").hidden = facets.parts.length === 0;
    part.options[0].textContent = "weighted sum";
  }

  query() {
    const given = Object.fromEntries(new FormData(this.form));
    return { ...given, page: this.#page };
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.show(0), WAIT);
  }

  /** Ask for a page of the completions that fit, and show it. */
  async show(page, scroll = false) {
    this.#page = Math.max(0, page);
    const asked = (this.#asked += 1);
    try {
      const found = await this.source.query(this.query());
      if (asked === this.#asked) this.#draw(found, scroll);
    } catch (error) {
      if (error.name !== "AbortError" && asked === this.#asked) this.status.textContent = error.message;
    }
  }

  #draw(found, scroll) {
    const last = found.first + found.rows.length;
    const progress = found.indexing ? ` (still reading: ${found.indexing})` : "";
    const range = found.total ? `, shown ${found.first + 1} to ${last}` : "";
    this.status.textContent = `${found.total.toLocaleString("en")} completions${range}${progress}`;
    this.root.querySelector("#previous").disabled = this.#page === 0;
    this.root.querySelector("#next").disabled = last >= found.total;
    this.root.querySelector("#pages").hidden = found.total <= PAGE && this.#page === 0;
    this.list.replaceChildren(...this.#cards(found.rows));
    hintScrolling(this.list);
    if (scroll) this.root.scrollIntoView();
  }

  #cards(rows) {
    const marks = marksOf(rows);
    const elements = [];
    rows.forEach((row, place) => {
      if (row.group !== rows[place - 1]?.group) elements.push(groupHead(row, this.state, this.#actions));
      elements.push(card(row, marks.get(row) ?? "", this.state, this.#actions));
    });
    return elements;
  }

  #actions = {
    overSteps: (row) => {
      this.form.reset();
      for (const [name, value] of Object.entries({ task: row.task, kind: row.kind, run: String(row.run), sort: "oldest" })) {
        this.form.elements[name].value = value;
      }
      setTimeout(() => this.show(0, true));
    },
    whole: (row) => this.source.whole(row),
    compare: (row, chosen) => {
      if (chosen) this.state.compared.set(row.name, row);
      else this.state.compared.delete(row.name);
      const count = this.state.compared.size;
      const button = this.root.querySelector("#compare");
      button.disabled = count !== 2;
      button.textContent = count === 2 ? "Compare the two" : `Compare: choose two (${count} chosen)`;
    },
  };

  async #compare() {
    const rows = await Promise.all([...this.state.compared.values()].map((row) => this.source.whole(row)));
    const text = (row) => row.messages?.map((one) => `[${one.role}]\n${one.content}`).join("\n") ?? row.text;
    const title = (row) => `${row.kind}, step ${row.step}, sample ${row.sample + 1}`;
    this.dialog
      .querySelector("#difference")
      .replaceChildren(
        h("p", {}, h("del", {}, title(rows[0])), " against ", h("ins", {}, title(rows[1]))),
        diffView(text(rows[0]), text(rows[1])),
      );
    this.dialog.showModal();
  }
}

/** Which of each group shown has its best and its worst reward; none where they are equal. */
function marksOf(rows) {
  const groups = Map.groupBy ? Map.groupBy(rows, (row) => row.group) : grouped(rows);
  const marks = new Map();
  for (const group of groups.values()) {
    const valued = group.filter((row) => row.reward !== null);
    const worths = valued.map((row) => row.reward);
    const [low, high] = [Math.min(...worths), Math.max(...worths)];
    if (low === high) continue;
    for (const row of valued) if (row.reward === high || row.reward === low) marks.set(row, row.reward === high ? "best" : "worst");
  }
  return marks;
}

function grouped(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(row.group, [...(groups.get(row.group) ?? []), row]);
  return groups;
}
