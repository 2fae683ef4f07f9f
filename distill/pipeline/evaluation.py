"""Every stage on the same held-out problems with the same random numbers: figures a task, kept beside the stage."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import envs
from distill.pipeline.products import Product, digest, hash_of, named_files
from distill.pipeline.sections import HeldOut
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.evaluate.intervals import interval
from grpo.model.frozen import load_teacher
from grpo.model.policy import Policy
from grpo.opening import reward_set
from grpo.rollout.engine import Request, generate
from grpo.rollout.prompts import fitting
from grpo.rollout.sampler import Sampling
from grpo.rollout.stopping import stops
from grpo.runs.checkpoint import write_text
from grpo.runs.interrupt import StopFlag
from grpo.scoring import Scorer, results

FILE, LENGTH = "held_out.json", "length"
Z = 1.96  # 95%


@dataclass(frozen=True)
class Figure:
    """A mean over tasks with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """A model on the held-out problems: name -> the mean of each task's samples, None where none has a value."""

    key: str  # hash of model, problems and sampling
    tasks: dict[str, list[float | None]]  # every reward, and length (tokens)

    def figure(self, name: str) -> Figure | None:
        """Mean and interval over the tasks that have a value; None if none has one."""
        values = [value for value in self.tasks[name] if value is not None]
        if not values:
            return None
        if name == LENGTH:
            return normal(values)
        return Figure(float(np.mean(values)), *interval(values))


def difference(one: Measured, other: Measured, name: str) -> Figure | None:
    """Return one - other, task by task: the interval is of the paired differences."""
    pairs = zip(one.tasks[name], other.tasks[name], strict=True)
    values = [first - second for first, second in pairs if first is not None and second is not None]
    return normal(values) if values else None


def normal(values: Sequence[float]) -> Figure:
    """Mean -+ 1.96 standard errors; with fewer than two values the interval is that value."""
    mean = float(np.mean(values))
    half = Z * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Figure(mean, mean - half, mean + half)


def measured(product: Product, sets: Sequence[HeldOut], folder: Path, seed: int) -> Measured:
    """The figures in `folder`, measured if they are not there for this model and these problems."""
    settings = [held_out.model_dump(mode="json") for held_out in sets]
    key = hash_of([digest(product), settings, named_files(settings), seed])
    try:
        found = Measured(**json.loads((folder / FILE).read_text()))
        if found.key == key:
            return found
    except (OSError, ValueError, TypeError):
        pass
    result = Measured(key, measure(product, sets, seed))
    write_text(folder / FILE, json.dumps(asdict(result)))
    return result


def measure(product: Product, sets: Sequence[HeldOut], seed: int) -> dict[str, list[float | None]]:
    """Sample and score each set of held-out problems; the length is of the first.

    Raises Interrupted on a signal, ConfigError or envs.DataError for what the user can put right.
    """
    policy = load_teacher(str(product.model), product.adapter)
    tasks: dict[str, list[float | None]] = {}
    for held_out in reversed(sets):
        tasks |= _measured(policy, held_out, seed)
    return tasks


def _measured(policy: Policy, held_out: HeldOut, seed: int) -> dict[str, list[float | None]]:
    config = rendering_of(held_out, seed)
    env = envs.make(held_out.data, **{"seed": seed, **held_out.data_options})
    prompts, _ = fitting(env.tasks(held_out.split)[: held_out.tasks], policy.tokenizer, config, held_out.split)
    if len(prompts) < 2:
        raise ConfigError(f"held_out: {held_out.data} has {len(prompts)} problems in {held_out.split}, needs 2 or more")
    request = Request(
        samples=held_out.samples,
        max_tokens=held_out.max_completion_length,
        sampling=Sampling(held_out.temperature, held_out.top_p),
        seed=seed,
        stream="eval",
        max_rows=held_out.max_rows,
        stops=stops(config, policy.tokenizer),
    )
    scorer = Scorer(reward_set(config), held_out.max_completion_length)
    try:
        with StopFlag() as stop:
            found = sorted(generate(policy, prompts, request, lambda _: stop.check()), key=lambda pair: pair[0])
            groups = [group for _, group in found]
            scored = results([scorer.submit(group) for group in groups], stop.check)
    finally:
        scorer.close()
    tasks: dict[str, list[float | None]] = {
        name: [_mean(one.values[name]) for one in scored] for name in held_out.rewards
    }
    tasks[LENGTH] = [_mean([float(len(rollout.tokens)) for rollout in group.rollouts]) for group in groups]
    return tasks


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def rendering_of(held_out: HeldOut, seed: int) -> Config:
    """Return the settings that rendering and rewards read."""
    return Config(
        data=held_out.data,
        data_options=held_out.data_options,
        template=held_out.template,
        system_prompt=held_out.system_prompt,
        max_prompt_length=held_out.max_prompt_length,
        reward_weights=dict.fromkeys(held_out.rewards, 1.0),
        reward_options=held_out.reward_options,
        seed=seed,
    )
