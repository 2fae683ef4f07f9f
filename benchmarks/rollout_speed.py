"""Tokens a second of our rollout engine against mlx_lm's BatchGenerator, peak memory, share of the machine's limit.

    python -m benchmarks.rollout_speed --model DIR --output benchmarks/results --page RESULTS.md

One prompt of 130 tokens, 16 samples of 128 tokens at temperature 1, no stop token; the same with 12 rows that stop
within 32 tokens; 8 prompts x 16 samples in one rollout. Every decoding is a process of its own, sides take turns.
Seconds run from the prompts' tokens to the last completion, every token with its logprob. Ours carries a fresh LoRA
adapter of rank 8 on every linear layer and merges it within that time; mlx_lm runs the bare model. Both have the same
BLAS, ours with grpo.cpu.few_rows before it, which comes with this package.

Lengths of the ragged group: ours decodes once without stop tokens and untimed, tokens are picked that end 12 of those
rows early and occur in none of the others, and become the stop tokens of the timed decoding under the same seed.
mlx_lm draws other tokens, so its rows are given the very same lengths by its own max_tokens, a row each, which costs
it no more than a stop token would. A vocabulary of a few words leaves no such tokens: there this pair is left out.

The limit of decoding is the larger of reading the weights once a step (at the rate of a copy) and the step's flops (at
the rate of a float32 matrix product), both measured in each process just after the work. The prompt is not in it.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed import process

if TYPE_CHECKING:
    from benchmarks.speed.decoders import Decoded

SIDES = {
    "ours": "ours",
    "theirs": "mlx_lm BatchGenerator",
    "theirs_prompt_once": "mlx_lm BatchGenerator, given the prompt's cache",
    "ours_ragged": "ours, 12 of 16 stop early",
    "theirs_ragged": "mlx_lm BatchGenerator, 12 of 16 stop early",
    "ours_many": "ours, 8 prompts",
}
COMPARED = (("ours", "theirs"), ("ours", "theirs_prompt_once"), ("ours_ragged", "theirs_ragged"), ("ours_many", "ours"))
RAGGED = ("ours_ragged", "theirs_ragged")
ENOUGH_WORDS = 5000  # of a vocabulary, for rows of 128 tokens to have some of their own
WARMUP = 8  # tokens
REPEATS, ENOUGH_SECONDS = 5, 4.0  # a short decoding is repeated in its process so long, and the median one counts


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollout_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", nargs="+", help=f"local MLX directories, or {process.MINIATURE}")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a completion (128)")
    parser.add_argument("--prompts", type=int, default=8, help="prompts of the large rollout (8)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="leave some out")
    process.add_options(parser, rounds=3)
    options = parser.parse_args(arguments)
    process.check_models(parser, options.model or parser.error("--model is needed"))
    if options.tokens < 40:
        parser.error(f"--tokens must be at least 40, got {options.tokens}: the ragged rows stop within 32")
    if "theirs_ragged" in options.sides and "ours_ragged" not in options.sides:
        parser.error("--sides theirs_ragged needs ours_ragged: it decodes the lengths that came out there")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """All rounds of all models, the record and the table."""
    options = parse(arguments)
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, directory in process.model_directories(options.model, Path(folder)).items():
            runs[name] = _rounds(options, name, directory)
    record = {
        "settings": {
            "prompt": process.PROMPT,
            "samples": process.GROUP,
            "tokens": options.tokens,
            "rank": process.RANK,
        },
        "rounds": options.rounds,
        "runs": runs,
        "ratios": {name: ratios(sides) for name, sides in runs.items()},
    }
    process.write("rollout_speed", record, table(runs), options)
    return 0


def _rounds(options: argparse.Namespace, name: str, directory: str) -> dict[str, list[dict[str, Any]]]:
    from grpo.model.facts import facts_of_directory

    enough = facts_of_directory(Path(directory)).vocab >= ENOUGH_WORDS
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides if enough or side not in RAGGED}
    for number in range(options.rounds):
        for side in runs:
            task = {"model": directory, "side": side, "tokens": options.tokens, "prompts": options.prompts}
            if side == "theirs_ragged":
                task["lengths"] = runs["ours_ragged"][-1]["lengths"]
            runs[side].append(process.in_process("benchmarks.rollout_speed", task))
            print(f"{name}, round {number + 1}: {SIDES[side]}: {runs[side][-1]['rate']:.1f} tokens/s", flush=True)
    return runs


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """One decoding, in this process."""
    from grpo.cpu import few_rows
    from grpo.cpu.blas import load_blas

    if task["side"].startswith("theirs"):
        os.environ[few_rows.DISABLE_VARIABLE] = "none"
    load_blas()
    import mlx.core as mx

    from benchmarks.speed import flops, machine

    decode, facts = _prepared(task)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    decoded = repeated(decode)
    peak, resident = mx.get_peak_memory(), process.resident_bytes()
    limits = machine.measure_limits()  # after the work: it takes memory of its own
    samples = process.GROUP
    groups = [
        flops.Work(process.PROMPT, decoded.lengths[start : start + samples])
        for start in range(0, len(decoded.lengths), samples)
    ]
    bound = bound_seconds(facts, decoded.lengths, limits.gflops, limits.bandwidth)
    return {
        "rate": sum(decoded.lengths) / decoded.seconds,
        "seconds": decoded.seconds,
        "stepping_seconds": decoded.stepping_seconds,
        "bound_seconds": bound,
        "share_of_bound": bound / decoded.stepping_seconds,
        "lengths": decoded.lengths,
        "weights_bytes": before,
        "cache_bytes": flops.cache_bytes(facts, groups),
        "peak_bytes": peak,
        "resident_bytes": resident,
        "limits": asdict(limits),
    }


def repeated(decode: "Callable[[], Decoded]") -> "Decoded":
    """The median decoding of several, if they are short; of one, if it is not."""
    runs = [decode()]
    while len(runs) < REPEATS and sum(run.seconds for run in runs) < ENOUGH_SECONDS:
        runs.append(decode())
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def _prepared(task: dict[str, Any]) -> tuple[Any, Any]:
    """Return the warmed-up function to time, and the model's facts."""
    from benchmarks.speed import decoders

    side, tokens = task["side"], task["tokens"]
    facts = process.facts_as_run(task["model"])
    count = task["prompts"] if side == "ours_many" else 1
    prompts = process.random_prompts([process.PROMPT] * count, facts.vocab)
    if side.startswith("theirs"):
        model = _bare(task["model"])
        once = side == "theirs_prompt_once"
        lengths = task.get("lengths", [tokens] * process.GROUP)
        decoders.theirs(model, prompts[0].tokens, [WARMUP] * process.GROUP, prompt_once=once)
        return lambda: decoders.theirs(model, prompts[0].tokens, lengths, prompt_once=once), facts
    policy, _ = process.load(task["model"], tokens=tokens)
    ragged = side == "ours_ragged"
    untimed = decoders.ours(policy, prompts, samples=process.GROUP, tokens=tokens if ragged else WARMUP)
    if ragged:
        policy.tokenizer.eos_token_ids = decoders.stop_tokens(untimed.tokens)
    return lambda: decoders.ours(policy, prompts, samples=process.GROUP, tokens=tokens), facts


