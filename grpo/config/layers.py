"""Stack layers of settings (a recipe, a file, the command line) and remember which of them gave each key."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from grpo.config.parsing import parse_yaml
from grpo.config.presets import PRESETS
from grpo.config.reference import FREE_FORM, keys, section_of
from grpo.config.sections import NONE_WORDS, ConfigError, Section
from rewards.printable import masked

AnyConfig = TypeVar("AnyConfig", bound=Section)
COMMAND_LINE = "the command line"
SHOWN_CHARACTERS = 60  # of one value, where the settings of a run are listed
_MISSING = object()


@dataclass(frozen=True)
class Layer:
    """Settings from one place; `source` is what messages call that place."""

    source: str
    tree: Mapping[str, Any]


@dataclass(frozen=True)
class Loaded(Generic[AnyConfig]):
    """A validated config and, for every key that was given, the source that had the last word on it."""

    config: AnyConfig
    origins: dict[str, str] = field(default_factory=dict)  # "lora.rank" -> "command line"

    def differing(self) -> dict[str, list[str]]:
        """Return the keys whose value is not the default, as `key=value`, under the source of each."""
        found: dict[str, list[str]] = {}
        for key, source in self.origins.items():
            value = _at(self.config, _parts(key))
            if value != _default(type(self.config), key):
                found.setdefault(source, []).append(f"{key}={shown(value)}")
        return found


def shown(value: Any) -> str:
    """Return a value as one would type it, cut where it is long; keys and passwords in it are masked."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    text = masked(" ".join(str(value).split()))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def stack(kind: type[AnyConfig], layers: Sequence[Layer], overrides: Sequence[str] = ()) -> Loaded[AnyConfig]:
    """Merge the layers, later ones over earlier ones, then `a.b=c` overrides; validate the result.

    Raises ConfigError, one line that names the source of what is wrong.
    """
    origins: dict[str, str] = {}
    tree = merged(kind, layers, overrides, origins)
    return Loaded(build(kind, tree, origins=origins), origins)


