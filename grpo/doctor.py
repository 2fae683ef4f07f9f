"""`python -m grpo.doctor`: whether this machine can run a config, and what to do where it can't.

One line an item, marked ok, warn or FAIL. Exit code 0 = it can run, 2 = the config, model or data is wrong, 1 = it does
not fit or something is missing on the machine. Nothing is downloaded and no weights are loaded.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from grpo.config import Config, ConfigError, describe, load_config
from grpo.train import QUICKSTART

if TYPE_CHECKING:
    from envs import Env
    from grpo.blas import Blas
    from grpo.model_facts import ModelFacts

Mark = Literal["ok", "warn", "FAIL"]
MATRIX = 1000  # rows and columns of the product that is timed
SLOW_GFLOPS = 20.0  # the reference BLAS gives about 3, one core with OpenBLAS or MKL about 100
SPARE_DISK_BYTES = 500_000_000  # curves, completions and what else a run writes
CHARACTERS_PER_TOKEN = 3  # a cautious guess for a prompt that is not tokenised here
TEMPLATE_TOKENS = {"chat": 60, "plain": 0, "r1_zero": 130}


class Report:
    """Prints lines as they are found and remembers what stands in the way."""

    def __init__(self) -> None:
        self.wrong_input: list[str] = []
        self.cannot_run: list[str] = []

    def say(self, mark: Mark, item: str, text: str) -> None:
        """Print one line of the report."""
        print(f"{mark:<5} {item:<11} {text}", flush=True)

    def refuse(self, item: str, text: str) -> None:
        """The user's input is wrong."""
        self.say("FAIL", item, text)
        self.wrong_input.append(text)

    def give_up(self, item: str, text: str) -> None:
        """The input is fine, the machine is not enough."""
        self.say("FAIL", item, text)
        self.cannot_run.append(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m grpo.doctor",
        description=__doc__,
        epilog=describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML file; without it configs/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys, e.g. steps=100 lora.rank=8")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(arguments)
    try:
        config = load_config(options.config or QUICKSTART, options.overrides)
    except ConfigError as error:
        return _conclude_wrong([str(error)])
    report = Report()
    if not machine(report):
        return 1
    print(f"\n{options.config or QUICKSTART.name}:")
    facts = model(report, config)
    tasks = data(report, config)
    rewards(report, config, tasks)
    memory(report, config, facts, tasks)
    disk(report, config, facts)
    work(report, config, tasks)
    if report.wrong_input:
        return _conclude_wrong(report.wrong_input)
    given = f" --config {options.config}" if options.config else ""
    print(
        f"\nit can't run as it is: {report.cannot_run[0]}"
        if report.cannot_run
        else f"\nready: {' '.join([f'python -m grpo.train{given}', *options.overrides])}"
    )
    return 1 if report.cannot_run else 0


def _conclude_wrong(reasons: Sequence[str]) -> int:
    more = f" (and {len(reasons) - 1} more above)" if len(reasons) > 1 else ""
    print(f"error: {' '.join(reasons[0].split())}{more}", file=sys.stderr)
    return 2


# The machine


def machine(report: Report) -> bool:
    """Python, packages, device, BLAS and its speed, memory; False where mlx can't be used at all."""
    from grpo.blas import load_blas

    blas = load_blas()  # before mlx is imported
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in ("mlx", "mlx-lm"))]
    report.say("ok", "packages", ", ".join([*versions, f"{platform.system()} {platform.machine()}"]))
    try:
        import mlx.core as mx
    except ImportError as error:
        report.give_up("mlx", f"can't be imported ({error}): pip install 'grpo-mlx[cpu]' on Linux, 'grpo-mlx' on a Mac")
        return False
    device = mx.default_device()
    name = mx.device_info().get("device_name", "") if hasattr(mx, "device_info") else ""
    on_cpu = device.type == mx.DeviceType.cpu
    report.say("ok", "device", f"{'CPU' if on_cpu else 'GPU'}{f', {name}' if name else ''}, {os.cpu_count()} cores")
    speed(report, blas, on_cpu)
    from grpo.memory import available_bytes, in_gb

    size, meaning = available_bytes()
    report.say("ok", "memory", f"{in_gb(size)} {meaning}")
    return True


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def speed(report: Report, blas: "Blas", on_cpu: bool) -> None:
    """The BLAS in use and what it does, with the remedy where that is little."""
    gflops = matmul_gflops()
    said = f"{blas.name}{f' ({blas.path})' if blas.path else ''}: {gflops:.0f} GFLOP/s in float32" if on_cpu else ""
    if not on_cpu:
        report.say("ok", "speed", f"{gflops:.0f} GFLOP/s in float32 on the GPU")
    elif blas.warning or gflops < SLOW_GFLOPS:
        from grpo.blas import DISABLE_VARIABLE, REMEDY

        disabled = (
            f"{DISABLE_VARIABLE}={os.environ[DISABLE_VARIABLE]} is set; " if DISABLE_VARIABLE in os.environ else ""
        )
        report.say("warn", "BLAS", f"{said}, slow: {disabled}{blas.warning or REMEDY}")
    else:
        report.say("ok", "BLAS", said)


