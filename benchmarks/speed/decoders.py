"""The decoders that benchmarks.rollout_speed times, ours and mlx_lm's, and how some rows are made to stop early."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpo.model.policy import Policy
    from grpo.types import Prompt

EARLY, WITHIN = 12, 32  # of a ragged group of 16, 12 rows stop within 32 tokens


@dataclass(frozen=True)
class Decoded:
    """One timed decoding."""

    seconds: float  # from prompts to all completions with the logprob of every token
    stepping_seconds: float  # from the first token of the rows to the last: without the prompt
    lengths: tuple[int, ...]  # tokens of each row
    tokens: tuple[tuple[int, ...], ...] = ()  # [rows][time], where wanted


def ours(policy: "Policy", prompts: "Sequence[Prompt]", *, samples: int, tokens: int, seed: int = 0) -> Decoded:
    """grpo.rollout.engine.generate, as a training step calls it."""
    from grpo.rollout.engine import Request, generate
    from grpo.rollout.sampler import Sampling

    request = Request(samples, tokens, Sampling(1.0), seed=seed, max_rows=samples * len(prompts))
    ticks: list[float] = []
    start = time.perf_counter()
    groups = sorted(generate(policy, prompts, request, lambda _: ticks.append(time.perf_counter())))
    seconds = time.perf_counter() - start
    rows = tuple(rollout.tokens for _, group in groups for rollout in group.rollouts)
    return Decoded(seconds, ticks[-1] - ticks[0], tuple(map(len, rows)), rows)


def theirs(
    model: Any, prompt: Sequence[int], lengths: Sequence[int], *, seed: int = 0, prompt_once: bool = False
) -> Decoded:
    """mlx_lm's BatchGenerator, a row a sample, each row's length given.

    The logprob of every token is read as its own batch_generate does. `prompt_once` hands every row a copy of the
    prompt's cache, which its API allows; otherwise every row computes the prompt.
    """
    import mlx.core as mx
    from mlx_lm.generate import BatchGenerator

    rows = len(lengths)
    start = time.perf_counter()
    generator = BatchGenerator(
        model,
        sampler=_plain_sampler(seed),
        completion_batch_size=rows,
        prefill_batch_size=rows,
    )
    left, caches = prompt, None
    if prompt_once:
        left, caches = prompt[-1:], _copies(model, prompt[:-1], rows)
    uids = generator.insert([list(left) for _ in range(rows)], max_tokens=list(lengths), caches=caches)
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    logprobs: dict[int, list[float]] = {uid: [] for uid in uids}
    first = 0.0
    while responses := generator.next_generated():
        for one in responses:
            tokens[one.uid].append(one.token)
            logprobs[one.uid].append(one.logprobs[one.token].item())
        first = first or time.perf_counter()
    end = time.perf_counter()
    generator.close()
    mx.synchronize()
    found = tuple(tuple(tokens[uid]) for uid in uids)
    return Decoded(end - start, end - first, tuple(map(len, found)), found)


def _plain_sampler(seed: int) -> Any:
    import mlx.core as mx

    mx.random.seed(seed)
    return mx.random.categorical  # of logprobs: temperature 1, nothing filtered


def _copies(model: Any, prompt: Sequence[int], rows: int) -> list[list[Any]]:
    import copy

    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    model(mx.array([list(prompt)]), cache=cache)
    mx.eval([part.state for part in cache])
    return [copy.deepcopy(cache) for _ in range(rows)]


def stop_tokens(rows: Sequence[Sequence[int]], *, early: int = EARLY, within: int = WITHIN) -> set[int]:
    """Tokens that, were they stop tokens, would end `early` of these rows within `within` tokens and no other.

    The rows are a decoding without stop tokens; under the same seed ours writes the same again until one of them
    appears, so rows end by the path on which a model's own stop token ends them. Raises ValueError if there are none:
    rows too much alike.
    """
    rng = random.Random(0)
    for _ in range(200):
        order = rng.sample(range(len(rows)), len(rows))
        going_on = {token for row in order[early:] for token in rows[row]}
        chosen: set[int] = set()
        for place, row in enumerate(order[:early]):
            aimed = within * (place + 1) // early  # lengths from short to `within`
            ends = [token for token in rows[row][:within] if token not in going_on]
            if not ends:
                break
            chosen.add(ends[min(aimed, len(ends)) - 1])
        else:
            return chosen
    raise ValueError(f"no tokens end {early} of {len(rows)} rows within {within} tokens and leave the others alone")
