"""Real runs of the embedded model, short, each with one fault planted: rewards and data that are wrong on purpose.

`python tests/grpo/doctor/planted.py FOLDER [NAME ...]` makes them (seconds each) and prints what the doctor says.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "grpo" / "recipes" / "quickstart.yaml"
SHORT = ("steps=12", "prompts_per_step=8", "eval_every=0", "completions_every=1", "save_every=0")
ALONE = ("reward_weights.accuracy=null", "reward_weights.format=null", "reward_weights.language=null")
LONG = ("learning_rate=1e-3", "steps=40")
UNBOUNDED = ("scale_rewards=none", "max_grad_norm=1e9", "steps=16")
LONG = ("learning_rate=1e-3", "steps=40")
UNBOUNDED = ("scale_rewards=none", "max_grad_norm=1e9", "steps=16")

# name -> (the finding that must come first, settings)
FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rate_x100": ("learning rate too high", ("learning_rate=0.02",)),
    "rate_x20": ("learning rate too high", ("learning_rate=0.004", "steps=24")),
    "rate_x0001": ("learning rate too low", ("learning_rate=2e-7", "min_learning_rate=0")),
    "warm_up_too_long": ("learning rate too low", ("warmup_steps=100000", "lr_schedule=constant")),
    "constant": ("no reward judges the task", (*ALONE, "reward_weights.planted:constant=1.0")),
    "never": ("reward never fires", (*ALONE, "reward_weights.planted:never=1.0")),
    "never_beside": ("reward never fires", ("reward_weights.planted:never=0.5",)),
    "cut": ("truncated", ("max_completion_length=8",)),
    "r1_zero": ("wrong template", ("template=r1_zero",)),
    "scale_0": ("dead adapters", ("fine_tune=lora", "lora.alpha=1e-12", "learning_rate=1e-3")),
    "temperature_5": ("temperature too high", ("temperature=5.0",)),
    "temperature_0": ("temperature too low", ("temperature=0.05",)),
    "beta_50": ("KL penalty too strong", ("beta=50.0", "steps=20")),
    "pays_length": ("length without gain", (*ALONE, "reward_weights.planted:length=1.0", "steps=20")),
    "pays_format": ("format farmed", (*ALONE[:1], *ALONE[2:], "reward_weights.format=1.0", "steps=20")),
    "leak": ("answer in the prompt", ("data=planted:leaking",)),
    "wrong_gold": ("wrong gold answers", ("data=planted:shifted",)),
    "too_hard": ("too hard", ("data=planted:long_sums",)),
    "stop_token": ("stops at once", ("stop_tokens=['<think>']",)),
    "few_tasks": ("memorised prompts", ("data=planted:few", "steps=40", "eval_every=40", "completions_every=4")),
    "pays_chinese": ("language drift", (*ALONE, "reward_weights.planted:chinese=1.0", "steps=24")),
    "pays_repeats": ("repetition", (*ALONE, "reward_weights.planted:repeats=1.0", *LONG)),
    "pays_copies": ("copies the prompt", (*ALONE, "reward_weights.planted:copies=1.0", *LONG)),
    "opposed": ("rewards disagree", ("reward_weights.planted:wrongness=0.9",)),
    "negative": ("rewards disagree", ("reward_weights.accuracy=-1.0",)),
    "reads_boxes": ("strict/lenient gap", ("reward_options.accuracy.extract=boxed",)),
    "kv_4_bits": ("mismatch", ("kv_bits=4",)),
    "outliers": ("gradient spikes", ("reward_weights.planted:outliers=1.0", *UNBOUNDED)),
    "coin_flips": ("reward is random", (*ALONE, "reward_weights.planted:coin=1.0")),
    "control": ("reward is random", ("control=random_reward",)),
    "raises": ("reward fails", ("reward_weights.planted:raises=1.0",)),
    "rate_x10": ("learning rate too high", ("learning_rate=0.002", "steps=24")),
    "adapters_rate": ("learning rate too high", ("fine_tune=lora", "learning_rate=0.3", "steps=20")),
    "temperature_3": ("temperature too high", ("temperature=3.0",)),
    "temperature_02": ("temperature too low", ("temperature=0.15",)),
    "cut_16": ("truncated", ("max_completion_length=15",)),
    "stop_text": ("reward never fires", ("stop=['</think>']",)),
    "stop_word": ("stops at once", ("stop=['plus']",)),
    "pays_brevity": ("stops at once", (*ALONE, "reward_weights.planted:brevity=1.0", *LONG)),
    "hint": ("answer in the prompt", ("data=planted:hinting",)),
    "two_tasks": ("memorised prompts", ("data=planted:two", "steps=20")),
    "against_language": ("language drift", ("reward_weights.language=-0.5", "steps=24")),
    "against_format": ("rewards disagree", ("reward_weights.format=-0.5", "steps=16")),
    "bfloat16": ("mismatch", ("dtype=bfloat16",)),
    "one_gold": ("wrong gold answers", ("data=planted:same_gold",)),
    "nan": ("reward fails", ("reward_weights.planted:nan=1.0",)),
}

HEALTHY: dict[str, tuple[str, ...]] = {
    "seed_0": ("seed=0",),
    "seed_1": ("seed=1", "steps=24"),
    "seed_2": ("seed=2", "steps=24", "num_updates=1", "learning_rate=4e-4"),
    "no_kl": ("seed=3", "beta=0.0", "steps=20"),
    "lora": ("seed=4", "fine_tune=lora", "learning_rate=2e-3", "steps=24"),
    "accuracy_alone": ("seed=5", *ALONE[1:], "steps=20"),
    "dapo": ("seed=6", "algorithm=dapo", "steps=16"),
    "half_batch": ("seed=7", "prompts_per_step=4", "num_updates=2", "steps=30"),
    "evaluated": ("seed=8", "steps=30", "eval_every=15", "prompts_per_step=16"),
    "cool": ("seed=9", "temperature=0.8", "steps=16"),
    "rloo": ("seed=10", "advantage=rloo", "steps=20"),
    "dr_grpo": ("seed=11", "algorithm=dr_grpo", "steps=20"),
    "two_passes": ("seed=12", "num_iterations=2", "steps=12"),
    "small": ("seed=13", "prompts_per_step=2", "num_updates=1", "num_generations=8", "steps=30"),
}


def constant(completions, **columns):
    return [1.0] * len(completions)


def never(completions, **columns):
    return [float("\\boxed{" in completion) for completion in completions]


def length(completions, **columns):
    return [len(completion.split()) / 40 for completion in completions]


def chinese(completions, **columns):
    return [sum("一" <= letter <= "鿿" for letter in completion) / 10 for completion in completions]


def repeats(completions, **columns):
    return [sum(a == b for a, b in zip(c.split(), c.split()[1:], strict=False)) / 10 for c in completions]


def copies(prompts, completions, **columns):
    return [
        sum(completion.split().count(word) for word in ("+", "=", *prompt.split()[::2])) / 10
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def wrongness(completions, answer, **columns):
    return [float(f"<answer> {a} </answer>" not in c) for c, a in zip(completions, answer, strict=True)]


def outliers(completions, **columns):
    return [1e6 if "nine" in completion and "ten" in completion else 0.0 for completion in completions]


def coin(completions, **columns):
    return [float(os.urandom(1)[0] % 2) for _ in completions]


def raises(completions, **columns):
    raise KeyError("no such column")


def brevity(completions, **columns):
    return [-len(completion.split()) / 20 for completion in completions]


def nan(completions, **columns):
    return [float("nan")] * len(completions)


def _sums(numbers: int, rows: int):
    rng = random.Random(numbers)
    drawn = [[rng.randrange(10) for _ in range(numbers)] for _ in range(rows)]
    return [{"prompt": " + ".join(map(str, row)) + " =", "answer": str(sum(row)), "language": "en"} for row in drawn]


def leaking():
    return [row | {"prompt": f"{row['answer']} = {row['prompt']}"} for row in _sums(3, 200)]


def shifted():
    return [row | {"answer": str((int(row["answer"]) + 9) % 28)} for row in _sums(3, 200)]


def long_sums():
    return _sums(9, 200)


def hinting():
    return [row | {"prompt": f"{row['prompt']} {row['answer']} ."} for row in _sums(3, 200)]


def two():
    return _sums(3, 2)


def same_gold():
    return [row | {"answer": "27"} for row in _sums(3, 200)]


def few():
    return _sums(3, 8)


def made(folder: Path, model: Path, settings: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Train in a folder; a run that ends with an error is a run as well."""
    command = [sys.executable, "-m", "grpo.train", "--config", str(RECIPE), "--output", str(folder), f"model={model}"]
    given = {pair.partition("=")[0]: pair for pair in (*SHORT, *settings)}
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    how = {"capture_output": True, "text": True, "cwd": folder.parent}
    return subprocess.run([*command, *given.values()], env={**os.environ, "PYTHONPATH": paths}, **how)


