"""Run directories made up for the tests of the report and of `grpo watch`."""

import json
import random
from pathlib import Path

EVIL = (
    "<think> 1 < 2 </think></script><script>document.title='hacked'</script><img src=x onerror=document.title='hacked'>"
    "<a href=\"javascript:document.title='hacked'\">a</a> [b](javascript:alert(1)) $\\href{javascript:alert(1)}{x}$ "
    "\u202ereversed\u202c \x1b[31mred\x1b[0m \u2028<!-- ]]> &lt; {{ 7 * 7 }} <answer> 3 </answer>"
)
REWARDS = ("accuracy", "format", "language")
STOPS = ("stop", "length")


def metrics_line(step: int, **more: float) -> str:
    """One line of metrics.jsonl."""
    metrics = {"reward": step / 10, "rewards/accuracy/mean": step / 20, "entropy": 1.0, "grad_norm": 0.5}
    metrics |= {"completions/clipped_ratio": 0.0, "time/rollout": 1.0, "time/learn": 2.0, "step_time": 3.0}
    return json.dumps({"step": step, **metrics, **more}) + "\n"


def row(completion: str, reward: float | None, advantage: float | None = 0.0, task: str = "t", **more) -> dict:
    """One row of a completions file."""
    made = {"task": task, "prompt": f"What is {task}?", "completion": completion, "rewards": {"accuracy": reward}}
    return made | {"reward": reward, "advantage": advantage, "tokens": 7, "stop_reason": "stop"} | more


def write_rows(path: Path, rows: list[dict]) -> None:
    """A file of completions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), "utf-8", "replace")


def large_run(folder: Path, *, steps: int, samples: int, seed: int = 0, words: int = 120, tokens: bool = True) -> Path:
    """A run of `steps` steps of one group of `samples` completions, as a real one writes it, that learns."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"steps: {steps}\nnum_generations: {samples}\nseed: {seed}\n")
    draw = random.Random(seed)
    vocabulary = ["so", "the", "sum", "of", "nine", "and", "two", "is", "eleven", "wait", "then", "check", "again"]
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            solved = min(0.95, 0.1 + step / steps)
            values = {f"rewards/{name}/mean": solved for name in REWARDS}
            more = {"completions/mean_length": words + step / 50, "kl": 0.01, "loss": 0.1, "learning_rate": 1e-5}
            file.write(metrics_line(step, reward=1.5 * solved, **values, **more))
    for step in range(1, steps + 1):
        task = f"{draw.randrange(40)} + {draw.randrange(40)} ="
        rows = []
        for _ in range(samples):
            right = draw.random() < min(0.95, 0.1 + step / steps)
            said = " ".join(draw.choices(vocabulary, k=words))
            text = f"<think> {said} </think> <answer> {11 if right else draw.randrange(99)} </answer>"
            rewards = {"accuracy": float(right), "format": 1.0, "language": draw.random()}
            one = {"task": task, "prompt": task, "answer": "11", "completion": text, "rewards": rewards}
            total = rewards["accuracy"] + 0.3 + 0.2 * rewards["language"]
            one |= {"reward": total, "advantage": total - 1, "tokens": words + 7, "stop_reason": draw.choice(STOPS)}
            if tokens:
                one["logprobs"] = [round(-draw.random(), 3) for _ in range(words + 7)]
                one["entropies"] = [round(draw.random(), 3) for _ in range(words + 7)]
            rows.append(one)
        write_rows(folder / "completions" / f"step_{step:06d}.jsonl", rows)
    return folder


def pipeline(folder: Path) -> Path:
    """A pipeline of three stages: a base without steps, RL with completions, and SFT with losses alone."""
    (folder / "base").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "title: Two stages and a base\nstages:\n  base: {kind: miniature, note: the start}\n"
        "  zero: {kind: rl, start: base}\n  rows: {kind: rejection, start: zero}\n  cold: {kind: sft, start: base}\n"
        "  later: {kind: rl, start: cold}\n"
    )
    zero = folder / "zero"
    zero.mkdir()
    (zero / "config.yaml").write_text("steps: 3\nnum_generations: 2\n")
    more = {"completions/mean_length": 20.0}
    (zero / "metrics.jsonl").write_text("".join(metrics_line(step, **more) for step in range(1, 4)))
    for step in range(1, 4):
        rows = [row("a wait let me check", 1.0, 0.5), row("九 plus", 0.0, -0.5)]
        write_rows(zero / "completions" / f"step_{step:06d}.jsonl", rows)
    cold = folder / "cold"
    cold.mkdir()
    (cold / "config.yaml").write_text("model: m\ndata: rows.jsonl\nsteps: 2\nexamples_per_step: 4\n")
    lines = [{"step": step, "loss": 1 / step, "grad_norm": 1.0, "learning_rate": 1e-3} for step in (1, 2)]
    (cold / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    for name, accuracy in (("base", [0, 0, 1, 0]), ("zero", [1, 0, 1, 0]), ("cold", [1, 1, 1, 0])):
        tasks = {"accuracy": accuracy, "language": [1.0, 0.5, 1.0, None], "length": [10, 20, 30, 40]}
        (folder / name / "held_out.json").write_text(json.dumps({"key": "k", "tasks": tasks}))
    for name in ("base", "zero"):
        (folder / name / "stage.json").write_text("{}")
    return folder
