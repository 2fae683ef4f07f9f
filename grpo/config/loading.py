"""Read a config: defaults, then a YAML file, then `a.b=c` overrides."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from grpo.config.layers import AnyConfig, Layer, stack
from grpo.config.parsing import read_yaml


def load(kind: type[AnyConfig], path: str | Path | None, overrides: Sequence[str] = ()) -> AnyConfig:
    """Return the config of a YAML file (None = all defaults) with `a.b=c` overrides on top.

    Raises ConfigError, one line, for a missing or broken file, an unknown key, a wrong type or an impossible
    combination.
    """
    layers = [Layer(str(path), read_yaml(path))] if path is not None else []
    return stack(kind, layers, overrides).config


def to_yaml(config: BaseModel) -> str:
    """Return the resolved config; `load` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