def _bare(directory: str) -> Any:
    import mlx.core as mx
    from mlx_lm import load

    model = load(directory)[0]
    if mx.default_device().type == mx.DeviceType.cpu:  # as ours: products of 16-bit floats go past the BLAS
        model.set_dtype(mx.float32)
    return model


def bound_seconds(facts: Any, lengths: Sequence[int], gflops: float, bandwidth: float) -> float:
    """Least seconds of all steps after the first token of the rows.

    At a step, rows that have more tokens to come see the prompt and what they have written.
    """
    from benchmarks.speed.flops import decoding_bound

    total = 0.0
    for step in range(1, max(lengths)):
        contexts = [process.PROMPT + step for length in lengths if length > step]
        total += decoding_bound(facts, contexts, gflops=gflops, bandwidth=bandwidth)
    return total


def middle(runs: Sequence[dict[str, Any]], name: str) -> float:
    """Median over the rounds."""
    return statistics.median(run[name] for run in runs)


def ratios(sides: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Tokens a second of one side over another's, medians."""
    return {
        f"{left} / {right}": middle(sides[left], "rate") / middle(sides[right], "rate")
        for left, right in COMPARED
        if sides.get(left) and sides.get(right)
    }


def table(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Markdown: a row a model and side, ratios below."""
    lines = [
        "### Rollout",
        "",
        "| model | | tokens | tokens/s | share of the limit | peak of MLX | peak resident |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for model, sides in runs.items():
        for side, measured in sides.items():
            tokens, rate = sum(measured[0]["lengths"]), middle(measured, "rate")
            peak, resident = middle(measured, "peak_bytes") / 1e9, middle(measured, "resident_bytes") / 1e9
            share = middle(measured, "share_of_bound")
            row = f"| {model} | {SIDES[side]} | {tokens} | {rate:.0f} | {share:.0%} | {peak:.2f} GB |"
            lines.append(f"{row} {resident:.2f} GB |")
    lines.append("")
    for model, sides in runs.items():
        said = "; ".join(
            f"{SIDES[left]} against {SIDES[right]}: {middle(sides[left], 'rate') / middle(sides[right], 'rate'):.2f}x"
            for left, right in COMPARED
            if sides.get(left) and sides.get(right)
        )
        lines.append(f"- {model}: {said}.")
        if sides.get("ours") and sides.get("ours_many"):
            peak, cache = (
                (middle(sides["ours_many"], name) - middle(sides["ours"], name)) / 1e9
                for name in ("peak_bytes", "cache_bytes")
            )
            lines.append(
                f"- {model}: {SIDES['ours_many']}: the peak grows by {peak:.2f} GB, keys and values by {cache:.2f}."
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(process.run(main, measure))
