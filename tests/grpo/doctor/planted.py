"""Real runs of the embedded model, short, each with one fault planted: rewards and data that are wrong on purpose.

`python tests/grpo/doctor/planted.py FOLDER [NAME ...]` makes them (seconds each) and prints what the doctor says.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "grpo" / "recipes" / "quickstart.yaml"
SHORT = ("steps=12", "prompts_per_step=8", "eval_every=0", "completions_every=1", "save_every=0")
ALONE = ("reward_weights.accuracy=null", "reward_weights.format=null", "reward_weights.language=null")
LONG = ("learning_rate=1e-3", "steps=40")
UNBOUNDED = ("scale_rewards=none", "max_grad_norm=1e9", "steps=16")
ADAPTERS = ("fine_tune=lora", "learning_rate=2e-3", "num_generations=8", "seed=3")
TWO = ("--samplers", "--learners")  # on a process each
FEW = ("prompts_per_step=6", "num_generations=12", "num_updates=2")
CORPUS, STUDENT = "distill.sft", "distill.student"  # the command, where it is another one
TALK = ("model=chatty", "template=chat", "reward_weights={environment: 1.0}", "max_conversation_length=100")

# name -> (the finding that must come first, settings)
FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rate_x100": ("learning rate too high", ("learning_rate=0.02",)),
    "rate_x20": ("learning rate too high", ("learning_rate=0.004", "steps=24")),
    "rate_x0001": ("learning rate too low", ("learning_rate=2e-7", "min_learning_rate=0")),
    "warm_up_too_long": ("learning rate too low", ("warmup_steps=100000", "lr_schedule=constant")),
    "constant": ("no reward judges the task", (*ALONE, "reward_weights.faulty:constant=1.0")),
    "never": ("reward never fires", (*ALONE, "reward_weights.faulty:never=1.0")),
    "never_beside": ("reward never fires", ("reward_weights.faulty:never=0.5",)),
    "cut": ("truncated", ("max_completion_length=8",)),
    "r1_zero": ("wrong template", ("template=r1_zero",)),
    "scale_0": ("dead adapters", ("fine_tune=lora", "lora.alpha=1e-12", "learning_rate=1e-3")),
    "temperature_5": ("temperature too high", ("temperature=5.0",)),
    "temperature_0": ("temperature too low", ("temperature=0.05",)),
    "beta_50": ("KL penalty too strong", ("beta=50.0", "steps=20")),
    "pays_length": ("length without gain", (*ALONE, "reward_weights.faulty:length=1.0", "steps=20")),
    "pays_format": ("format farmed", (*ALONE[:1], *ALONE[2:], "reward_weights.format=1.0", "steps=20")),
    "leak": ("answer in the prompt", ("data=faulty:leaking",)),
    "wrong_gold": ("wrong gold answers", ("data=faulty:shifted",)),
    "too_hard": ("too hard", ("data=faulty:long_sums",)),
    "stop_token": ("stops at once", ("stop_tokens=['<think>']",)),
    "few_tasks": ("memorised prompts", ("data=faulty:few", "steps=40", "eval_every=40", "completions_every=4")),
    "pays_chinese": ("language drift", (*ALONE, "reward_weights.faulty:chinese=1.0", "steps=24")),
    "pays_repeats": ("repetition", (*ALONE, "reward_weights.faulty:repeats=1.0", *LONG)),
    "pays_copies": ("copies the prompt", (*ALONE, "reward_weights.faulty:copies=1.0", *LONG)),
    "opposed": ("rewards disagree", ("reward_weights.faulty:wrongness=0.9",)),
    "negative": ("rewards disagree", ("reward_weights.accuracy=-1.0",)),
    "reads_boxes": ("strict/lenient gap", ("reward_options.accuracy.extract=boxed",)),
    "kv_4_bits": ("mismatch", ("kv_bits=4",)),
    "outliers": ("gradient spikes", ("reward_weights.faulty:outliers=1.0", *UNBOUNDED)),
    "coin_flips": ("reward is random", (*ALONE, "reward_weights.faulty:coin=1.0")),
    "control": ("reward is random", ("control=random_reward",)),
    "raises": ("reward fails", ("reward_weights.faulty:raises=1.0",)),
    "rate_x10": ("learning rate too high", ("learning_rate=0.002", "steps=24")),
    "adapters_rate": ("learning rate too high", ("fine_tune=lora", "learning_rate=0.3", "steps=20")),
    "temperature_3": ("temperature too high", ("temperature=3.0",)),
    "temperature_02": ("temperature too low", ("temperature=0.15",)),
    "cut_16": ("truncated", ("max_completion_length=15",)),
    "stop_text": ("reward never fires", ("stop=['</think>']",)),
    "stop_word": ("stops at once", ("stop=['plus']",)),
    "pays_brevity": ("stops at once", (*ALONE, "reward_weights.faulty:brevity=1.0", *LONG)),
    "hint": ("answer in the prompt", ("data=faulty:hinting",)),
    "two_tasks": ("memorised prompts", ("data=faulty:two", "steps=20")),
    "against_language": ("rewards disagree", ("reward_weights.language=-0.5", "steps=24")),
    "against_format": ("rewards disagree", ("reward_weights.format=-0.5", "steps=16")),
    "one_gold": ("wrong gold answers", ("data=faulty:same_gold",)),
    "nan": ("reward fails", ("reward_weights.faulty:nan=1.0",)),
    # A third choice: other rewards, other sizes, adapters.
    "skilled": ("too easy", (*ADAPTERS, "model=skilled")),
    "six_numbers": ("too hard", (*ADAPTERS, "data=faulty:six", "steps=16")),
    "by_prompt": ("no reward judges the task", (*ALONE, "reward_weights.faulty:by_prompt=1.0")),
    "pays_wrong": ("no reward judges the task", (*ALONE, "reward_weights.faulty:wrongness=1.0", *ADAPTERS)),
    "pays_even": ("no reward judges the task", (*ALONE, "reward_weights.faulty:even=1.0", *ADAPTERS, "steps=24")),
    "pays_few_ids": (
        "stops at once",
        ("reward_weights.accuracy=0.2", *ALONE[1:], "reward_weights.faulty:few_ids=1.0", *ADAPTERS, "steps=50"),
    ),
    "stop_at_answer": ("stops at once", ("stop_tokens=['<answer>']", "seed=4")),
    "cut_17": ("truncated", (*ADAPTERS, "max_completion_length=17", "algorithm=dr_grpo")),
    "pays_tags": (
        "format farmed",
        (*ALONE, "reward_weights.format_tag_count=1.0", *ADAPTERS, "steps=30"),
    ),
    "pays_trl_format": ("format farmed", (*ALONE, "reward_weights.think_format_reward=2.0", "steps=24", "seed=5")),
    "pays_ids": (
        "length without gain",
        ("reward_weights.accuracy=0.3", *ALONE[1:], "reward_weights.faulty:ids=1.0", *ADAPTERS, "steps=30"),
    ),
    "pays_chinese_beside": (
        "language drift",
        (*ALONE[1:], "reward_weights.faulty:chinese_share=2.0", "steps=24", "seed=6"),
    ),
    "pays_chinese_late": (
        "language drift",
        ("reward_weights.language=0", "reward_weights.faulty:chinese_late=2.0", *ADAPTERS, "steps=30"),
    ),
    "pays_most_common": (
        "repetition",
        (*ALONE, "reward_weights.faulty:most_common=1.0", *ADAPTERS, "steps=50"),
    ),
    "entropy_bonus": ("entropy bonus too strong", ("entropy_coef=1.0", "steps=20")),
    "rare_debt": ("gradient spikes", ("reward_weights.faulty:rare_debt=1.0", *UNBOUNDED, "fine_tune=lora")),
    "infinite_loss": ("gradient spikes", ("loss_type=faulty:infinite_at_times", *ADAPTERS)),
    "hot_sampler": ("mismatch", ("rollout_source=faulty:hotter", "seed=8")),
    "untagged": (
        "rewards disagree",
        ("reward_weights.format=1.0", "reward_weights.faulty:untagged=1.5", *ADAPTERS, "steps=16"),
    ),
    "wants_boxes": ("reward never fires", ("reward_options.format.template=think_boxed", *ADAPTERS)),
    "by_solution": ("reward never fires", ("reward_weights.faulty:by_solution=1.0", "seed=9")),
    "never_with_samplers": (
        "reward never fires",
        (*TWO, *ALONE, "reward_weights.faulty:by_solution=1.0", *ADAPTERS, "max_staleness=1"),
    ),
    "reads_hashes": ("strict/lenient gap", ("reward_options.accuracy.extract=hash", *ADAPTERS)),
    "pays_echo": ("copies the prompt", (*ALONE, "reward_weights.faulty:echo=1.0", *LONG, "seed=14")),
    "four_tasks": ("memorised prompts", ("data=faulty:four", *ADAPTERS, "steps=30")),
    "limit_3": ("memorised prompts", ("data_options.limit=3", "steps=20", "prompts_per_step=4")),
    "adapters_rate_low": ("learning rate too low", (*ADAPTERS, "learning_rate=1e-6", "min_learning_rate=0")),
    "rate_low_no_kl": ("learning rate too low", ("learning_rate=3e-7", "min_learning_rate=0", "beta=0", "seed=10")),
    "rate_muon": ("learning rate too high", ("optimizer=muon", "learning_rate=0.06", "steps=20")),
    "rate_dapo": (
        "learning rate too high",
        ("algorithm=dapo", "learning_rate=0.01", "steps=10", "dynamic_sampling_rounds=2"),
    ),
    "rate_rloo": ("learning rate too high", (*ADAPTERS, "advantage=rloo", "learning_rate=0.1", "steps=20")),
    "foreign": ("wrong template", ("data=faulty:foreign", *ADAPTERS)),
    "r1_zero_adapters": ("wrong template", (*ADAPTERS, "template=r1_zero")),
    "no_gradient": ("dead adapters", (*ADAPTERS, "loss_type=faulty:without_gradient")),
    "slow": ("reward fails", ("reward_weights.faulty:slow=0.5", "reward_timeout_seconds=1", "steps=4", "seed=11")),
    "raises_at_times": ("reward fails", ("reward_weights.faulty:at_times=0.5", *ADAPTERS)),
    "worked": ("answer in the prompt", ("data=faulty:worked", *ADAPTERS)),
    "rolled": ("wrong gold answers", ("data=faulty:rolled", *ADAPTERS)),
    "noisy_judge": ("reward is random", (*ALONE, "reward_weights.faulty:noisy_judge=1.0", "seed=12")),
    "temperature_2": ("temperature too high", (*ADAPTERS, "temperature=2.0")),
    "temperature_02_adapters": ("temperature too low", (*ADAPTERS, "temperature=0.2")),
    "beta_3": ("KL penalty too strong", (*ADAPTERS, "beta=3.0", "steps=20")),
    # A fourth choice: environments, students, a corpus, models that are set up wrongly.
    "raising": ("environment fails", (*TALK, "data=faulty:raising")),
    "hanging": ("environment fails", (*TALK, "data=faulty:hanging", "reply_timeout_seconds=1", "steps=4", *FEW)),
    "speechless": ("environment fails", (*TALK, "data=faulty:speechless", "steps=8")),
    "stale": ("mismatch", ("rollout_source=faulty:stale", "learning_rate=4e-4", *FEW)),
    "renormalised": ("mismatch", ("rollout_source=faulty:renormalised", *ADAPTERS)),
    "heavy_groups": ("gradient spikes", ("advantage=faulty:heavy", "steps=16", "seed=31", *FEW)),
    "repeated_rows": ("memorised prompts", ("data=faulty:repeated_rows", "steps=25", *FEW)),
    "skilled_dr_grpo": ("too easy", ("model=skilled", "algorithm=dr_grpo", *ALONE[1:], *FEW)),
    "by_gold": ("no reward judges the task", (*ALONE, "reward_weights.faulty:by_gold=1.0", *FEW)),
    "pays_agreement": (
        "no reward judges the task",
        (*ALONE, "data=faulty:five", "reward_weights.faulty:agreement=1.0", "learning_rate=6e-4", "steps=25", *FEW),
    ),
    "pays_characters": (
        "length without gain",
        (
            "reward_weights.accuracy=0.2",
            *ALONE[1:],
            "reward_weights.faulty:characters=1.0",
            "learning_rate=4e-4",
            "steps=25",
        ),
    ),
    "pays_overlap": ("copies the prompt", (*ALONE, "reward_weights.faulty:overlap=1.0", *LONG, "beta=0", *FEW)),
    "short_schedule": ("truncated", ("length_schedule=[[0, 12]]",)),
    "ends_by_think": ("stops at once", ("model=ends_by_think",)),
    "chat_marks": ("wrong template", ("model=marked", "template=chat")),
    "language_column": (
        "language drift",
        (
            "data=faulty:language_column",
            "reward_weights.language=1.0",
            "reward_weights.accuracy=0.3",
            "learning_rate=6e-4",
            "steps=25",
        ),
    ),
    "no_advantage": ("dead adapters", ("advantage=faulty:none", *ADAPTERS)),
    "reuse_unclipped": (
        "learning rate too high",
        ("num_iterations=6", "num_updates=1", "epsilon=100", "epsilon_high=100", "beta=1e-6", "learning_rate=1e-3"),
    ),
    "corpus_rate": ("learning rate too high", (CORPUS, "learning_rate=0.5")),
    "corpus_rate_adapters": ("learning rate too high", (CORPUS, "fine_tune=lora", "learning_rate=0.6")),
    "corpus_by_heart": (
        "memorised prompts",
        (CORPUS, "data=small", "epochs=40", "validation_share=0.25", "learning_rate=1e-3", "examples_per_step=8"),
    ),
    "corpus_rate_low": ("learning rate too low", (CORPUS, "learning_rate=1e-8")),
    "student_rate": ("learning rate too high", (STUDENT, "learning_rate=0.05")),
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
    "gspo": ("seed=21", "algorithm=gspo", "steps=20"),
    "cispo_adapters": (*ADAPTERS, "seed=22", "algorithm=cispo", "steps=24"),
    "long_limit": ("seed=23", "beta=0", "max_completion_length=80", "steps=16", "reward_weights.overlong=0.2"),
    "own_rows": (*ADAPTERS, "seed=24", "data=faulty:own", "eval_every=10", "steps=20"),
    "brief": ("seed=25", "reward_weights.faulty:a_little_shorter=1.0", "steps=24"),
    "much_longer": ("seed=26", "steps=70", "completions_every=7", "num_generations=16"),
    "muon": ("seed=27", "optimizer=muon", "learning_rate=0.004", "steps=20"),
    "with_samplers": (*TWO, *ADAPTERS, "seed=28", "max_staleness=1", "steps=20"),
    "entropy_kept": ("seed=29", "entropy_coef=0.001", "advantage=max_rl", "steps=16"),
    "bfloat16": ("dtype=bfloat16",),
    "corpus": (CORPUS,),
    "student": (STUDENT,),
    "environment": (*TALK, "data=faulty:talking", "steps=20", *FEW),
    "dora": ("fine_tune=dora", "learning_rate=2e-3", "beta=0", "seed=51", *FEW),
    "sapo": ("algorithm=sapo", "seed=52", "steps=16", *FEW),
    "graded": (*ALONE, "reward_weights.faulty:distance=1.0", "seed=54", "eval_every=8", "eval_tasks=40", *FEW),
    "filtered": ("dynamic_sampling=true", "dynamic_sampling_rounds=3", "replay_size=20", "seed=58", *FEW),
}

SETTINGS = {
    CORPUS: (
        "fine_tune=full", "template=plain", "examples_per_step=16", "token_budget=1024", "packing=false",
        "learning_rate=5e-4", "epochs=1", "validation_share=0.1", "eval_every=5", "data=large",
    ),
    STUDENT: (
        "method=on_policy", "fine_tune=full", "template=plain", "data=digit_sums", "steps=16", "prompts_per_step=6",
        "num_generations=8", "max_completion_length=40", "learning_rate=3e-4", "max_rows=256", "token_budget=16384",
    ),
}  # fmt: skip
ROWS = {"small": 24, "large": 320, "lessons": 5000}  # worked solutions of the corpora
CHAT = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"
MARKED = "{% for m in messages %}<|im_start|> {{ m['role'] }} {{ m['content'] }} <|im_end|> {% endfor %}"


def made(folder: Path, models: Path, settings: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Train in a folder, from a model of the folder `models`; a run that ends with an error is a run as well."""
    model = embedded(models, model_of(settings))
    launcher: list[str] = [sys.executable]
    module, more, given = "grpo.train", ["--config", str(RECIPE)], SHORT
    if settings[0] in SETTINGS:
        module, more, given, settings = settings[0], [], SETTINGS[settings[0]], settings[1:]
    elif settings[:2] == TWO:
        launcher = [str(Path(sys.executable).parent / "mlx.launch"), "-n", "2", "--", sys.executable]
        more, settings = [*more, "--samplers", "1", "--learners", "1"], settings[2:]
    keys = {pair.partition("=")[0]: pair for pair in (*given, *settings, f"model={model}")}
    if module == CORPUS:
        keys["data"] = f"data={corpus(models, keys['data'].removeprefix('data='))}"
    if module == STUDENT:
        keys["teacher"] = f"teacher={embedded(models, 'skilled')}"
    command = [*launcher, "-m", module, "--output", str(folder), *more, *keys.values()]
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    how = {"capture_output": True, "text": True, "cwd": folder.parent}
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, **how)


