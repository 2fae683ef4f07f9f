"""Write the README of an exported model from its run: data, recipe, measured results.

Nothing is made up: what the run directory does not say is left out.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rewards.printable import masked

if TYPE_CHECKING:
    from distill.export.config import ExportConfig

HIDDEN = {"output", "wandb_project", "trackio_project", "save_every", "keep_checkpoints", "teacher_cache"}
PLACES = {"model", "data", "validation_data", "teacher", "teacher_adapter", "adapter"}  # shown by name, not path
_PATH = re.compile(r"(?<![\w.:/<~])~?/(?:[\w.@+-]+/)+[\w.@+-]+")  # absolute, of two parts or more


def card(config: "ExportConfig", settings: dict[str, Any], figures: dict[str, float]) -> str:
    """Markdown with the hub's front matter."""
    run = Path(config.run or config.adapter or "")
    recipe, summary = _yaml(run / "config.yaml"), _json(run / "summary.json")
    parts = [_front_matter(config, settings), f"# {Path(config.output).name}\n", _origin(config, recipe)]
    if recipe:
        parts.append(_data(recipe) + "\n" + _recipe(recipe))
    if summary:
        parts.append(_results(summary, run))
    if recipe:
        parts.append(_limits(recipe, summary))
    parts += [_licences(config, summary), _export(config, figures), _use(config)]
    return "\n".join(part for part in parts if part)


def _front_matter(config: "ExportConfig", settings: dict[str, Any]) -> str:
    known: dict[str, Any] = {"library_name": "mlx", "pipeline_tag": "text-generation", "tags": ["mlx", "grpo-mlx"]}
    if (base := _hub_id(config)) is not None:
        known["base_model"] = base
        known["base_model_relation"] = "finetune" if config.adapter is not None else "quantized"
    if config.licence is not None:
        known["license"] = config.licence
    return f"---\n{yaml.safe_dump(known, sort_keys=False)}---\n"


def _origin(config: "ExportConfig", recipe: dict[str, Any]) -> str:
    base = _shown("model", config.model)
    if config.adapter is None:
        return f"Converted from {base}.\n"
    if not recipe:
        return f"{base} with an adapter fused into the weights; how it was trained was not written down.\n"
    how = "reinforcement learning (GRPO)" if "num_generations" in recipe else "supervised fine-tuning"
    if "teacher" in recipe:
        how = f"{recipe['method']} distillation from {_shown('teacher', recipe['teacher'])}"
    return f"{base}, trained by {how}, the adapter fused into the weights.\n"


def _data(recipe: dict[str, Any]) -> str:
    keys = (
        "data",
        "data_config",
        "data_revision",
        "data_options",
        "max_rows",
        "validation_data",
        "validation_share",
        "template",
    )
    rows = [f"- {key}: {_shown(key, recipe[key])}" for key in keys if recipe.get(key) not in (None, {})]
    return "## Data\n\n" + "\n".join(rows) + "\n"


def _recipe(recipe: dict[str, Any]) -> str:
    shown = {key: _shown(key, value) for key, value in recipe.items() if key not in HIDDEN and value is not None}
    return f"## Recipe\n\n```yaml\n{yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)}```\n"


def _results(summary: dict[str, Any], run: Path) -> str:
    lines = ["## Measured\n"]
    before, after = summary.get("before") or {}, summary.get("after") or {}
    names = [name for name in after if _is_number(after[name]) and _is_number(before.get(name)) and name != "step"]
    if names:
        lines += ["| | before | after |", "|---|---:|---:|"]
        lines += [f"| {name} | {_number(before[name])} | {_number(after[name])} |" for name in names]
    facts = [f"{key}: {_number(summary[key])}" for key in ("steps", "tokens", "seconds", "seed") if key in summary]
    lines.append("\n" + ", ".join(facts))
    curve = run / "learning_curve.md"
    if curve.exists():
        lines.append("\n" + curve.read_text())
    return "\n".join(lines) + "\n"


def _hub_id(config: "ExportConfig") -> str | None:
    """The base model's id on the hub; None where neither the command nor the model's own card gives one."""
    local = Path(config.model)
    if not local.exists():
        return config.model
    base = _front(local / "README.md").get("base_model")
    return base if isinstance(base, str) else None


def _front(path: Path) -> dict[str, Any]:
    """The front matter of a model card."""
    try:
        parts = path.read_text(encoding="utf-8").split("---\n", 2)
        found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _licences(config: "ExportConfig", summary: dict[str, Any]) -> str:
    """What is known of the licences of the base model, the data and this model."""
    lines = [f"- this model: {config.licence}"] if config.licence else []
    base = _front(Path(config.model) / "README.md").get("license")
    lines += [f"- base model: {base}"] if isinstance(base, str) else []
    lines += [f"- data: {name} ({rows} rows)" for name, rows in (summary.get("licences") or {}).items()]
    missing = "Those of the base model and of the data hold; " if not config.licence else ""
    rest = "what is not listed here was not written down.\n"
    return "## Licences\n\n" + "".join(f"{line}\n" for line in lines) + f"\n{missing}{rest}"


def _limits(recipe: dict[str, Any], summary: dict[str, Any]) -> str:
    """What the figures above say nothing of."""
    lines = []
    after = summary.get("after") or {}
    if _is_number(after.get("tasks")):
        lines.append(f"The held-out figures are of {after['tasks']} tasks of the training data's kind, one seed.")
    elif not after:
        lines.append("Nothing was held out: whether the model is better than its base was not measured.")
    if weights := recipe.get("reward_weights"):
        lines.append(f"It was trained towards {', '.join(weights)}; what these do not see was not improved on purpose.")
    length = recipe.get("max_completion_length") or recipe.get("max_length")
    if length is not None:
        lines.append(f"It was trained on texts of at most {length} tokens.")
    lines.append("Safety, bias and facts were not evaluated.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _export(config: "ExportConfig", figures: dict[str, float]) -> str:
    how = ["fused"] if config.adapter else []
    how += ["de-quantised"] if config.dequantise else []
    how += [f"quantised to {config.bits} bits, groups of {config.group_size}"] if config.bits else []
    return (
        f"## Export\n\n{', '.join(how) or 'as it was'}. Loaded again, its logprobs differ from the model in memory by "
        f"at most {figures['reload_difference']:.1e}, from base and adapter side by side by at most "
        f"{figures['adapter_difference']:.1e} (three probe texts).\n"
    )


def _use(config: "ExportConfig") -> str:
    name = config.push or Path(config.output).name
    return f'## Use\n\n```bash\npip install mlx-lm\nmlx_lm.generate --model {name} --prompt "..."\n```\n'


def _shown(key: str, value: Any) -> Any:
    """A local path by its last part only: where it lay on the author's disk is nobody's business; keys are masked."""
    if isinstance(value, dict):
        return {name: _shown(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shown(key, inner) for inner in value]
    if not isinstance(value, str):
        return value
    if key in PLACES and Path(value).exists():
        return Path(value).name
    return masked(_PATH.sub(lambda found: Path(found[0]).name, value))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
