// Where completions come from: the server of `grpo watch`, or the page itself. Both answer the same questions.

export const PAGE = 24;

/** Asks the server, which has all of them. */
export class ServerSource {
  #under_way = null;

  async query(query) {
    this.#under_way?.abort(); // only the newest question matters
    this.#under_way = new AbortController();
    const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
    return answered(await fetch(`rollouts?${new URLSearchParams(given)}`, { signal: this.#under_way.signal }));
  }

  async whole(row) {
    return answered(await fetch(`rollout?${new URLSearchParams({ name: row.name })}`));
  }
}

async function answered(response) {
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

const byStep = (sign) => (a, b) =>
  sign * (a.step - b.step) ||
  a.order - b.order ||
  (b.advantage ?? -Infinity) - (a.advantage ?? -Infinity) ||
  a.sample - b.sample;
const byValue = (sign, value) => (a, b) => {
  const [left, right] = [value(a), value(b)].map((found) => (found === null ? Infinity : sign * found));
  return (left === right ? 0 : left - right) || b.step - a.step;
};

/** Searches the completions that the page holds. */
export class PageSource {
  constructor(rows) {
    this.rows = rows;
    this.said = new Map(rows.map((row) => [row, saidBy(row).toLowerCase()]));
  }

  async query(query) {
    const value = (row) => (query.part ? (row.rewards[query.part] ?? null) : row.reward);
    const found = this.rows.filter((row) => this.#fits(row, query, value(row)));
    const order = {
      newest: byStep(-1),
      oldest: byStep(1),
      best: byValue(-1, value),
      worst: byValue(1, value),
      longest: byValue(-1, (row) => row.tokens),
      shortest: byValue(1, (row) => row.tokens),
    };
    found.sort(order[query.sort || "newest"]);
    const first = (query.page || 0) * PAGE;
    return { total: found.length, first, rows: found.slice(first, first + PAGE) };
  }

  async whole(row) {
    return row;
  }

  #fits(row, query, value) {
    const within = (found, low, high) =>
      (low === "" || (found !== null && found >= Number(low))) && (high === "" || (found !== null && found <= Number(high)));
    return (
      (query.run === "" || row.run === Number(query.run)) &&
      (query.kind === "" || row.kind === query.kind) &&
      (query.stop === "" || row.stop === query.stop) &&
      within(row.step, query.first_step, query.last_step) &&
      within(value, query.low, query.high) &&
      `${row.task}\n${row.prompt}`.toLowerCase().includes(query.task.toLowerCase()) &&
      wordsOf(query.words).every((word) => this.said.get(row).includes(word))
    );
  }
}

function saidBy(row) {
  if (!row.messages) return row.text;
  return row.messages.filter((one) => one.role === "assistant").map((one) => one.content).join("\n");
}

/** The words of a search, lower case; "several in quotes" are one. */
export function wordsOf(text) {
  return [...text.toLowerCase().matchAll(/"([^"]+)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain);
}
