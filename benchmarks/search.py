"""Measure what N samples of a problem buy: one, a majority vote, the best by a value, a small tree search.

    python -m benchmarks.search --model DIR [--adapter A] [--data digit_sums] --samples 16 --output runs/search

For evaluation only; nothing here trains. The value is the policy's own: e to the mean logprob of a completion's tokens.
The tree search (UCT) cuts completions into steps at `--step-end`, goes down to the step that looks best, completes it
from there, and passes the value up; it spends as many completions as the others. `pass@N`, the best by the right
answer, is what a perfect value would buy. The authors of R1 tried tree search and gave it up: the space of tokens is
far larger than a board's, and all hangs on the value, which is hard to learn (arXiv 2501.12948).
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewards.printable import say

if TYPE_CHECKING:
    from grpo.config import Config
    from grpo.model.policy import Policy
    from grpo.types import Prompt

EXPLORE = 0.5  # weight of the bonus for steps seen less often
WIDTH = 3  # different steps that a node has before the search goes below it
WAYS = ("one sample", "majority", "best by its own logprob", "tree search, best", "tree search, majority", "pass@N")


@dataclass
class Node:
    """A prefix of a completion and what the search knows of it."""

    tokens: tuple[int, ...] = ()  # from the completion's start
    logprobs: tuple[float, ...] = ()  # of these
    visits: int = 0
    value: float = 0.0  # sum
    children: dict[tuple[int, ...], "Node"] = field(default_factory=dict)

    def best_child(self) -> "Node":
        """Return the child of the highest mean value and bonus (UCT)."""
        return max(
            self.children.values(),
            key=lambda node: node.value / node.visits + EXPLORE * math.sqrt(math.log(self.visits) / node.visits),
        )


@dataclass(frozen=True)
class Found:
    """A whole completion."""

    tokens: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]  # of the tokens

    @property
    def value(self) -> float:
        """E to the mean logprob."""
        return math.exp(sum(self.logprobs) / len(self.logprobs))


def path_to_leaf(root: Node) -> list[Node]:
    """Return the nodes from the root down to the one to complete next: the first with room for another step."""
    path = [root]
    while len(path[-1].children) >= WIDTH:
        path.append(path[-1].best_child())
    return path


def grow(path: Sequence[Node], one: Found, end: Sequence[int]) -> None:
    """Hang the first new step of a completion below the path's last node, and pass its value up."""
    leaf = path[-1]
    step = first_step(one.tokens[len(leaf.tokens) :], end)
    size = len(leaf.tokens) + len(step)
    child = leaf.children.setdefault(step, Node(one.tokens[:size], one.logprobs[:size]))
    visit([*path, child], one.value)


def visit(path: Sequence[Node], value: float) -> None:
    """Pass a value up."""
    for node in path:
        node.visits += 1
        node.value += value


def first_step(tokens: tuple[int, ...], end: Sequence[int]) -> tuple[int, ...]:
    """Return the tokens up to the first `end`, and it; all of them without one."""
    for start in range(len(tokens) - len(end) + 1):
        if tokens[start : start + len(end)] == tuple(end):
            return tokens[: start + len(end)]
    return tokens


