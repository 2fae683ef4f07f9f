"""Run directories made up for the tests of the doctor: healthy until something in them is changed."""

import json
import random
from pathlib import Path

from grpo.config import Config
from grpo.config.loading import to_yaml

STEPS, TASKS, SAMPLES = 20, 4, 8
OWN = "mine:reward"


def metrics(step: int, **changes: float) -> dict[str, float]:
    """A step of a run that learns: accuracy .4 -> .59, format .7 -> .89; `a__b` stands for `a/b`."""
    rise = 0.01 * step
    healthy = {
        "step": step,
        "reward": 0.8 + 1.3 * rise,
        "reward_std": 0.5,
        "frac_reward_zero_std": 0.1,
        "rewards/missing": 0.0,
        "rewards/accuracy/mean": 0.4 + rise,
        "rewards/accuracy/min": 0.0,
        "rewards/accuracy/max": 1.0,
        "rewards/accuracy/zero_std": 0.1,
        "rewards/format/mean": 0.7 + rise,
        "rewards/format/min": 0.0,
        "rewards/format/max": 1.0,
        "rewards/language/mean": 0.9,
        "rewards/language/min": 0.0,
        "rewards/language/max": 1.0,
        "entropy": 0.5 - rise,
        "kl": 0.0005 * step,
        "grad_norm": 0.4 + 0.1 * (step % 2),
        "learning_rate": 1e-5,
        "clip_ratio/region_mean": 0.005,
        "sampling/mismatch_k3": 1e-8,
        "updates/dropped": 0.0,
        "completions/mean_length": 30.0,
        "completions/clipped_ratio": 0.05,
    }
    return healthy | {name.replace("__", "/"): value for name, value in changes.items()}


def said(rng: random.Random, answer: int, right: bool) -> str:
    given = answer if right else answer + rng.randrange(1, 9)
    names = rng.sample(["Ann", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jon", "Kim", "Lea"], 6)
    a, b, c, d, e, f = names
    chain = f"{a} has some and {b} has more, so {c} counts what {d} and {e} gave {f}"
    return f"<think> {chain} </think> <answer> {given} </answer>"


def rows(step: int, rng: random.Random) -> list[dict]:
    """Four tasks of eight completions of a healthy run."""
    made = []
    for task in range(TASKS):
        number = 100 * step + 7 * task + 1000
        for _ in range(SAMPLES):
            right = rng.random() < 0.4 + 0.01 * step
            rewards = {"accuracy": float(right), "format": 1.0, "language": 1.0}
            made.append(
                {
                    "task": f"task {number}",
                    "prompt": f"How many apples are there in basket {number + 1} after the market closes?",
                    "answer": str(number),
                    "completion": said(rng, number, right),
                    "rewards": rewards,
                    "reward": 1.0 * right + 0.5,
                    "advantage": 0.0,
                    "tokens": 30 + rng.randrange(9),
                    "stop_reason": "stop",
                }
            )
    return made


class Made:
    """A run directory that is healthy until it is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config, self.log = folder, {"steps": STEPS}, ""
        rng = random.Random(0)
        self.metrics = [metrics(step) for step in range(1, STEPS + 1)]
        self.rows = {step: rows(step, rng) for step in (1, 7, 13, 20)}
        self.summary: dict | None = {"before": None, "after": None, "steps": STEPS}

    def all(self, **changes: float) -> "Made":
        """Change metrics of every step."""
        return self.since(1, **changes)

    def since(self, first: int, **changes: float) -> "Made":
        """Change metrics from a step on."""
        for step in self.metrics[first - 1 :]:
            step.update({name.replace("__", "/"): value for name, value in changes.items()})
        return self

    def each(self, change, first: int = 1) -> "Made":
        """Change the completions of saved steps: change(row, rng) -> what is new in it."""
        rng = random.Random(1)
        for step, saved in self.rows.items():
            if step >= first:
                for row in saved:
                    row.update(change(row, rng))
        return self

    def paid(self, weights: dict[str, float], value) -> "Made":
        """Pay by one reward of the user's alone, value(row)."""
        self.config["reward_weights"] = {**dict.fromkeys(("accuracy", "format", "language")), **weights}
        for step in self.metrics:
            for name in [name for name in step if name.startswith("rewards/")]:
                del step[name]
            step.update({f"rewards/{OWN}/min": 0.0, f"rewards/{OWN}/max": 1.0, f"rewards/{OWN}/mean": 0.5})
        return self.each(lambda row, rng: {"rewards": {OWN: value(row)}, "reward": value(row)})

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(to_yaml(Config(**self.config)))
        (self.folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in self.metrics))
        (self.folder / "log.txt").write_text(self.log)
        (self.folder / "completions").mkdir(exist_ok=True)
        for step, saved in self.rows.items():
            path = self.folder / "completions" / f"step_{step:06d}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in saved))
        if self.summary is not None:
            (self.folder / "summary.json").write_text(json.dumps(self.summary))
        return self.folder