def merged(
    kind: type[BaseModel], layers: Sequence[Layer], overrides: Sequence[str], origins: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the layers and overrides as one tree that is not validated; `origins` receives the source of each key."""
    tree: dict[str, Any] = {}
    origins = {} if origins is None else origins
    for layer in layers:
        _expand(kind, tree, layer.tree.get("algorithm"), origins)
        _merge(kind, tree, layer, layer.tree, origins)
    for override in overrides:
        if override.startswith("algorithm="):
            _expand(kind, tree, override.partition("=")[2].strip(), origins)
    for override in overrides:
        origins[_apply(tree, override, kind)] = COMMAND_LINE
    return tree


def build(model: type[Any], tree: Mapping[str, Any], *, source: str = "", origins: Mapping[str, str] = {}) -> Any:
    """Validate a tree; errors are folded into one line that names the key's source, or `source` for all of them."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(model, part, source, origins) for part in error.errors()[:3]]
        raise ConfigError("; ".join(lines)) from None


def _merge(
    kind: type[BaseModel],
    tree: dict[str, Any],
    layer: Layer,
    given: Mapping[str, Any],
    origins: dict[str, str],
    prefix: str = "",
) -> None:
    """Write a layer into the tree: sections key by key, everything else whole."""
    for key, value in given.items():
        section = section_of(kind, key)
        if section is not None and isinstance(value, Mapping):
            if not isinstance(tree.get(key), dict):
                tree[key] = {}
            _merge(section, tree[key], layer, value, origins, f"{prefix}{key}.")
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value
            origins[f"{prefix}{key}"] = layer.source


def _expand(kind: type[BaseModel], tree: dict[str, Any], algorithm: Any, origins: dict[str, str]) -> None:
    """Write the keys of an algorithm's preset over what is there; a preset that is not known is refused later."""
    for key, value in PRESETS.get(str(algorithm), {}).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        origins[_apply(tree, f"{key}={text}", kind)] = f"algorithm {algorithm}"


def _apply(tree: dict[str, Any], override: str, kind: type[BaseModel]) -> str:
    """Write one `a.b=c` into the tree; what follows a free-form section's name is one key, dots and all."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{COMMAND_LINE}: {masked(repr(override))} must look like key=value")
    value = parse_yaml(text, f"{COMMAND_LINE}: {key}", plain_text=True)
    parts = _parts(key)
    if len(parts) > 1 and section_of(kind, parts[0]) is None and text.strip().lower() in NONE_WORDS:
        value = None  # a free-form value has no type that would tell `none` from a word
    for part in parts[:-1]:
        if tree.get(part) is None:
            tree[part] = _default_section(part, kind)
        tree = tree[part]
        if not isinstance(tree, dict):
            raise ConfigError(f"{COMMAND_LINE}: {override!r}: {part} is a single value, not a section")
    tree[parts[-1]] = value
    return key


def _default_section(name: str, kind: type[BaseModel]) -> dict[str, Any]:
    """An override of one reward's weight keeps the default weights of the others."""
    found = kind.model_fields.get(name) if name == "reward_weights" else None
    return dict(found.get_default(call_default_factory=True)) if found is not None else {}


def _explain(model: type[BaseModel], error: Any, source: str, origins: Mapping[str, str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if not where:
        return _with_sources(message, source, origins)
    place = source or _origin(where, origins)
    prefix = f"{place}: " if place else ""
    if error["type"] == "extra_forbidden":
        return f"{prefix}unknown key {where}{_nearest(where, model)}"
    return f"{prefix}{where}: {message[:1].lower() + message[1:]}, got {shown_input(error['input'])}"


def shown_input(value: Any) -> str:
    """Return a refused value as Python writes it, cut where it is long."""
    text = masked(repr(value))
    return text if len(text) <= 2 * SHOWN_CHARACTERS else f"{text[: 2 * SHOWN_CHARACTERS]}..."


def _with_sources(message: str, source: str, origins: Mapping[str, str]) -> str:
    """A rule between keys: name where each of those it speaks of was given."""
    named = {
        key: place for key, place in origins.items() if re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", message)
    }
    places = set(named.values()) or ({source} if source else set())
    if len(places) == 1:
        return f"{places.pop()}: {message}"
    told = ", ".join(f"{key} from {place}" for key, place in named.items())
    return f"{message} ({told})" if told else message


def _origin(where: str, origins: Mapping[str, str]) -> str:
    """Return the source of a key, or of what it is part of or made of; nothing if it was not given."""
    parts = where.split(".")
    for end in range(len(parts), 0, -1):
        if (found := origins.get(".".join(parts[:end]))) is not None:
            return found
    return next((place for key, place in origins.items() if key.startswith(f"{where}.")), "")


# options of environments that read rows (envs.data), which are easily taken for keys
OF_ROWS = frozenset(
    ("prompt_column", "answer_column", "suffix", "limit", "max_rows", "test_size", "test_data", "test_split", "split")
)


def _nearest(name: str, model: type[BaseModel]) -> str:
    if name in OF_ROWS and "data_options" in model.model_fields:
        return f" (it is an option of the data: data_options.{name}=...)"
    close = difflib.get_close_matches(name, [key.name for key in keys(model)], n=1)
    return f" (did you mean {close[0]}?)" if close else ", see --help for all keys"


def _parts(key: str) -> list[str]:
    head, _, rest = key.partition(".")
    return [head, rest] if head in FREE_FORM and rest else key.split(".")


def _at(value: Any, parts: Sequence[str]) -> Any:
    """Return the value at a key's parts; None for one that was taken out."""
    for part in parts:
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
    return value


def _default(kind: type[BaseModel], key: str) -> Any:
    head, *rest = _parts(key)
    found = kind.model_fields[head]
    return _MISSING if found.is_required() else _at(found.get_default(call_default_factory=True), rest)
