// Colour the tokens of a completion by a figure, and list the figures as a table.

import { figure, h } from "./dom.js";
import { appendText } from "./text.js";

const RED = "227, 73, 72";
const BLUE = "42, 120, 214";
const STRONGEST = 0.55; // opacity: text stays readable on it
const ROWS = 300; // of the table

const ratio = (figures, i) => (figures.policy_logprobs ? Math.exp(figures.policy_logprobs[i] - figures.logprobs[i]) : 1);
const advantage = (figures, i) => (Array.isArray(figures.advantages) ? figures.advantages[i] : figures.advantages);

/** What tokens can be coloured by; `full` is the value of the strongest colour. */
const MEASURES = {
  logprob: { full: 5, has: (f) => f.logprobs, value: (f, i) => f.logprobs[i], note: "nats; red = unlikely" },
  entropy: { full: 3, has: (f) => f.entropies, value: (f, i) => f.entropies[i], note: "nats; red = undecided" },
  "advantage × ratio": {
    full: 2,
    has: (f) => f.advantages !== null && f.advantages !== undefined,
    value: (f, i) => (advantage(f, i) === null ? null : advantage(f, i) * ratio(f, i)),
    note: "blue = made likelier, red = made less likely",
  },
  KL: {
    full: 1,
    has: (f) => f.policy_logprobs && f.reference_logprobs,
    value: (f, i) => {
      const apart = f.reference_logprobs[i] - f.policy_logprobs[i];
      return Math.exp(apart) - apart - 1;
    },
    note: "k3 to the reference, nats",
  },
};

/** The text of each token: as saved, or the words where there are as many; null if it can't be told. */
function textsOf(row) {
  const figures = row.per_token;
  if (figures.token_texts) return figures.token_texts;
  const words = row.text.match(/\s*\S+/g) ?? [];
  const count = figures.logprobs.length;
  if (words.length === count) return words;
  return words.length === count - 1 ? [...words, "(end)"] : null;
}

function colour(value, full) {
  const strength = Math.min(1, Math.abs(value) / full) * STRONGEST;
  return `rgba(${value > 0 ? BLUE : RED}, ${strength.toFixed(3)})`;
}

function coloured(texts, figures, measure, readout) {
  const line = h("div", { className: "said tokens", dir: "auto" });
  texts.forEach((text, i) => {
    const value = measure.value(figures, i);
    const token = appendText(h("span", { className: "token" }), text);
    if (Number.isFinite(value)) {
      const sign = measure === MEASURES["advantage × ratio"] ? value : -Math.abs(value);
      token.style.backgroundColor = colour(sign, measure.full);
      token.title = figure(value);
    }
    token.addEventListener("click", () => {
      readout.replaceChildren();
      appendText(readout, `token ${i + 1} ${JSON.stringify(text)}: ${figure(value)}`);
    });
    line.append(token);
  });
  return line;
}

function table(row, texts, names) {
  const figures = row.per_token;
  const head = h("tr", {}, h("th", { scope: "col" }, "token"), ...names.map((name) => h("th", { scope: "col" }, name)));
  const rows = texts.slice(0, ROWS).map((text, i) => {
    const cells = names.map((name) => h("td", { className: "number" }, figure(MEASURES[name].value(figures, i))));
    return h("tr", {}, appendText(h("td", { dir: "auto" }), text), ...cells);
  });
  const region = { className: "wide tall", tabIndex: 0, role: "region", "aria-label": `figures of the tokens, ${row.name}` };
  const more = texts.length > ROWS ? [h("p", { className: "quiet" }, `The first ${ROWS} of ${texts.length} tokens.`)] : [];
  return h("details", {}, h("summary", {}, "the figures as a table"), ...more, h("div", region, h("table", {}, head, ...rows)));
}

/** The tokens of a completion, a choice of what colours them, and the figures. */
export function tokenView(row) {
  const figures = row.per_token;
  const texts = textsOf(row);
  if (texts === null) {
    return h("p", { className: "quiet" }, "This run saved figures of the tokens but not their texts (token_texts).");
  }
  const names = Object.keys(MEASURES).filter((name) => MEASURES[name].has(figures));
  const missing = Object.keys(MEASURES).filter((name) => !names.includes(name));
  const readout = h("output", { className: "quiet" }, "Click or tap a token for its figure.");
  const shown = h("div");
  const draw = (name) => shown.replaceChildren(coloured(texts, figures, MEASURES[name], readout));
  const note = h("span", { className: "quiet" }, MEASURES[names[0]].note);
  const choice = h(
    "select",
    { onchange: (event) => (draw(event.target.value), (note.textContent = MEASURES[event.target.value].note)) },
    ...names.map((name) => h("option", { value: name }, name)),
  );
  draw(names[0]);
  const notes = [];
  if (missing.length) notes.push(`Not saved in this run: ${missing.join(", ")}.`);
  if (!figures.policy_logprobs) notes.push("The ratio is not saved and taken as 1.");
  if (figures.left_out) notes.push(`The last ${figures.left_out} tokens are left out.`);
  return h(
    "div",
    { className: "token-view" },
    h("p", {}, h("label", {}, "coloured by ", choice), " ", note),
    shown,
    readout,
    h("p", { className: "quiet" }, notes.join(" ")),
    table(row, texts, names),
  );
}
