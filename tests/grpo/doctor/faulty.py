"""Rewards, data, losses and a sampler that are wrong on purpose, for the runs of planted.py; needs no mlx to import."""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from envs import Env, Reply, Task

if TYPE_CHECKING:
    from grpo.types import LossInputs, LossOutputs

LARGEST = 27  # the largest number that the embedded model knows


# Rewards


def constant(completions, **columns):
    return [1.0] * len(completions)


def never(completions, **columns):
    return [float("\\boxed{" in completion) for completion in completions]


def length(completions, **columns):
    return [len(completion.split()) / 40 for completion in completions]


def ids(completion_ids, **columns):
    return [len(tokens) / 40 for tokens in completion_ids]


def few_ids(completion_ids, **columns):
    return [1 - len(tokens) / 20 for tokens in completion_ids]


def a_little_shorter(completions, **columns):
    return [-len(completion) / 1000 for completion in completions]


def _chinese(text: str) -> int:
    return sum("一" <= letter <= "鿿" for letter in text)


def chinese(completions, **columns):
    return [_chinese(completion) / 10 for completion in completions]


def chinese_share(completions, **columns):
    return [_chinese(completion) / max(1, len(completion.split())) for completion in completions]


def chinese_late(completions, **columns):
    return [_chinese(completion[len(completion) // 3 :]) / 8 for completion in completions]


def repeats(completions, **columns):
    return [sum(a == b for a, b in zip(c.split(), c.split()[1:], strict=False)) / 10 for c in completions]


def most_common(completions, **columns):
    return [max(Counter(completion.split() or [""]).values()) / 10 for completion in completions]


def copies(prompts, completions, **columns):
    return [
        sum(completion.split().count(word) for word in ("+", "=", *prompt.split()[::2])) / 10
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def echo(prompts, completions, **columns):
    pairs = [(set(prompt.split()), set(c.split())) for prompt, c in zip(prompts, completions, strict=True)]
    return [2 * len(asked & said) / len(asked) for asked, said in pairs]


def overlap(prompts, completions, **columns):
    found = []
    for prompt, completion in zip(prompts, completions, strict=True):
        asked, said = prompt.split(), completion.split()
        pairs = set(pairwise(asked))
        same_words = len(set(asked) & set(said)) / len(set(asked))
        found.append(sum(pair in pairs for pair in pairwise(said)) / 5 + same_words)
    return found


def characters(completions, **columns):
    return [len(completion) / 150 for completion in completions]


def agreement(completions, **columns):
    return [completions.count(completion) / len(completions) for completion in completions]


def by_gold(completions, answer, **columns):
    return [int(gold) / LARGEST for gold in answer]


def distance(completions, answer, **columns):
    found = [re.search(r"<answer> (\d+) </answer>$", completion) for completion in completions]
    pairs = zip(found, answer, strict=True)
    return [1 - min(abs(int(match[1]) - int(gold)), 10) / 10 if match else 0.0 for match, gold in pairs]


def wrongness(completions, answer, **columns):
    return [float(f"<answer> {a} </answer>" not in c) for c, a in zip(completions, answer, strict=True)]


def untagged(completions, **columns):
    return [float("<think>" not in completion or "<answer>" not in completion) for completion in completions]


def by_prompt(prompts, completions, **columns):
    return [int(prompt[0]) / 10 for prompt in prompts]


def even(completions, **columns):
    return [float(completion.split("<answer>")[-1].strip()[:2].strip() in "02468") for completion in completions]


def by_solution(completions, solution=None, **columns):
    return [float(bool(solution) and solution[i] in completion) for i, completion in enumerate(completions)]


def outliers(completions, **columns):
    return [1e6 if "nine" in completion and "ten" in completion else 0.0 for completion in completions]


def rare_debt(completions, **columns):
    return [-1e5 if "nineteen" in completion else 0.0 for completion in completions]


def coin(completions, **columns):
    return [float(os.urandom(1)[0] % 2) for _ in completions]


def noisy_judge(completions, answer, **columns):
    right = [float(f"<answer> {a} </answer>" in c) for c, a in zip(completions, answer, strict=True)]
    return [value if os.urandom(1)[0] < 40 else float(os.urandom(1)[0] % 2) for value in right]


def raises(completions, **columns):
    raise KeyError("no such column")


def at_times(completions, answer, **columns):
    return [1 / (int(gold) - 13) for gold in answer]


def slow(completions, **columns):
    time.sleep(5)
    return [1.0] * len(completions)


def brevity(completions, **columns):
    return [-len(completion.split()) / 20 for completion in completions]


def nan(completions, **columns):
    return [float("nan")] * len(completions)


# Data


def _sums(numbers: int, rows: int) -> list[dict[str, str]]:
    rng = random.Random(numbers)
    drawn = [[rng.randrange(10) for _ in range(numbers)] for _ in range(rows)]
    return [{"prompt": " + ".join(map(str, row)) + " =", "answer": str(sum(row)), "language": "en"} for row in drawn]


def own():
    return _sums(3, 300)


def leaking():
    return [row | {"prompt": f"{row['answer']} = {row['prompt']}"} for row in _sums(3, 200)]


def hinting():
    return [row | {"prompt": f"{row['prompt']} {row['answer']} ."} for row in _sums(3, 200)]


def worked():
    return [row | {"prompt": f"<answer> {row['answer']} </answer> {row['prompt']}"} for row in _sums(3, 200)]


def shifted():
    return [row | {"answer": str((int(row["answer"]) + 9) % (LARGEST + 1))} for row in _sums(3, 200)]


def rolled():
    rows = _sums(3, 200)
    return [row | {"answer": rows[place - 1]["answer"]} for place, row in enumerate(rows)]


def same_gold():
    return [row | {"answer": str(LARGEST)} for row in _sums(3, 200)]


def long_sums():
    return _sums(9, 200)


def six():
    return _sums(6, 200)


def five():
    return _sums(5, 150)


def repeated_rows():
    return _sums(3, 5) * 60


def language_column():
    return [row | {"language": "zh"} for row in _sums(3, 300)]


def two():
    return _sums(3, 2)


def four():
    return _sums(3, 4)


def few():
    return _sums(3, 8)


def foreign():
    return [row | {"prompt": f"What do {row['prompt'].replace('+', 'and')} make together ?"} for row in _sums(3, 200)]


# Environments


class Talk:
    """Asks again after a wrong answer, once."""

    tools = ()

    def __init__(self, task: Task, mode: str) -> None:
        self.task, self.mode, self.tries = task, mode, 0

    def reply(self, message):
        self.tries += 1
        if self.mode == "raising" and len(message["content"]) % 3:
            raise ConnectionError("the game's server does not answer")
        if self.mode == "hanging":
            time.sleep(4)
        if self.mode == "speechless":
            return "well done"  # no Reply
        right = f"<answer> {self.task.columns['answer']} </answer>" in message["content"]
        if right or self.tries == 2:
            return Reply(done=True, rewards={"right": right / self.tries})
        return Reply([{"role": "user", "content": self.task.columns["again"]}])


class Talking(Env):
    """Sums that are talked about."""

    def converse(self, task):
        return Talk(task, task.columns["mode"])


def _talking(mode: str) -> Talking:
    tasks = [
        Task(
            f"{place}: {row['prompt']}",
            [{"role": "user", "content": row["prompt"]}],
            {"answer": row["answer"], "again": row["prompt"], "mode": mode},
        )
        for place, row in enumerate(_sums(3, 200))
    ]
    return Talking(mode, {"train": tasks, "test": tasks[:20]})


def talking():
    return _talking("talking")


def raising():
    return _talking("raising")


def hanging():
    return _talking("hanging")


def speechless():
    return _talking("speechless")


# Advantages, losses and samplers


def heavy(inputs):
    """Weigh a group now and then three thousand times."""
    import mlx.core as mx

    from grpo.advantages import group_advantages

    rare = [3000.0 if random.Random(group.prompt.text).random() < 0.04 else 1.0 for group in inputs.groups]
    return group_advantages(inputs.rewards) * mx.array(rare)[:, None]


def none(inputs):
    return 0 * inputs.rewards


def without_gradient(inputs: "LossInputs") -> "LossOutputs":
    from grpo.types import LossOutputs

    return LossOutputs(-(inputs.sampler_logprobs + 1e-12 * inputs.policy_logprobs) * inputs.mask)


def infinite_at_times(inputs: "LossInputs") -> "LossOutputs":
    import mlx.core as mx

    from grpo.types import LossOutputs

    ratio = mx.exp((inputs.policy_logprobs - inputs.sampler_logprobs) * inputs.mask)
    surprise = mx.where(inputs.policy_logprobs < -9, float("inf"), 0.0)
    return LossOutputs(-ratio * inputs.advantages[:, None] + surprise * inputs.policy_logprobs)


def hotter(inputs: Any) -> Iterator[Any]:
    """Sample at another temperature than the run's."""
    from grpo.rollout.source import engine

    sampling = replace(inputs.request.sampling, temperature=1.6)
    return engine(replace(inputs, request=replace(inputs.request, sampling=sampling)))


def renormalised(inputs: Any) -> Iterator[Any]:
    """Report logprobs of another distribution than was sampled from."""
    from grpo.rollout.source import engine

    for place, group in engine(inputs):
        rollouts = [replace(one, logprobs=tuple(0.7 * logprob for logprob in one.logprobs)) for one in group.rollouts]
        yield place, replace(group, rollouts=tuple(rollouts))


STALE: list[Any] = []


def stale(inputs: Any) -> Iterator[Any]:
    """Sample with the weights of the first step, for ever."""
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_unflatten

    from grpo.rollout.source import engine

    model = inputs.policy.model
    now = tree_flatten(model.parameters())
    if not STALE:
        STALE.extend((name, mx.array(value)) for name, value in now)
    model.update(tree_unflatten(STALE))
    groups = list(engine(inputs))
    model.update(tree_unflatten(now))
    return iter(groups)
