"""Every algorithm on the tiny task: several seeds and a control from one base model, as a table and a picture.

    python -m benchmarks.ablation --output runs/ablation [--arms grpo dapo ...] [--seeds 1 2 3] [--page RESULTS.md]
    [key=value ...]

The base, the quickstart's miniature after its cold start, is made once. Every arm is a run of `grpo.train` on it, in
this process; one that is finished is not run again. Steps to 0.85 are of held-out accuracy, evaluated every 5 steps;
entropy is that of the last step. An arm that needs more than 1.5 times grpo's steps is marked: what doesn't learn stays
in the table.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from benchmarks.harness import arms

GOAL, SLOWER = 0.85, 1.5
CONTROL = "random rewards"
FREE = ["beta=0.0"]
# arm -> its keys; presets first, then what differs from grpo in one thing
ARMS: dict[str, list[str]] = {
    "grpo": ["algorithm=grpo"],
    "dr_grpo": ["algorithm=dr_grpo"],
    "dapo": ["algorithm=dapo"],
    "gspo": ["algorithm=gspo"],
    "cispo": ["algorithm=cispo"],
    "rloo": ["algorithm=rloo"],
    "reinforce_pp": ["algorithm=reinforce_pp"],
    "sapo": ["algorithm=sapo"],
    "dppo": ["algorithm=dppo"],
    "dppo, kl": ["algorithm=dppo", "divergence=kl", "epsilon=0.05", "epsilon_high=0.05"],
    "gmpo": ["loss_type=gmpo", "epsilon=0.4", *FREE],
    "luspo": ["loss_type=luspo", "epsilon=3e-4", "epsilon_high=4e-4", *FREE],
    "max_rl": ["advantage=max_rl"],
    "pass_at_k": ["advantage=pass_at_k", "pass_k=4"],
    "reinforce_pp_baseline": ["advantage=reinforce_pp_baseline"],
    "entropy bonus": ["entropy_coef=0.01"],
    "top entropy": ["top_entropy_quantile=0.2"],
    "clip-cov": ["covariance=clip_cov", "covariance_share=0.01", "covariance_range=[0.5, 5.0]"],
    "kl-cov": ["covariance=kl_cov", "covariance_share=0.01"],
    "muon": ["optimizer=muon"],
    "G 4": ["num_generations=4", "prompts_per_step=64"],
    "G 64": ["num_generations=64", "prompts_per_step=4"],
    "beta 0": FREE,
    "beta 0.1": ["beta=0.1"],
    "rate x 3": ["learning_rate=6e-4"],
    "rate / 3": ["learning_rate=6.7e-5"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every arm that is not finished, then write record, table and picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="leave some out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run of each arm")
    parser.add_argument("--no-control", action="store_true", help="leave the run with random rewards out")
    parser.add_argument("--output", type=Path, required=True, help="base, runs, record.json, table.md, curves.png")
    parser.add_argument("--page", type=Path, help="page whose section <!-- ablation --> is rewritten")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys for every arm")
    options = parser.parse_intermixed_args(arguments)
    base = _base(options.output)
    wanted = {arm: [(seed, ARMS[arm]) for seed in options.seeds] for arm in options.arms}
    if not options.no_control:
        wanted[CONTROL] = [(options.seeds[0], ["control=random_reward"])]
    runs: dict[str, list[dict[str, Any]]] = {}
    for arm, seeds in wanted.items():
        for seed, keys in seeds:
            folder = options.output / f"{arm.replace(' ', '_').replace(',', '').replace('/', 'over')}-{seed}"
            code = _run(folder, base, [f"seed={seed}", *options.overrides, *keys])
            if code != 0:
                return code
            runs.setdefault(arm, []).append(_read(folder))
    _write(options, runs)
    return 0


def _base(output: Path) -> Path:
    """Make the model that all arms start from, unless it is there."""
    from grpo.config.sections import ColdStart
    from grpo.cpu.blas import load_blas
    from grpo.train import QUICKSTART

    folder = output / "base"
    if not (folder / "config.json").exists():
        load_blas()
        from grpo.model import miniature

        print("making the base", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        miniature.build(folder, ColdStart(**yaml.safe_load(QUICKSTART.read_text())["cold_start"]), seed=1)
    return folder


def _run(folder: Path, base: Path, keys: list[str]) -> int:
    from grpo.train import QUICKSTART
    from grpo.train import main as train

    fixed = [f"model={base}", "eval_every=5", "eval_greedy=false", "completions_every=0", "save_every=0"]
    return arms.run_once(folder, train, ["--config", str(QUICKSTART), *fixed, *keys])


def _read(folder: Path) -> dict[str, Any]:
    """Return what a finished run learned, and how fast."""
    metrics, summary = arms.read(folder)
    points = arms.held_out(metrics, summary)
    return {
        "points": points,
        "steps_to_goal": next((step for step, accuracy in points if accuracy >= GOAL), None),
        "accuracy": summary["after"]["accuracy"],
        "interval": [summary["after"]["accuracy_low"], summary["after"]["accuracy_high"]],
        "entropy": metrics[-1]["entropy"],
        "seconds": summary["seconds"],
    }


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: one row an arm; means over seeds, the interval over tasks if there is one seed, else over seeds."""
    rows = ["| arm | seeds | steps to 0.85 | final accuracy | entropy left | |", "|---|---:|---:|---:|---:|---|"]
    reference = _steps(runs["grpo"]) if "grpo" in runs else None
    for arm, found in runs.items():
        steps, accuracies = _steps(found), [run["accuracy"] for run in found]
        reached = sum(run["steps_to_goal"] is not None for run in found)
        shown = (
            "never"
            if steps is None
            else f"{steps:.0f}" + (f" ({reached} of {len(found)})" if reached < len(found) else "")
        )
        slow = arm != CONTROL and reference is not None and (steps is None or steps > SLOWER * reference)
        low, high = _interval(found)
        rows.append(
            f"| {arm} | {len(found)} | {shown} | {mean(accuracies):.3f} ({low:.3f} to {high:.3f}) | "
            f"{mean(run['entropy'] for run in found):.2f} | {'more than 1.5 times grpo' if slow else ''} |"
        )
    return "\n".join(rows) + "\n"