def matmul_gflops(size: int = MATRIX, runs: int = 3) -> float:
    """Best speed of a float32 matrix product, in 1e9 multiplications and additions a second."""
    import mlx.core as mx

    left, right = mx.random.normal((size, size)), mx.random.normal((size, size))
    mx.eval(left, right, left @ right)
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        mx.eval(left @ right)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


# The config


def model(report: Report, config: Config) -> "ModelFacts | None":
    """What the model is, where it is, and whether it can be trained as asked; its facts, as far as they are known."""
    folder = _model_folder(config)
    facts = _miniature_facts() if config.model == "miniature" else None
    if facts is not None:
        report.say("ok", "model", f"miniature: {_described(facts)}, made on the spot in about a minute")
    elif folder is not None:
        facts = _local_model(report, config, folder)
    elif _is_hub_id(config.model):
        from grpo.memory import in_gb
        from grpo.model_facts import facts_of_name

        facts = facts_of_name(config.model)
        size = f"about {in_gb(facts.stored_bytes)}" if facts else "of a size that is not known here"
        report.say("warn", "model", f"{config.model}: not in the local hub cache, will be downloaded ({size})")
        if config.template == "chat":
            report.say("warn", "template", "chat: whether the model has one is not known before the download")
    else:
        report.refuse("model", f"model {config.model}: no such directory, and no hub id (owner/name) either")
    _fine_tuning(report, config, facts)
    return facts


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _model_folder(config: Config) -> Path | None:
    """The local directory of the model: as named, or in the hub cache."""
    if config.model == "miniature":
        return None
    local = Path(config.model).expanduser()
    if local.exists():
        return local
    if not _is_hub_id(config.model):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(config.model, "config.json", revision=config.revision)
    return Path(found).parent if isinstance(found, str) else None


def _miniature_facts() -> "ModelFacts":
    from grpo.miniature import SHAPE, vocabulary
    from grpo.model_facts import facts_of_settings

    return facts_of_settings({**SHAPE, "vocab_size": len(vocabulary())}, item_bytes=4)


def _local_model(report: Report, config: Config, folder: Path) -> "ModelFacts | None":
    from grpo.model_facts import facts_of_directory

    cached = "" if Path(config.model).expanduser() == folder else ", in the local hub cache"
    try:
        facts = facts_of_directory(folder)
    except ValueError as error:
        if cached:
            report.say("warn", "model", f"{config.model}: only part of it is in the hub cache, will be downloaded")
        else:
            report.refuse("model", f"model {config.model}: {error}")
        return None
    report.say("ok", "model", f"{config.model}{cached}: {_described(facts)}")
    if not any(
        (folder / name).exists()
        for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
    ):
        report.refuse("tokenizer", f"model {config.model}: no tokenizer.json beside the weights")
    elif config.template == "chat" and not has_chat_template(folder):
        report.refuse(
            "template",
            "template: chat needs a model with a chat template, this one has none: use template: plain or r1_zero",
        )
    else:
        report.say("ok", "template", f"{config.template}{', the model has one' if config.template == 'chat' else ''}")
    return facts


