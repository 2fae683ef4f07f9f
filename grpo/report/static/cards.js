// One completion as a card: what it is worth, its answer beside the gold one, what was said, and ways to look closer.

import { figure, h, shortName } from "./dom.js";
import { appendProse, appendText, finalAnswer, said } from "./text.js";
import { tokenView } from "./tokens.js";

const PROMPT_SHOWN = 300; // characters of a prompt that stand open

/** The prompt of a group and its gold answer. */
export function groupHead(row, state, actions) {
  // Tags in a prompt are instructions, no thoughts and no answers: it stays one text.
  const text = appendProse(h("div", { className: "said", dir: "auto" }), row.prompt, state.formulas);
  const prompt = h("div", { className: "prompt" }, text);
  const long = row.prompt.length > PROMPT_SHOWN;
  return h(
    "div",
    { className: "group-head" },
    h("h3", {}, `${state.runs.length > 1 ? `${state.runs[row.run]}, ` : ""}${row.kind}, step ${row.step}`),
    h("p", { className: "quiet file" }, row.file, " · task ", appendText(h("bdi", { className: "task" }), row.task)),
    long ? h("details", {}, h("summary", {}, "prompt: ", appendText(h("bdi"), row.prompt.slice(0, 120) + " …")), prompt) : prompt,
    h("p", {}, h("button", { type: "button", onclick: () => actions.overSteps(row) }, "This prompt over the steps")),
  );
}

/** One completion. `actions`: overSteps(row), compare(row), whole(row) -> the row with its full text and tokens. */
export function card(row, mark, state, actions) {
  const body = h("div", { className: "body", role: "group", "aria-label": "what was said" }, ...conversation(row, state.formulas));
  const compared = h("input", { type: "checkbox", checked: state.compared.has(row.name) });
  compared.addEventListener("change", () => actions.compare(row, compared.checked));
  const buttons = [h("label", {}, compared, " compare")];
  if (row.has_tokens) buttons.push(toggle("tokens", body, row, state, actions, (whole) => [tokens(whole)]));
  buttons.push(toggle("whole text", body, row, state, actions, (whole) => conversation(whole, state.formulas)));
  return h(
    "article",
    { className: `completion ${mark}`, "aria-label": `sample ${row.sample + 1} of step ${row.step}` },
    worth(row, mark),
    answers(row),
    body,
    h("div", { className: "buttons" }, ...buttons),
  );
}

function tokens(whole) {
  return whole.per_token ? tokenView(whole) : h("p", { className: "quiet" }, "The page leaves out this one's tokens.");
}

function toggle(name, body, row, state, actions, draw) {
  const button = h("button", { type: "button", "aria-pressed": "false" }, name);
  button.addEventListener("click", async () => {
    const pressed = button.getAttribute("aria-pressed") === "true";
    for (const other of button.parentElement.querySelectorAll("[aria-pressed]")) other.setAttribute("aria-pressed", "false");
    body.classList.toggle("whole", !pressed);
    if (pressed) body.replaceChildren(...conversation(row, state.formulas));
    else {
      button.setAttribute("aria-pressed", "true");
      try {
        body.replaceChildren(...draw(await actions.whole(row)));
      } catch (error) {
        body.replaceChildren(h("p", { className: "problem" }, error.message));
      }
    }
  });
  return button;
}

function worth(row, mark) {
  const parts = [
    mark && h("b", {}, mark),
    h("span", {}, "reward ", h("b", {}, figure(row.reward))),
    ...Object.entries(row.rewards).map(([name, value]) => h("span", { title: name }, `${shortName(name)} ${figure(value)}`)),
    row.advantage !== null && h("span", {}, "advantage ", h("b", {}, (row.advantage > 0 ? "+" : "") + figure(row.advantage))),
    h("span", {}, `${figure(row.tokens, 0)} tokens`),
    h("span", {}, "ended by ", appendText(h("bdi"), row.stop || "?")),
  ];
  return h("div", { className: "head" }, ...parts);
}

function answers(row) {
  const last = row.messages?.findLast((one) => one.role === "assistant")?.content ?? row.text;
  const given = finalAnswer(last);
  if (given === null && row.gold === null) return null;
  const item = (name, text, missing) => [
    h("dt", {}, name),
    text === null ? h("dd", { className: "quiet" }, missing) : appendText(h("dd", { dir: "auto" }), text),
  ];
  return h("dl", { className: "answers" }, ...item("answer", given, "not in <answer> or \\boxed{}"), ...item("gold", row.gold, "none"));
}

/** What was said: one text, or message by message with its tool calls. */
export function conversation(row, formulas) {
  const problem = row.problem ? [appendText(h("p", { className: "problem" }), row.problem)] : [];
  if (!row.messages) return [...said(row.text, formulas), ...problem];
  const messages = row.messages.map((message) =>
    h(
      "section",
      { className: `message ${message.role === "assistant" ? "own" : "other"}` },
      h("h4", {}, message.role + (message.name ? ` ${message.name}` : "")),
      ...(message.content || !message.calls.length ? said(message.content, formulas) : []),
      ...message.calls.map((call) =>
        h("pre", { className: "call", tabIndex: 0 }, appendText(h("code"), `${call.name}(${call.arguments})`)),
      ),
    ),
  );
  return [...messages, ...problem];
}
