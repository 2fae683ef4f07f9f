// Set two completions against each other, word by word.

import { h } from "./dom.js";
import { appendText } from "./text.js";

const WORD = /\s+|\p{Script=Han}|[\p{L}\p{N}_]+|./gsu;
const LINE = /[^\n]*\n|[^\n]+/g;
const MOST = 2500; // words, or lines, of either side that are compared one with another

/** The changes from a to b: [{ kind: "same" | "gone" | "new", text }]; null if they are too long to be compared. */
export function changes(a, b) {
  for (const unit of [WORD, LINE]) {
    const found = compared(a.match(unit) ?? [], b.match(unit) ?? []);
    if (found) return found;
  }
  return null;
}

function compared(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  if (left.length > MOST || right.length > MOST) return null;
  const middle = longestCommon(left, right);
  return joined([...a.slice(0, start).map(same), ...middle, ...a.slice(a.length - end).map(same)]);
}

const same = (text) => ({ kind: "same", text });

/** The classic table of common subsequences, from the end. */
function longestCommon(a, b) {
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const skip = Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
      lengths[i * width + j] = a[i] === b[j] ? lengths[(i + 1) * width + j + 1] + 1 : skip;
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push(same(a[i]));
      i += 1;
      j += 1;
    } else if (i < a.length && (j === b.length || lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      found.push({ kind: "gone", text: a[i] });
      i += 1;
    } else {
      found.push({ kind: "new", text: b[j] });
      j += 1;
    }
  }
  return found;
}

function joined(parts) {
  const found = [];
  for (const part of parts) {
    if (found.at(-1)?.kind === part.kind) found.at(-1).text += part.text;
    else found.push({ ...part });
  }
  return found;
}

const TAG = { same: "span", gone: "del", new: "ins" };

/** The two texts as one, with what only the first has struck out and what only the second has underlined. */
export function diffView(a, b) {
  const found = changes(a, b);
  if (found === null) return h("p", {}, `These two differ in more than ${MOST} lines: too many to be set side by side.`);
  const text = h("div", { className: "said diff", dir: "auto" });
  for (const part of found) text.append(appendText(h(TAG[part.kind]), part.text));
  return text;
}