def _steps(found: list[dict[str, Any]]) -> float | None:
    """Return the mean steps of the seeds that got there; None if none did."""
    reached = [run["steps_to_goal"] for run in found if run["steps_to_goal"] is not None]
    return mean(reached) if reached else None


def _interval(found: list[dict[str, Any]]) -> tuple[float, float]:
    """Return 95% of the mean over seeds (t of 2 degrees of freedom for three), or of one run over its tasks."""
    if len(found) == 1:
        return found[0]["interval"][0], found[0]["interval"][1]
    accuracies = [run["accuracy"] for run in found]
    half = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(found), 2.0) * stdev(accuracies) / len(found) ** 0.5
    return max(0.0, mean(accuracies) - half), min(1.0, mean(accuracies) + half)


def _write(options: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> None:

    from benchmarks.speed.process import write_section

    text = table(runs)
    (options.output / "record.json").write_text(json.dumps({"overrides": options.overrides, "runs": runs}, indent=1))
    (options.output / "table.md").write_text(text)
    draw(runs, options.output / "curves.png")
    if options.page is not None:
        given = f" with {' '.join(options.overrides)}" if options.overrides else ""
        before = next(iter(runs.values()))[0]["points"][0][1]
        intro = f"The quickstart{given}; one base of held-out accuracy {before:.2f} for all arms."
        section = f"### Algorithms on the tiny task\n\n{intro}\n\n{text}"
        write_section(options.page, "ablation", section)
    print(text)


def draw(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Held-out accuracy over steps, the mean of each arm's seeds; the control in grey."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=150)
    for place, (arm, found) in enumerate(runs.items()):
        steps = [step for step, _ in found[0]["points"]]
        means = [mean(values) for values in zip(*([y for _, y in run["points"]] for run in found), strict=True)]
        line = {"color": "0.6"} if arm == CONTROL else {"color": f"C{place % 10}"}
        style: dict[str, Any] = line | {"linestyle": ("-", ":", "--")[place // 10 % 3]}
        axes.plot(steps, means, label=arm, linewidth=1.3, **style)
    axes.axhline(GOAL, color="0.8", linewidth=0.8)
    axes.set(xlabel="step", ylabel="accuracy, held out", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=6, ncols=3)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
