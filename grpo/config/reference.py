"""The keys of a config as --help lists them. Needs no mlx."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

# sections whose keys may hold dots
FREE_FORM = ("reward_weights", "reward_gates", "reward_clip", "data_options", "chat_template_kwargs")


@dataclass(frozen=True)
class Key:
    """One setting: its dotted name, default, meaning, and the values it takes where they are few."""

    name: str
    default: str
    meaning: str
    choices: tuple[str, ...] = ()


def keys(model: type[BaseModel], prefix: str = "") -> list[Key]:
    """Return every key of a config, those of its sections with dots."""
    rows: list[Key] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += keys(kind, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        shown = "none" if default is None else str(default)
        rows.append(Key(prefix + name, shown, field.description or "", tuple(choices(kind))))
    return rows


def describe(model: type[BaseModel]) -> str:
    """Return all keys with default, choices and meaning, for --help."""
    lines = []
    for key in keys(model):
        among = f" ({' | '.join(key.choices)})" if key.choices else ""
        lines.append(f"  {key.name} = {key.default}{among}\n      {key.meaning}")
    return "config keys (in a YAML file, or as key=value on the command line; none, null and nothing mean none):\n" + (
        "\n".join(lines)
    )


def choices(kind: Any) -> Iterator[str]:
    """Yield the values that a type's Literals allow, at any depth of its unions."""
    if get_origin(kind) is Literal:
        yield from (str(value) for value in get_args(kind))
        return
    for part in get_args(kind):
        if get_origin(kind) not in (dict, list, tuple):
            yield from choices(part)


def takes_none(kind: Any) -> bool:
    """Return whether a type allows None."""
    return kind is NoneType or NoneType in get_args(kind)


def section_of(model: type[BaseModel], name: Any) -> type[BaseModel] | None:
    """Return the section a key holds; None if it holds a value."""
    field = model.model_fields.get(name)
    kind = field.annotation if field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