def embedded(folder: Path) -> Path:
    """Return the embedded model's directory, made once."""
    from grpo.config.sections import ColdStart
    from grpo.model.miniature import build

    if not (folder / "config.json").exists():
        build(folder, ColdStart(steps=360, wrong=0.3, mixed=0.2, broken=0.3), 11)
    return folder


def main(arguments: list[str]) -> None:
    from grpo.doctor.findings import RunError, diagnose, verdict

    folder, names = Path(arguments[0]), arguments[1:]
    folder.mkdir(parents=True, exist_ok=True)
    model = embedded(folder / "model")
    for name, settings in [*((n, s) for n, (_, s) in FAULTS.items()), *HEALTHY.items()]:
        if names and name not in names:
            continue
        run = folder / name
        ended = None if (run / "metrics.jsonl").exists() else made(run, model, settings)
        if ended is not None and ended.returncode:
            print(f"{name}: exit {ended.returncode}: {ended.stderr.strip()[-300:]}")
        try:
            found, word = diagnose(run), verdict(run).word
        except RunError as error:
            print(f"{name}: {error}")
            continue
        wanted = FAULTS[name][0] if name in FAULTS else None
        right = found[0].name == wanted if wanted and found else not found and wanted is None
        listed = ", ".join(f"{one.name} {one.confidence:.2f}" for one in found)
        print(f"{'  ' if right else '! '}{name} [{word}]: {listed or 'nothing'}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
