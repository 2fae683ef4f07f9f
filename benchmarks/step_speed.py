"""Seconds of a training step, split into rollout and learning, peak memory, share of the matrix product's rate.

    python -m benchmarks.step_speed --model DIR miniature --output benchmarks/results --page RESULTS.md

A step is one prompt with 16 samples of 64 tokens (no stop token), then one optimizer update on them: LoRA of rank 8 on
all linear layers, beta = 0.01, defaults otherwise. Rewards and files are left out; advantages are drawn at random.
Every prompt length is a process of its own, taken in turn; the first step of each warms up and is not counted.

The share is (flops that the update needs) / (seconds of learning x measured rate of a float32 matrix product). Needed
are the policy forward and backward, the reference forward, and the vocabulary at completion tokens, the prompt once;
recomputation that saves memory is not counted (benchmarks/flops.py).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed import process

if TYPE_CHECKING:
    from grpo.learner.learner import Learner
    from grpo.model.policy import Policy
    from grpo.types import Prompt

LONG = 1000


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", nargs="+", help=f"local MLX directories, or {process.MINIATURE}")
    parser.add_argument("--prompt", type=int, nargs="+", default=[process.PROMPT, LONG], help="tokens (130 1000)")
    parser.add_argument("--samples", type=int, default=process.GROUP, help="samples of a prompt (16)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a completion (64)")
    parser.add_argument("--steps", type=int, default=2, help="counted steps of a process (2)")
    process.add_options(parser, rounds=3)
    options = parser.parse_args(arguments)
    process.check_models(parser, options.model or parser.error("--model is needed"))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """All rounds of all models, the record and the table."""
    options = parse(arguments)
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, directory in process.model_directories(options.model, Path(folder)).items():
            runs[name] = _rounds(options, name, directory)
    settings = {"samples": options.samples, "tokens": options.tokens, "rank": process.RANK, "beta": 0.01}
    record = {"settings": settings, "rounds": options.rounds, "steps": options.steps, "runs": runs}
    process.write("step_speed", record, table(runs), options)
    return 0


def _rounds(options: argparse.Namespace, name: str, directory: str) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {str(prompt): [] for prompt in options.prompt}
    for number in range(options.rounds):
        for prompt, measured in runs.items():
            shape = {"samples": options.samples, "tokens": options.tokens, "steps": options.steps}
            measured.append(
                process.in_process("benchmarks.step_speed", {"model": directory, "prompt": int(prompt), **shape})
            )
            seconds = statistics.median(measured[-1]["step_seconds"])
            print(f"{name}, round {number + 1}: prompt of {prompt}: {seconds:.2f} s a step", flush=True)
    return runs


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Some steps in this process."""
    from grpo.cpu.blas import load_blas

    load_blas()
    from benchmarks.speed import flops, machine
    from grpo.learner.learner import Learner

    facts = process.facts_as_run(task["model"])
    policy, config = process.load(task["model"], samples=task["samples"], tokens=task["tokens"])
    prompts = process.random_prompts([task["prompt"]], facts.vocab)
    learner = Learner(policy, config)
    steps = [one_step(policy, learner, prompts, step) for step in range(task["steps"] + 1)][1:]
    resident = process.resident_bytes()
    limits = machine.measure_limits()  # after the work: it takes memory of its own
    work = [flops.Work(task["prompt"], (task["tokens"],) * task["samples"])]
    needed = flops.learning(facts, work, lora=config.lora, reference=True)
    return {
        **{name: [step[name] for step in steps] for name in steps[0]},
        "step_seconds": [step["rollout_seconds"] + step["learn_seconds"] for step in steps],
        "flops": needed,
        "share_of_rate": [needed / step["learn_seconds"] / limits.gflops / 1e9 for step in steps],
        "resident_bytes": resident,
        "limits": asdict(limits),
    }


def one_step(policy: "Policy", learner: "Learner", prompts: "Sequence[Prompt]", step: int) -> dict[str, float]:
    """Sample and learn once: seconds and peak bytes of both halves."""
    import mlx.core as mx
    import numpy as np

    from grpo.rollout.engine import Request, generate
    from grpo.rollout.sampler import Sampling

    config = learner.config
    request = Request(
        config.num_generations,
        config.max_completion_length,
        Sampling(config.temperature),
        seed=config.seed,
        step=step,
        max_rows=config.max_rows,
        merge_adapter=config.merge_adapter,
    )
    mx.reset_peak_memory()
    start = time.perf_counter()
    groups = [group for _, group in sorted(generate(policy, prompts, request), key=lambda pair: pair[0])]
    decoded, rollout_peak = time.perf_counter(), mx.get_peak_memory()
    advantages = np.random.default_rng(step).normal(size=(len(groups), config.num_generations)).tolist()
    mx.reset_peak_memory()
    begun = time.perf_counter()
    learner.learn(groups, advantages, step)
    return {
        "rollout_seconds": decoded - start,
        "learn_seconds": time.perf_counter() - begun,
        "rollout_peak_bytes": rollout_peak,
        "learn_peak_bytes": mx.get_peak_memory(),
    }


def middle(runs: Sequence[dict[str, Any]], name: str) -> float:
    """Median over all counted steps of all rounds."""
    return statistics.median(value for run in runs for value in run[name])


def table(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Markdown: a row a model and prompt length; learning on each against the first below."""
    lines = [
        "### Training step",
        "",
        "| model | prompt | rollout s | learning s | step s | share of the rate, learning | peak of MLX, learning "
        "| peak resident |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for model, lengths in runs.items():
        for prompt, measured in lengths.items():
            seconds = " | ".join(f"{middle(measured, f'{part}_seconds'):.2f}" for part in ("rollout", "learn", "step"))
            peak = middle(measured, "learn_peak_bytes") / 1e9
            resident = statistics.median(run["resident_bytes"] for run in measured) / 1e9
            share = f"{middle(measured, 'share_of_rate'):.0%}"
            lines.append(f"| {model} | {prompt} | {seconds} | {share} | {peak:.2f} GB | {resident:.2f} GB |")
    lines.append("")
    for model, lengths in runs.items():
        first, *others = lengths
        for prompt in others:
            ratio = middle(lengths[prompt], "learn_seconds") / middle(lengths[first], "learn_seconds")
            lines.append(f"- {model}: learning on a prompt of {prompt} takes {ratio:.2f} times that on {first}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(process.run(main, measure))
