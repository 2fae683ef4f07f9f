"""Fit how a step's seconds grow with samples, completion length, prompt length and number of prompts.

    python -m benchmarks.scaling --model DIR --output benchmarks/results --page RESULTS.md

One of the four grows, the others stay at 8 samples, 32 tokens, a prompt of 128, one prompt. A point is one step
(rollout, then one optimizer update, as in benchmarks.step_speed) after a warm-up of the same shape if it is short;
each axis is gone through --rounds times and medians are fitted: log seconds = exponent x log size + constant, by least
squares. Fixed costs flatten a fit over small sizes, so the exponent between the two largest stands beside it.
"""

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import process

BASE = {"samples": 8, "tokens": 32, "prompt": 128, "prompts": 1}
AXES: dict[str, tuple[int, ...]] = {
    "samples": (4, 8, 16, 32),
    "tokens": (64, 128, 256, 512),
    "prompt": (128, 256, 512, 1024),
    "prompts": (1, 2, 4, 8),
}
PARTS = ("rollout", "learn", "step")
WARM = 32  # tokens of the step that comes before all others


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs=1, help=f"local MLX directory, or {process.MINIATURE}")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), help="which grow (all)")
    parser.add_argument("--largest", type=int, default=512, help="longest completion (512); shorter takes less time")
    process.add_options(parser, rounds=2)
    options = parser.parse_args(arguments)
    process.check_models(parser, options.model or parser.error("--model is needed"))
    if options.largest < AXES["tokens"][1]:
        parser.error(f"--largest must be at least {AXES['tokens'][1]}, got {options.largest}: a fit needs two points")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """All rounds of all axes, the record and the table."""
    options = parse(arguments)
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        axis: {str(size): [] for size in AXES[axis] if axis != "tokens" or size <= options.largest}
        for axis in options.axes
    }
    with tempfile.TemporaryDirectory() as folder:
        ((name, directory),) = process.model_directories(options.model, Path(folder)).items()
        for number in range(options.rounds):
            for axis, points in runs.items():
                task = {"model": directory, "axis": axis, "sizes": [int(size) for size in points]}
                for size, seconds in process.in_process("benchmarks.scaling", task).items():
                    points[size].append(seconds)
                largest = list(points)[-1]
                took = points[largest][-1]["step"]
                print(f"round {number + 1}: {axis} up to {largest}: {took:.1f} s the last step", flush=True)
    fits = {axis: fitted(points) for axis, points in runs.items()}
    record = {"model": name, "base": BASE, "rounds": options.rounds, "seconds": runs, "exponents": fits}
    process.write("scaling", record, table(name, runs, fits), options)
    return 0


def measure(task: dict[str, Any]) -> dict[str, dict[str, float]]:
    """One step at every size of an axis: size -> seconds of its parts."""
    from grpo.cpu.blas import load_blas

    load_blas()
    from benchmarks.step_speed import one_step
    from grpo.learner.learner import Learner

    vocab = process.facts_as_run(task["model"]).vocab
    policy, config = process.load(task["model"], tokens=WARM)
    found = {}
    for place, size in enumerate([task["sizes"][0], *task["sizes"]]):
        shape = BASE | {task["axis"]: size}
        tokens = min(shape["tokens"], WARM) if place == 0 else shape["tokens"]
        keys = {
            "num_generations": shape["samples"],
            "max_completion_length": tokens,
            "max_rows": shape["samples"] * shape["prompts"],
        }
        learner = Learner(policy, config.model_copy(update=keys))
        prompts = process.random_prompts([shape["prompt"]] * shape["prompts"], vocab)
        step = one_step(policy, learner, prompts, place)
        seconds = {part: step[f"{part}_seconds"] for part in ("rollout", "learn")}
        if place > 0:  # the first warms up
            found[str(size)] = {**seconds, "step": sum(seconds.values())}
    return found


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log size, least squares; needs two different sizes."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in seconds]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def fitted(points: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Part -> exponent over all sizes and between the two largest, of medians."""
    sizes = [float(size) for size in points]
    found = {}
    for part in PARTS:
        seconds = [statistics.median(run[part] for run in runs) for runs in points.values()]
        found[part] = {"all": exponent(sizes, seconds), "largest_two": exponent(sizes[-2:], seconds[-2:])}
    return found


def table(
    model: str, runs: dict[str, dict[str, list[dict[str, float]]]], fits: dict[str, dict[str, dict[str, float]]]
) -> str:
    """Markdown: a row an axis."""
    base = ", ".join(f"{name} {value}" for name, value in BASE.items())
    lines = [
        "### Growth",
        "",
        f"{model}; what does not grow: {base}.",
        "",
        "| grows | sizes | step s | exponent | between the two largest | rollout alone | learning alone |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for axis, points in runs.items():
        medians = [statistics.median(run["step"] for run in measured) for measured in points.values()]
        seconds, fit = ", ".join(f"{median:.1f}" for median in medians), fits[axis]
        lines.append(
            f"| {axis} | {', '.join(points)} | {seconds} | {fit['step']['all']:.2f} "
            f"| {fit['step']['largest_two']:.2f} | {fit['rollout']['all']:.2f} | {fit['learn']['all']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(process.run(main, measure))
