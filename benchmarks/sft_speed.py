"""`python -m benchmarks.sft_speed`: our SFT against `mlx_lm lora`, in tokens that count per second.

Both sides train the same LoRA (rank, scale, every linear layer) on the same rows with the same examples a step, the
prompt masked, on the same BLAS, each in a process of its own. Sides take turns, `--rounds` times; the median of each
is reported, the first step of every process left out. Only optimizer steps are timed, on both sides.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RANK, SCALE, RATE = 8, 20.0, 1e-5
SIDES = ("distill.sft", "mlx_lm lora")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sft_speed", description=__doc__)
    parser.add_argument("--model", required=True, help="local MLX directory")
    parser.add_argument("--data", required=True, help="corpus, e.g. medical-o1 rows as JSONL")
    parser.add_argument("--batch", type=int, default=4, help="examples of a step")
    parser.add_argument("--steps", type=int, default=4, help="steps of a process, the first of them not timed")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side")
    parser.add_argument("--output", type=Path, help="directory for sft_speed.json and sft_speed.md")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # what a process of its own runs
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both sides in turn and say what came of it."""
    options = parse(arguments)
    if options.side is not None:
        return _run_side(options)
    rates: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for round_ in range(options.rounds):
        for side in SIDES if round_ % 2 == 0 else reversed(SIDES):
            rates[side].append(_in_process(options, side))
            print(f"round {round_ + 1}  {side}: {rates[side][-1]['tokens_per_second']:.0f} tok/s", flush=True)
    table = render(rates)
    print(table)
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        settings = {"model": Path(options.model).name, "batch": options.batch, "steps": options.steps, "rank": RANK}
        record = {"settings": settings, "rounds": rates, "ratio": ratio(rates)}
        (options.output / "sft_speed.json").write_text(json.dumps(record, indent=1))
        (options.output / "sft_speed.md").write_text(table)
    return 0


def ratio(rates: dict[str, list[dict[str, float]]]) -> float:
    """Median of ours over median of theirs."""
    ours, theirs = (statistics.median(run["tokens_per_second"] for run in rates[side]) for side in SIDES)
    return ours / theirs


def render(rates: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: medians of both sides."""
    lines = ["| | tokens that count / s | seconds a step | peak memory |", "|---|---:|---:|---:|"]
    for side in SIDES:
        speed, step, peak = (
            statistics.median(run[name] for run in rates[side])
            for name in ("tokens_per_second", "step_seconds", "peak_bytes")
        )
        lines.append(f"| {side} | {speed:.0f} | {step:.2f} | {peak / 1e9:.2f} GB |")
    return "\n".join([*lines, f"\n{ratio(rates):.2f} times as fast\n"])


def _in_process(options: argparse.Namespace, side: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sft_speed", "--side", side, "--model", options.model]
    command += ["--data", options.data, "--batch", str(options.batch), "--steps", str(options.steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _run_side(options: argparse.Namespace) -> int:
    from grpo.cpu.blas import load_blas

    load_blas()
    run = _ours if options.side == SIDES[0] else _theirs
    print(json.dumps(run(options)))
    return 0


def _ours(options: argparse.Namespace) -> dict[str, float]:
    import mlx.core as mx

    from distill.corpus.readers import rows_of
    from distill.sft.config import ResolvedSFT
    from distill.sft.examples import Renderer, Rendering, tokenised
    from distill.sft.step import counted, next_tokens
    from distill.sft.trainer import SFTTrainer
    from grpo.config.sections import LoRA
    from grpo.model.loading import load_policy

    config = ResolvedSFT(
        model=options.model,
        data=options.data,
        lora=LoRA(rank=RANK, alpha=RANK * SCALE),
        steps=options.steps,
        examples_per_step=options.batch,
        token_budget=1 << 20,
        learning_rate=RATE,
        lr_schedule="constant",
        eval_every=0,
    )
    policy = load_policy(config, options.model)
    examples, _ = tokenised(rows_of(options.data), Renderer(policy.tokenizer, Rendering()), max_length=2048)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(config, policy, examples, [], Path(folder), objective=next_tokens)
        tokens, seconds = [], []
        for step in range(options.steps):
            begin = time.perf_counter()
            trainer._update(trainer.examples_of(step), step)
            seconds.append(time.perf_counter() - begin)
            tokens.append(counted(trainer.examples_of(step)))
    return _result(tokens, seconds, mx.get_peak_memory())


def _theirs(options: argparse.Namespace) -> dict[str, float]:
    import mlx.core as mx
    import mlx.optimizers as optim
    from mlx_lm import load
    from mlx_lm.tuner.datasets import CacheDataset, ChatDataset
    from mlx_lm.tuner.trainer import TrainingArgs, TrainingCallback, train
    from mlx_lm.tuner.utils import linear_to_lora_layers

    from distill.corpus.readers import rows_of
    from distill.sft.examples import messages_of

    model, tokenizer = load(options.model)[:2]
    mx.random.seed(0)
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": RANK, "scale": SCALE, "dropout": 0.0})
    rows: list[Any] = [{"messages": messages_of(row)} for _, row in rows_of(options.data)]
    tokens: list[float] = []
    seconds: list[float] = []

    class Listener(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            seconds.append(1 / train_info["iterations_per_second"])
            tokens.append(train_info["tokens_per_second"] * seconds[-1])

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArgs(
            batch_size=options.batch,
            iters=options.steps,
            steps_per_report=1,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )
        train(
            model,
            optim.Adam(RATE),
            CacheDataset(ChatDataset(rows, tokenizer, mask_prompt=True)),  # type: ignore[arg-type]
            args=settings,
            training_callback=Listener(),
        )
    return _result(tokens, seconds, mx.get_peak_memory())


def _result(tokens: Sequence[float], seconds: Sequence[float], peak_bytes: int) -> dict[str, float]:
    """Rates over all steps but the first."""
    return {
        "tokens_per_second": sum(tokens[1:]) / sum(seconds[1:]),
        "step_seconds": statistics.median(seconds[1:]),
        "peak_bytes": float(peak_bytes),
    }


if __name__ == "__main__":
    sys.exit(main())
