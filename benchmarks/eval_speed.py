"""Tokens a second of an evaluation, ours and mlx_lm.batch_generate's, on the same prompts, interleaved.

    python -m benchmarks.eval_speed --model DIR_OR_HUB_ID --data gsm8k_test.jsonl --output runs/eval_speed

--problems x --samples rows are decoded together by both (8 x 4 = 32), with the same weights, prompts, temperature,
top-p and limit; each side stops at its own stop tokens. Ours computes a prompt once for its samples. mlx_lm filters
top-p before the temperature (ours after it), so its texts are of another distribution; --greedy compares without
samplers. What is counted: generated tokens, prompt time included, divided by seconds. Medians over --rounds; the first
round of each warms up and is not counted. Needs mlx_lm with batch_generate.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.printable import say


@dataclass(frozen=True)
class Side:
    """One of the two: its name, and a round of work that returns how many tokens it generated."""

    name: str
    work: Callable[[int], int]  # the round's number -> tokens


def main(arguments: Sequence[str] | None = None) -> int:
    """Write eval_speed.json and eval_speed.md."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.eval_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSONL of questions")
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--greedy", action="store_true", help="the likeliest tokens instead")
    parser.add_argument("--rounds", type=int, default=5, help="counted ones")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    from envs import DataError
    from grpo.config.sections import ConfigError

    try:
        return measure(options)
    except (ConfigError, DataError) as error:
        say(f"error: {error}", sys.stderr)
        return 2


def measure(options: argparse.Namespace) -> int:
    """Load once, then take turns."""
    from grpo.cpu.blas import load_blas

    load_blas()
    from benchmarks.gsm8k import BENCHMARK
    from benchmarks.harness.model import load_for_sampling, surroundings
    from benchmarks.harness.problems import load_problems
    from benchmarks.harness.settings import Settings
    from benchmarks.harness.templates import render

    greedy = {"temperature": 0.0, "top_p": 1.0} if options.greedy else {}
    settings = Settings(
        model=options.model,
        data=options.data,
        limit=options.problems,
        samples=options.samples,
        max_tokens=options.max_tokens,
        **{"temperature": options.temperature, "top_p": options.top_p, **greedy},
    )
    policy = load_for_sampling(settings)
    prompts = [render(task, policy.tokenizer, settings) for task in load_problems(BENCHMARK, settings).tasks]
    sides = [ours(policy, prompts, settings), mlx_lm_side(policy, prompts, settings)]
    rates = _take_turns(sides, options.rounds)
    record = {
        "settings": settings.model_dump(mode="json"),
        "rows": options.problems * options.samples,
        "tokens_per_second": rates,
        "medians": {name: statistics.median(values) for name, values in rates.items()},
        **surroundings(),
    }
    first, second = record["medians"].values()
    record["ratio"] = first / second
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "eval_speed.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    text = _table(record)
    (options.output / "eval_speed.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def _take_turns(sides: Sequence[Side], rounds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):  # neither always runs on the warmer machine
            start = time.perf_counter()
            tokens = side.work(number)
            rate = tokens / (time.perf_counter() - start)
            print(f"round {number}: {side.name} {rate:.1f} tokens/s", file=sys.stderr, flush=True)
            if number:
                rates[side.name].append(rate)
    return rates


def ours(policy: Any, prompts: Sequence[Any], settings: Any) -> Side:
    """grpo.rollout.engine as benchmarks.harness.engine calls it."""
    from grpo.rollout.engine import Request, generate
    from grpo.rollout.sampler import Sampling

    sampling = Sampling(settings.temperature, settings.top_p)
    rows = len(prompts) * settings.samples

    def work(number: int) -> int:
        request = Request(settings.samples, settings.max_tokens, sampling, seed=number, stream="eval", max_rows=rows)
        return sum(len(row.tokens) for _, group in generate(policy, prompts, request) for row in group.rollouts)

    return Side("grpo-mlx", work)


def mlx_lm_side(policy: Any, prompts: Sequence[Any], settings: Any) -> Side:
    """mlx_lm.batch_generate, every row with its own copy of the prompt, all rows in one batch."""
    import mlx.core as mx
    from mlx_lm.generate import batch_generate
    from mlx_lm.sample_utils import make_sampler

    rows = [list(prompt.tokens) for prompt in prompts for _ in range(settings.samples)]
    sampler = make_sampler(temp=settings.temperature, top_p=settings.top_p if settings.top_p < 1 else 0.0)

    def work(number: int) -> int:
        mx.random.seed(number)
        made = batch_generate(
            policy.model,
            policy.tokenizer,
            rows,
            max_tokens=settings.max_tokens,
            sampler=sampler,
            completion_batch_size=len(rows),
            prefill_batch_size=len(rows),
            return_token_ids=True,
        )
        assert made.token_ids is not None  # asked for
        # it drops the stop token, which was generated all the same
        return sum(len(ids) + (len(ids) < settings.max_tokens) for ids in made.token_ids)

    return Side("mlx_lm.batch_generate", work)


def _table(record: dict[str, Any]) -> str:
    rows = ["| | tokens/s (median) | all rounds |", "|---|---|---|"]
    for name, values in record["tokens_per_second"].items():
        rows.append(f"| {name} | {record['medians'][name]:.1f} | " + ", ".join(f"{v:.1f}" for v in values) + " |")
    return "\n".join(rows) + f"\n\n{record['rows']} rows; ratio {record['ratio']:.2f}\n"


if __name__ == "__main__":
    sys.exit(main())