def corpus(models: Path, name: str) -> Path:
    """Return a corpus of worked solutions, written once."""
    from envs import make
    from envs.digit_sums import chain

    path = models / f"{name}.jsonl"
    if not path.exists():
        tasks, rng = list(make("digit_sums", seed=11).tasks("train")), random.Random(1)
        drawn = [rng.choice(tasks) for _ in range(ROWS[name])]
        path.write_text("".join(json.dumps({"prompt": one.prompt, "completion": chain(one)}) + "\n" for one in drawn))
    return path


def embedded(models: Path, name: str = "half") -> Path:
    """Return a directory with the embedded model of a name, made once: half right, skilled, or set up otherwise."""
    folder = models / f"model_{name}"
    if (folder / "config.json").exists():
        return folder
    if name == "half":
        from grpo.config.sections import ColdStart
        from grpo.model.miniature import build

        build(folder, ColdStart(steps=360, wrong=0.3, mixed=0.2, broken=0.3), 11)
    elif name == "skilled":
        taught = models / "taught"
        lessons = ("data=lessons", "examples_per_step=32", "learning_rate=1e-3", "validation_share=0", "eval_every=0")
        made(taught, models, (CORPUS, *lessons)).check_returncode()
        base = ["--model", str(embedded(models)), "--adapter", str(taught), "--output", str(folder)]
        subprocess.run([sys.executable, "-m", "distill.export", *base], check=True, capture_output=True, cwd=ROOT)
    else:
        from grpo.model.miniature import vocabulary

        shutil.copytree(embedded(models), folder)
        file, changes = {
            "chatty": ("tokenizer_config.json", {"chat_template": CHAT}),
            "marked": ("tokenizer_config.json", {"chat_template": MARKED}),
            "ends_by_think": ("config.json", {"eos_token_id": [1, vocabulary().index("<think>")]}),
        }[name]
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))
    return folder


def model_of(settings: tuple[str, ...]) -> str:
    """Return the name of the model that a run begins with."""
    named = [pair.removeprefix("model=") for pair in settings if pair.startswith("model=")]
    return named[-1] if named else "half"


def main(arguments: list[str]) -> None:
    from grpo.doctor.findings import RunError, diagnose, verdict

    folder, names = Path(arguments[0]), arguments[1:]
    folder.mkdir(parents=True, exist_ok=True)
    for name, settings in [*((n, s) for n, (_, s) in FAULTS.items()), *HEALTHY.items()]:
        if names and name not in names:
            continue
        run = folder / name
        ended = None if (run / "metrics.jsonl").exists() else made(run, folder, settings)
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