def main(arguments: Sequence[str] | None = None) -> int:
    """Sample, search, score; write record.json and table.md."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="local MLX directory or hub id")
    parser.add_argument("--adapter", help="adapter directory")
    parser.add_argument("--data", default="digit_sums", help="environment, file or hub data set (digit_sums)")
    parser.add_argument("--template", default="plain", help="as in grpo.train (plain)")
    parser.add_argument("--samples", type=int, default=16, help="completions of each problem (16)")
    parser.add_argument("--limit", type=int, default=100, help="problems (100)")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--step-end", default=" .", help="text that ends a step (' .')")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    from grpo.config import Config
    from grpo.config.sections import ConfigError
    from grpo.cpu.blas import load_blas

    load_blas()
    import envs
    from grpo.model.frozen import load_teacher
    from grpo.rollout.prompts import fitting

    try:
        config = Config(
            model=options.model,
            data=options.data,
            template=options.template,
            max_completion_length=options.max_tokens,
            seed=options.seed,
        )
        policy = load_teacher(options.model, options.adapter)
        tasks = envs.make(options.data, seed=options.seed).tasks("test")[: options.limit]
        prompts, _ = fitting(tasks, policy.tokenizer, config, "test")
    except (ConfigError, envs.DataError) as error:
        say(f"error: {error}", sys.stderr)
        return 2
    samples = sampled(policy, prompts, config, options.samples)
    trees = searched(policy, prompts, config, options.samples, options.step_end)
    right = _verdicts(prompts, [one + two for one, two in zip(samples, trees, strict=True)])
    record: dict[str, list[float]] = {name: [] for name in WAYS}
    for one, two, judged in zip(samples, trees, right, strict=True):
        for name, value in figures(one, two, judged).items():
            record[name].append(value)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "record.json").write_text(json.dumps({"options": _plain(options), "right": record}, indent=1))
    (options.output / "table.md").write_text(table(record, options.samples))
    print(table(record, options.samples))
    return 0


def sampled(policy: "Policy", prompts: "Sequence[Prompt]", config: "Config", samples: int) -> list[list[Found]]:
    """Return independent completions of each problem."""
    return _complete(policy, prompts, [Node()] * len(prompts), config, samples, step=0)


def searched(
    policy: "Policy", prompts: "Sequence[Prompt]", config: "Config", samples: int, step_end: str
) -> list[list[Found]]:
    """Return what a tree search completes of each problem, all problems going forward together."""
    end = policy.tokenizer.encode(step_end.strip(), add_special_tokens=False)
    roots, found = [Node() for _ in prompts], [list[Found]() for _ in prompts]
    for turn in range(samples):
        paths = [path_to_leaf(root) for root in roots]
        open_ones = [i for i, path in enumerate(paths) if not policy.stop_tokens & {*path[-1].tokens[-1:]}]
        chosen, leaves = [prompts[i] for i in open_ones], [paths[i][-1] for i in open_ones]
        rows = _complete(policy, chosen, leaves, config, 1, step=turn + 1) if chosen else []
        for i, [one] in zip(open_ones, rows, strict=True):
            grow(paths[i], one, end)
            found[i].append(one)
        for i in {*range(len(paths))} - {*open_ones}:  # the way down ends in a whole completion: seen once more
            visit(paths[i], paths[i][-1].value / paths[i][-1].visits)
    return found


def _complete(
    policy: "Policy",
    prompts: "Sequence[Prompt]",
    begun: Sequence[Node],
    config: "Config",
    samples: int,
    step: int,
) -> list[list[Found]]:
    """Sample completions that begin as these nodes do."""
    from dataclasses import replace

    from grpo.rollout.engine import Request, generate
    from grpo.rollout.sampler import Sampling

    request = Request(samples, config.max_completion_length, Sampling(1.0), config.seed, "sample", step, max_rows=256)
    given = [replace(p, tokens=p.tokens + node.tokens) for p, node in zip(prompts, begun, strict=True)]
    found: dict[int, list[Found]] = {}
    for index, group in generate(policy, given, request):
        found[index] = []
        for rollout in group.rollouts:
            tokens, logprobs = begun[index].tokens + rollout.tokens, begun[index].logprobs + rollout.logprobs
            shown = tokens[:-1] if rollout.stop_reason == "stop" else tokens
            found[index].append(Found(tokens, policy.tokenizer.decode(shown), logprobs))
    return [found[index] for index in range(len(prompts))]


def _verdicts(prompts: "Sequence[Prompt]", texts: Sequence[Sequence[Found]]) -> list[list[bool]]:
    """Return whether each completion's answer is right."""
    from rewards import RewardSet

    rewards = RewardSet({"accuracy": 1.0}, {}, 60.0)
    try:
        verdicts = []
        for prompt, found in zip(prompts, texts, strict=True):
            columns = {name: [value] * len(found) for name, value in prompt.task.columns.items()}
            scores = rewards.score([prompt.text] * len(found), [one.text for one in found], columns=columns)
            verdicts.append([value is not None and value >= 1 for value in scores.values["accuracy"]])
        return verdicts
    finally:
        rewards.close()


def figures(one: Sequence[Found], two: Sequence[Found], right: Sequence[bool]) -> dict[str, float]:
    """Return what each way is worth on one problem; `right` goes through the samples, then the tree's completions."""
    first, second = right[: len(one)], right[len(one) :]
    best = max(range(len(one)), key=lambda i: one[i].value)
    top = max(range(len(two)), key=lambda i: two[i].value)
    values = (
        sum(first) / len(first),
        _majority(one, first),
        float(first[best]),
        float(second[top]),
        _majority(two, second),
        float(any(first)),
    )
    return dict(zip(WAYS, values, strict=True))


def _majority(found: Sequence[Found], right: Sequence[bool]) -> float:
    """Return whether the answer given most often is right; a tie counts by the share of its right answers."""
    from rewards.maths.final_answer import final_answer

    taken = [final_answer(one.text) for one in found]
    answers = [None if one is None else one.text for one in taken]
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    tied = [answer for answer, count in votes.items() if count == max(votes.values())]
    verdict = {answer: any(r for r, given in zip(right, answers, strict=True) if given == answer) for answer in tied}
    return sum(verdict.values()) / len(tied)


def table(record: dict[str, list[float]], samples: int) -> str:
    """Markdown: each way's accuracy with its 95% interval over problems."""
    from grpo.evaluate.intervals import interval

    rows = [f"| {samples} completions a problem | accuracy |", "|---|---:|"]
    for name, values in record.items():
        low, high = interval(values)
        rows.append(f"| {name} | {sum(values) / len(values):.3f} ({low:.3f} to {high:.3f}) |")
    return "\n".join(rows) + "\n"


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}


if __name__ == "__main__":
    sys.exit(main())
