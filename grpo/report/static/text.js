// Show what was said: thoughts and answers apart, formulas as formulas, control characters as visible marks.

import { h } from "./dom.js";

// Escapes of terminals, marks that turn the order of what follows, characters without a shape, and halves of surrogate pairs.
// U+200C and U+200D stay as they are: Persian, Indic scripts and emoji are written with them.
const CONTROL =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]+/gu;
const TAGS = /(<\/?(?:think|answer)>)/;
const MOST_FORMULA = 2000; // characters
const MOST_FORMULAS = 100; // of a text that are drawn: each takes a moment
const FORMULA = new RegExp(
  [
    `\\$\\$[\\s\\S]{1,${MOST_FORMULA}}?\\$\\$`,
    `\\\\\\[[\\s\\S]{1,${MOST_FORMULA}}?\\\\\\]`,
    `\\\\\\([\\s\\S]{1,${MOST_FORMULA}}?\\\\\\)`,
    "\\$(?![\\s$])[^$\\n]{1,300}?(?<![\\s\\\\])\\$(?!\\d)",
    "\\\\boxed\\{(?:[^{}]|\\{[^{}]{0,200}\\}){1,300}\\}",
  ].join("|"),
  "g",
);

function visible(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
}

/** Append text; control characters become marks that say which they are. */
export function appendText(parent, text) {
  let at = 0;
  for (const match of text.matchAll(CONTROL)) {
    if (match.index > at) parent.append(text.slice(at, match.index));
    parent.append(h("span", { className: "unseen", title: "control characters" }, [...match[0]].map(visible).join(" ")));
    at = match.index + match[0].length;
  }
  if (at < text.length) parent.append(text.slice(at));
  return parent;
}

function inner(formula) {
  if (formula.startsWith("\\boxed")) return [formula, false];
  const wide = formula.startsWith("$$") || formula.startsWith("\\[");
  const marks = formula.startsWith("$") && !wide ? 1 : 2;
  return [formula.slice(marks, -marks), wide];
}

/** KaTeX writes MathML: no fonts, no styles. It may load and link nothing (trust), nor grow without bound. */
function formulaElement(formula) {
  const [tex, displayMode] = inner(formula);
  const element = h("span", { className: displayMode ? "formula wide-formula" : "formula", dir: "ltr" });
  try {
    window.katex.render(tex, element, {
      displayMode,
      output: "mathml",
      throwOnError: true,
      trust: false,
      strict: "ignore",
      errorColor: "currentColor",
      maxExpand: 200,
      maxSize: 10,
    });
    return element;
  } catch {
    return null; // not a formula after all: it stays as it was written
  }
}

/** Append text with its formulas drawn, if `formulas` and if KaTeX is there. */
export function appendProse(parent, text, formulas) {
  if (!formulas || !window.katex) return appendText(parent, text);
  let at = 0;
  let tried = 0;
  for (const match of text.matchAll(FORMULA)) {
    if ((tried += 1) > MOST_FORMULAS) break;
    const drawn = formulaElement(match[0]);
    if (drawn === null) continue;
    appendText(parent, text.slice(at, match.index));
    parent.append(drawn);
    at = match.index + match[0].length;
  }
  return appendText(parent, text.slice(at));
}

/** The text cut at its tags: [{ kind: "tag" | "think" | "answer" | "plain", text }]. */
export function pieces(text) {
  const parts = text.split(TAGS).filter((part) => part !== "");
  const opening = parts.indexOf("<think>");
  const closing = parts.indexOf("</think>");
  let inside = closing >= 0 && (opening < 0 || closing < opening) ? "think" : "plain"; // the prompt opened the thought
  const found = [];
  for (const part of parts) {
    if (TAGS.test(part)) {
      inside = part.startsWith("</") ? "plain" : part.slice(1, -1);
      found.push({ kind: "tag", text: part });
    } else found.push({ kind: inside, text: part });
  }
  return found;
}

const BOXED = /\\boxed\{((?:[^{}]|\{[^{}]{0,200}\}){1,300})\}/g;

/** The final answer a text states: its last answer tag, else its last box; null without either. */
export function finalAnswer(text) {
  const tagged = pieces(text).filter((piece) => piece.kind === "answer");
  if (tagged.length) return tagged.at(-1).text.trim();
  const boxed = [...text.matchAll(BOXED)];
  return boxed.length ? boxed.at(-1)[1].trim() : null;
}

/** What was said as elements: thoughts, answers and the rest in boxes of their own. */
export function said(text, formulas) {
  const blocks = [];
  for (const piece of pieces(text)) {
    if (piece.kind === "tag") {
      blocks.push(h("span", { className: "tag" }, piece.text));
      continue;
    }
    if (piece.kind === "plain" && piece.text.trim() === "") continue;
    const block = h("div", { className: `said ${piece.kind}`, dir: "auto" });
    blocks.push(appendProse(block, piece.text.replace(/^\n+|\n+$/g, ""), formulas));
  }
  return blocks.length ? blocks : [h("p", { className: "quiet" }, "(nothing was said)")];
}
