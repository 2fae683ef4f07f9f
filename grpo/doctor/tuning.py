"""`python -m grpo.doctor --tune`: how many rows to decode, and tokens to learn from, at a time on this machine.

Sizes are tried from small to large with the config's model, until one is no faster than the one before it, memory
would not do, or ten seconds are over. The smallest that is nearly as fast as the fastest is taken.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.doctor.report import Report

if TYPE_CHECKING:
    from grpo.model.facts import ModelFacts
    from grpo.model.policy import Policy

SECONDS = 10.0  # of all measurements, loading the model apart
ROWS = (16, 32, 64, 128, 256, 512)
BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)
NEAR = 0.95  # of the best rate
PROMPT, DRAWN = 32, 16  # tokens of the prompt, and of each completion that is decoded
ROW = 256  # tokens of a row to learn from, at most
SHARE = 0.8  # of the memory there is


def tune(report: Report, config: Config, facts: "ModelFacts | None") -> dict[str, int]:
    """Measure, say what was found, and return the values of max_rows and token_budget."""
    from grpo.model.loading import load_policy

    if config.model == "miniature":
        raise ConfigError("--tune measures a model of yours: give model=DIR or a hub id")
    policy = load_policy(config, config.model)
    found = {}
    for key, sizes, rate, does in (
        ("max_rows", ROWS, partial(sampling_rate, policy, config), "sampled"),
        ("token_budget", BUDGETS, partial(learning_rate, policy, config), "learned from"),
    ):
        fits = partial(_fits, config, facts, key)
        rates = measured([size for size in sizes if fits(size)], rate, seconds=SECONDS / 2)
        if not rates:
            report.say("warn", key, f"not even {sizes[0]} fit into memory: left as it is")
            continue
        found[key] = chosen(rates)
        told = ", ".join(f"{size}: {value:.0f}" for size, value in rates.items())
        report.say("ok", key, f"{found[key]} (tokens a second {does} at {told})")
    return found


def measured(
    sizes: Sequence[int], rate: Callable[[int], float], *, seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[int, float]:
    """Return the rate at each of these ascending sizes, as far as time goes and it rises.

    A size is left out if it would take longer than what is left, going by the one before it.
    """
    rates: dict[int, float] = {}
    begun, took = clock(), 0.0
    for place, size in enumerate(sizes):
        start = clock()
        if place and start - begun + took * size / sizes[place - 1] > seconds:
            break
        rates[size] = rate(size)
        took = clock() - start
        if rates[size] < NEAR * max(rates.values()):
            break
    return rates


def chosen(rates: dict[int, float]) -> int:
    """Return the smallest size whose rate is near the best."""
    return min(size for size, value in rates.items() if value >= NEAR * max(rates.values()))


def sampling_rate(policy: "Policy", config: Config, rows: int) -> float:
    """Return tokens a second of `rows` completions decoded together, after a run that warms up."""
    from envs import Task
    from grpo.rollout.engine import Request, generate
    from grpo.rollout.sampler import Sampling
    from grpo.rollout.stopping import Stops
    from grpo.types import Prompt

    prompt = Prompt(Task("tune", "", {}), tuple(range(1, PROMPT + 1)), "")

    def run(tokens: int) -> float:
        request = Request(
            rows,
            tokens,
            Sampling(config.temperature),
            seed=0,
            max_rows=rows,
            merge_adapter=config.merge_adapter,
            kv_bits=config.kv_bits,
            stops=Stops(frozenset()),
        )
        start = time.monotonic()
        list(generate(policy, [prompt], request))
        return time.monotonic() - start

    run(1)
    return rows * DRAWN / run(DRAWN)


def learning_rate(policy: "Policy", config: Config, budget: int) -> float:
    """Return tokens a second of a gradient on one micro-batch that fills the budget, after one that warms up."""
    import mlx.core as mx

    from envs import Task
    from grpo.learner.batching import pack
    from grpo.learner.learner import Learner
    from grpo.types import Group, Prompt, Rollout

    length = min(ROW, config.max_completion_length, budget // 2)
    rows = budget // length
    tokens = tuple(1 + place % PROMPT for place in range(length))
    rollout = Rollout(tokens, (-1.0,) * length, (1.0,) * length, "", "stop")
    group = Group(Prompt(Task("tune", "", {}), tuple(range(1, PROMPT + 1)), ""), (rollout,) * rows)
    keys = {"token_budget": budget, "prompts_per_step": 1, "num_updates": 1, "num_generations": rows}
    learner = Learner(policy, config.model_copy(update=keys))
    policy.model.train()
    policy.freeze_reference()
    counts = learner.objective.counts([group])
    bundles = pack([group], [[1.0] * rows], token_budget=budget, lanes=learner.gradients.lanes)

    def run() -> float:
        start = time.monotonic()
        for bundle in bundles:
            mx.eval(learner.gradients.loss_and_gradient(bundle, counts).gradient)
        return time.monotonic() - start

    run()
    seconds = run()
    policy.unmerge()
    policy.model.eval()
    return rows * length / seconds


def _fits(config: Config, facts: "ModelFacts | None", key: str, size: int) -> bool:
    """Return whether memory does for a size; what would need gradient_checkpointing does not count, it is slower."""
    import mlx.core as mx

    from grpo.memory.available import available_bytes
    from grpo.memory.device import evaluation_tokens
    from grpo.memory.estimate import estimate
    from grpo.memory.plan import RECOMPUTED_FROM

    if facts is None:
        return size <= int(getattr(config, key))
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    enough = config.model_copy(update={key: size, "prompts_per_step": -(-size // config.num_generations)})
    need = estimate(enough, facts, on_cpu=on_cpu)
    fits = need.total_bytes <= SHARE * available_bytes()[0]
    if key == "token_budget":
        most = evaluation_tokens(facts)
        fits = fits and need.activations <= RECOMPUTED_FROM and (most is None or size <= most)
    return fits
