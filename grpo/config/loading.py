"""Read a config: defaults, then a YAML file, then `a.b=c` overrides."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from grpo.config.sections import ConfigError, Section

FREE_FORM = ("reward_weights", "reward_gates", "reward_clip", "data_options")  # sections whose keys may hold dots


AnyConfig = TypeVar("AnyConfig", bound=Section)


def load(kind: type[AnyConfig], path: str | Path | None, overrides: Sequence[str] = ()) -> AnyConfig:
    """The config of a YAML file (None = all defaults) with `a.b=c` overrides on top.

    Raises ConfigError, one line, for a missing or broken file, an unknown key, a wrong type or an impossible
    combination.
    """
    tree = read_yaml(path) if path is not None else {}
    for override in overrides:
        _apply(tree, override, kind)
    return build(kind, tree, source=str(path) if path is not None else "config")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError if it holds none."""
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the config {path}: {reason}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, got a {type(tree).__name__}")
    return tree


def build(model: type[Any], tree: dict[str, Any], *, source: str) -> Any:
    """A validated config of this model, errors folded into one line."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_explain(model, part) for part in error.errors()[:3])) from None


def _explain(model: type[BaseModel], error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {where}{_nearest(where, model)}"
    message = error["msg"].removeprefix("Value error, ")
    if not where:
        return message
    return f"{where}: {message[:1].lower() + message[1:]}, got {error['input']!r}"


def _nearest(name: str, model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(name, [key for key, _, _, _ in keys(model)], n=1)
    return f" (did you mean {close[0]}?)" if close else ", see --help for all keys"


def _apply(tree: dict[str, Any], override: str, kind: type[BaseModel]) -> None:
    """Write one `a.b=c` into the tree; what follows a free-form section's name is one key, dots and all."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} must look like key=value")
    try:
        value = yaml.safe_load(text) if text.strip() else None
    except yaml.YAMLError:
        value = text
    head, _, rest = key.partition(".")
    parts = [head, rest] if head in FREE_FORM and rest else key.split(".")
    for part in parts[:-1]:
        if tree.get(part) is None:
            tree[part] = _default_section(part, kind)
        tree = tree[part]
        if not isinstance(tree, dict):
            raise ConfigError(f"override {override!r}: {part} is a single value, not a section")
    tree[parts[-1]] = value


def _default_section(name: str, kind: type[BaseModel]) -> dict[str, Any]:
    """An override of one reward's weight keeps the default weights of the others."""
    field = kind.model_fields.get(name) if name == "reward_weights" else None
    return dict(field.get_default(call_default_factory=True)) if field is not None else {}


def keys(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every key of the tree: (a.b, type, default, meaning)."""
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += keys(kind, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        shown = (
            kind.__name__
            if isinstance(kind, type) and not hasattr(kind, "__args__")
            else str(kind).replace("typing.", "")
        )
        rows.append((prefix + name, shown, "none" if default is None else str(default), field.description or ""))
    return rows


def describe(model: type[BaseModel]) -> str:
    """All keys with meaning and default, for --help."""
    lines = [f"  {name} = {default}\n      {meaning}" for name, _, default, meaning in keys(model)]
    return "config keys (in a YAML file, or as key=value on the command line):\n" + "\n".join(lines)


def to_yaml(config: BaseModel) -> str:
    """The resolved config; `load_config` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
