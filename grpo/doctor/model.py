"""The doctor's look at the model of a config: where it is, what it is, whether it can be trained as asked."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from grpo.config import Config
from grpo.doctor.report import Report

if TYPE_CHECKING:
    from grpo.model.facts import ModelFacts


def model(report: Report, config: Config, *, trains: bool = True) -> "ModelFacts | None":
    """Report the model, its place and, if the command `trains`, whether it can be as asked; return its known facts."""
    facts = place_and_size(report, config.model, config.revision)
    folder = model_folder(config.model, config.revision)
    if folder is not None and facts is not None:
        _tokenizer_and_template(report, config, folder)
    elif folder is None and config.template == "chat" and _is_hub_id(config.model):
        report.say("warn", "template", "chat: whether the model has one is not known before the download")
    if trains:
        _fine_tuning(report, config, facts)
    return facts


def place_and_size(
    report: Report, name: str, revision: str | None = None, *, what: str = "model"
) -> "ModelFacts | None":
    """Report where a model is and how large; return its facts if they are known. `what` is the key that names it."""
    from grpo.memory.estimate import in_gb
    from grpo.model.facts import facts_of_directory, facts_of_name

    if name == "miniature":
        facts = _miniature_facts()
        report.say("ok", what, f"miniature: {_described(facts)}, made on the spot in about a minute")
        return facts
    folder = model_folder(name, revision)
    if folder is None and not _is_hub_id(name):
        report.refuse(what, f"{what} {name}: no such directory, and no hub id (owner/name) either")
        return None
    if folder is None:
        known = facts_of_name(name)
        size = f"about {in_gb(known.stored_bytes)}" if known else "of a size that is not known here"
        report.say("warn", what, f"{name}: not in the local hub cache, will be downloaded ({size})")
        return known
    cached = "" if Path(name).expanduser() == folder else ", in the local hub cache"
    try:
        facts = facts_of_directory(folder)
    except ValueError as error:
        if cached:
            report.say("warn", what, f"{name}: only part of it is in the hub cache, will be downloaded")
        else:
            report.refuse(what, f"{what} {name}: {error}")
        return None
    report.say("ok", what, f"{name}{cached}: {_described(facts)}")
    return facts


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def model_folder(name: str, revision: str | None = None) -> Path | None:
    """The local directory of a model: as named, or in the hub cache."""
    if name == "miniature":
        return None
    local = Path(name).expanduser()
    if local.exists():
        return local
    if not _is_hub_id(name):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _miniature_facts() -> "ModelFacts":
    from grpo.model.facts import facts_of_settings
    from grpo.model.miniature import SHAPE, vocabulary

    return facts_of_settings({**SHAPE, "vocab_size": len(vocabulary())}, item_bytes=4)


def _tokenizer_and_template(report: Report, config: Config, folder: Path) -> None:
    from grpo.model.loading import has_tokenizer

    if not has_tokenizer(folder):
        report.refuse("tokenizer", f"model {config.model}: no tokenizer.json beside the weights")
    elif config.template == "chat" and not has_chat_template(folder):
        report.refuse(
            "template",
            "template: chat needs a model with a chat template, this one has none: use template: plain or r1_zero",
        )
    else:
        report.say("ok", "template", f"{config.template}{', the model has one' if config.template == 'chat' else ''}")


def _described(facts: "ModelFacts") -> str:
    millions = facts.parameters / 1e6
    size = (
        f"{millions / 1000:.2f}B" if millions >= 1000 else f"{millions:.2f}M" if millions < 10 else f"{millions:.0f}M"
    )
    dtype = {8: "float64", 4: "float32", 2: "16-bit floats"}.get(facts.stored_item_bytes, "floats")
    weights = f"{facts.bits}-bit quantised" if facts.quantised else dtype
    return f"{facts.architecture}, {size} parameters, {facts.blocks} blocks, {weights}"


def has_chat_template(folder: Path) -> bool:
    """Return whether a model directory brings a chat template, in its tokenizer_config.json or a file of its own."""
    if (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists():
        return True
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))


def _fine_tuning(report: Report, config: Config, facts: "ModelFacts | None") -> None:
    """Report whether the chosen weights can be trained."""
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
    elif absent := _missing_targets(config, {part.name for part in facts.linears}):
        names = ", ".join(sorted({part.name for part in facts.linears}))
        report.refuse("training", f"lora.targets: this model has no linear layer {absent}; it has {names}")
    else:
        size = config.lora.rank * sum(part.inputs + part.outputs for part in facts.adapted(config.lora))
        start = f", from {config.adapter}" if config.adapter else ""
        report.say("ok", "training", f"LoRA of rank {config.lora.rank}, {size / 1e6:.2f}M weights{start}")
    _dtype(report, config)


def _dtype(report: Report, config: Config) -> None:
    import mlx.core as mx

    if config.dtype in ("bfloat16", "float16") and mx.default_device().type == mx.DeviceType.cpu:
        report.say(
            "warn",
            "dtype",
            f"{config.dtype} products bypass the BLAS and are slow on a CPU: use dtype: float32",
        )


def _missing_targets(config: Config, names: Collection[str]) -> str | None:
    """Return the first of lora.targets that the model has not."""
    targets = [] if config.lora.targets == "all" else config.lora.targets
    return next((name for name in targets if name not in names), None)