def _described(facts: "ModelFacts") -> str:
    millions = facts.parameters / 1e6
    size = (
        f"{millions / 1000:.2f}B" if millions >= 1000 else f"{millions:.2f}M" if millions < 10 else f"{millions:.0f}M"
    )
    dtype = {8: "float64", 4: "float32", 2: "16-bit floats"}.get(facts.stored_item_bytes, "floats")
    weights = f"{facts.bits}-bit quantised" if facts.quantised else dtype
    return f"{facts.architecture}, {size} parameters, {facts.blocks} blocks, {weights}"


def has_chat_template(folder: Path) -> bool:
    """Whether a model directory brings a chat template, in its tokenizer_config.json or a file of its own."""
    if (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists():
        return True
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))


def _fine_tuning(report: Report, config: Config, facts: "ModelFacts | None") -> None:
    """Whether what is to be trained can be."""
    if config.adapter is not None:
        missing = [
            name
            for name in ("adapters.safetensors", "adapter_config.json")
            if not (Path(config.adapter) / name).exists()
        ]
        if missing:
            report.refuse("adapter", f"adapter {config.adapter}: no {missing[0]} there")
            return
    if facts is None:
        return
    if config.fine_tune == "full":
        if facts.quantised:
            report.refuse("training", f"{config.model} is quantised: its weights can't be trained, use fine_tune: lora")
        else:
            report.say("ok", "training", f"all {facts.parameters / 1e6:.2f}M weights")
    elif config.lora.layers == 0 or config.lora.layers > facts.blocks:
        report.refuse("training", f"lora.layers must be -1 or 1 to {facts.blocks}, got {config.lora.layers}")
    elif not facts.adapted(config.lora):
        names = ", ".join(sorted({part.name for part in facts.linears}))
        report.refuse(
            "training", f"lora.targets {config.lora.targets} names no linear layer of this model; it has {names}"
        )
    else:
        size = config.lora.rank * sum(part.inputs + part.outputs for part in facts.adapted(config.lora))
        start = f", from {config.adapter}" if config.adapter else ""
        report.say("ok", "training", f"LoRA of rank {config.lora.rank}, {size / 1e6:.2f}M weights{start}")
    _dtype(report, config)


def _dtype(report: Report, config: Config) -> None:
    import mlx.core as mx

    if config.dtype in ("bfloat16", "float16") and mx.default_device().type == mx.DeviceType.cpu:
        report.say(
            "warn", "dtype", f"{config.dtype} products are slow on a CPU, they go past the BLAS: use dtype: float32"
        )


def data(report: Report, config: Config) -> "Env | None":
    """The environment, its sizes, skipped rows and first task."""
    import envs

    try:
        env = envs.make(config.data, **{"seed": config.seed, **config.data_options})
    except envs.DataError as error:
        if "cannot be loaded by datasets" in str(error) and _from_hub(config):
            report.say(
                "warn", "data", f"{config.data}: a hub data set that is not here yet, fetched when training starts"
            )
        else:
            report.refuse("data", f"data {config.data}: {error}")
        return None
    sizes = ", ".join(f"{len(tasks)} {split}" for split, tasks in env.splits.items())
    if not env.splits.get("train"):
        report.refuse("data", f"data {config.data}: no task to train on ({sizes})")
        return None
    report.say("ok", "data", f"{config.data}: {sizes} tasks; the first: {_short(env.tasks('train')[0].prompt)}")
    if env.skipped:
        report.say("warn", "data", f"{len(env.skipped)} malformed rows are skipped, e.g. {env.skipped[0]}")
    for note in env.notes:
        report.say("warn", "data", note)
    if config.eval_every and not env.splits.get("test"):
        report.say("warn", "data", "eval_every is set but there are no held-out tasks: nothing will be evaluated")
    return env


def _from_hub(config: Config) -> bool:
    from envs.registry import HUB_ID, find, options_of

    _, given = find(config.data)
    source = str(given.get("data") or options_of(config.data, **config.data_options).get("data", ""))
    return bool(HUB_ID.fullmatch(source)) and not Path(source).exists()


def _short(prompt: object) -> str:
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:80]} ..."


