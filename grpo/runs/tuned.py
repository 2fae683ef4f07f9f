"""What `python -m grpo.doctor --tune` measured on this machine, which runs of that model begin with. Needs no mlx.

It is the lowest layer of a run's settings: a config file, a recipe or the command line has the last word.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from grpo.config import Config
from grpo.config.layers import Layer
from grpo.config.parsing import read_yaml
from grpo.config.sections import ConfigError

VARIABLE = "GRPO_TUNED"  # environment variable: another place for the file; nothing = do not read any
HEAD = "# Measured by python -m grpo.doctor --tune. Runs of these models on this machine begin with these values.\n"
MEASURED = ("max_rows", "token_budget")


def place() -> Path | None:
    """Return where the file is, or would be; None where GRPO_TUNED is empty."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    settings = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(settings).expanduser() / "grpo" / "tuned.yaml"


def write(config: Config, values: Mapping[str, int]) -> Path:
    """Record the values for this machine and the config's model; return the file."""
    path = place()
    if path is None:
        raise ConfigError(f"{VARIABLE} is empty: there is no file to write to")
    known = read_yaml(path) if path.exists() else {}
    known[_name(config.model)] = {"machine": platform.node(), "fine_tune": config.fine_tune, **values}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + yaml.safe_dump(known), encoding="utf-8")
    return path


def layer(given: Mapping[str, Any]) -> Layer | None:
    """Return what was measured for the model that a run is given; None if nothing was, or on another machine.

    ConfigError for a file that can't be read.
    """
    path, model = place(), given.get("model")
    if path is None or not isinstance(model, str) or not path.exists():
        return None
    found = read_yaml(path).get(_name(model))
    kind = given.get("fine_tune") or Config.model_fields["fine_tune"].default
    if not isinstance(found, dict) or found.get("machine") != platform.node() or found.get("fine_tune") != kind:
        return None
    values = {key: found[key] for key in MEASURED if key in found}
    group = given.get("num_generations") or Config.model_fields["num_generations"].default
    if isinstance(group, int) and isinstance(values.get("max_rows"), int):
        values["max_rows"] = max(values["max_rows"], group)  # a group is decoded together
    return Layer(str(path), values)


def _name(model: str) -> str:
    local = Path(model).expanduser()
    return str(local.resolve()) if local.exists() else model