def rewards(report: Report, config: Config, env: "Env | None") -> None:
    """Every reward by its name and weight."""
    from rewards import RewardSet

    try:
        RewardSet(
            config.reward_weights,
            config.reward_options,
            config.reward_timeout_seconds,
            gates=config.reward_gates,
            clip=config.reward_clip,
        ).close()
    except ValueError as error:
        report.refuse("rewards", str(error))
        return
    report.say("ok", "rewards", " + ".join(f"{weight:g} {name}" for name, weight in config.reward_weights.items()))
    if "code" in config.reward_weights:
        from rewards import sandbox

        report.say("ok", "sandbox", str(sandbox.describe()))
    judge = env.reward_names[0] if env is not None and env.reward_names else None
    if judge and not any(name.startswith(judge) for name in config.reward_weights):
        report.say("warn", "rewards", f"{config.data} is made to be judged by {judge}: add reward_weights.{judge}=1.0")
    if config.control != "none":
        report.say("warn", "control", f"{config.control}: it trains on coin flips, to see what no learning looks like")


def memory(report: Report, config: Config, facts: "ModelFacts | None", env: "Env | None") -> None:
    """What the run needs against what there is, and the key to turn."""
    import mlx.core as mx

    from grpo.memory import available_bytes, estimate, in_gb, knob
    from grpo.memory_plan import fitting_token_budget

    if facts is None:
        report.say("warn", "memory", "the model's sizes are not known, so neither is what it needs")
        return
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    prompt = _longest_prompt(config, env)
    need = estimate(config, facts, on_cpu=on_cpu, prompt_tokens=prompt)
    there, _ = available_bytes()
    said = f"needs about {in_gb(need.total_bytes)} of {in_gb(there)}"
    if need.total_bytes > there:
        budget = fitting_token_budget(config, facts, there, on_cpu=on_cpu, prompt_tokens=prompt)
        fits = f" (token_budget={budget} would fit)" if budget else ""
        report.give_up("memory", f"{said}: try {knob(config, facts, need)}{fits}")
    elif need.total_bytes > 0.8 * there:
        report.say("warn", "memory", f"{said}, which is close: if it swaps, try {knob(config, facts, need)}")
    else:
        report.say("ok", "memory", said)
    for line in need.lines():
        print(f"{'':18}{line}")


def _longest_prompt(config: Config, env: "Env | None") -> int | None:
    """Tokens, guessed from characters; None without data."""
    if env is None:
        return None
    longest = max(len(str(task.prompt).encode()) for task in env.tasks("train")) + len(config.system_prompt or "")
    return longest // CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS[config.template]


def disk(report: Report, config: Config, facts: "ModelFacts | None") -> None:
    """Room for the checkpoints where the run will be written."""
    from grpo.memory import estimate, in_gb

    output = Path(config.output or "runs")
    existing = next(path for path in [output.absolute(), *output.absolute().parents] if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        report.refuse("output", f"output {output}: {existing} can't be written to")
        return
    if config.wandb_project and importlib.util.find_spec("wandb") is None:
        report.refuse("wandb", "wandb_project is set but wandb is not installed: pip install 'grpo-mlx[wandb]'")
    free, need = shutil.disk_usage(existing).free, SPARE_DISK_BYTES
    if facts is not None:
        trained = estimate(config, facts, on_cpu=False).optimizer // 2
        need += 3 * trained * (config.keep_checkpoints + 2)  # weights and two moments; one being written, one published
    said = f"{in_gb(free)} free in {output}, the run writes up to about {in_gb(need)}"
    if free < need:
        report.give_up("disk", f"{said}: make room, or lower keep_checkpoints")
    else:
        report.say("ok", "disk", said)
    if (output / "config.yaml").exists():
        report.say("warn", "output", f"{output} holds a run already: add --resume to go on with it, or choose another")


def work(report: Report, config: Config, env: "Env | None") -> None:
    """How much there is to do."""
    said = (
        f"{config.steps} steps x {config.prompts_per_step} prompts x {config.num_generations} samples = "
        f"{config.steps * config.batch:,} completions of at most {config.max_completion_length} tokens"
    )
    if env is not None:
        said += f"; {config.steps * config.prompts_per_step / len(env.tasks('train')):.2g} times through the tasks"
    report.say("ok", "work", said)


if __name__ == "__main__":
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # look, don't download
        os.environ.setdefault(variable, "1")
    sys.exit(main())
