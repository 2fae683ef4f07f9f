"""Claim a run directory, for a new run or to resume one."""

from collections.abc import Callable, Collection
from pathlib import Path

import yaml

from grpo.config.loading import build, read_yaml, to_yaml
from grpo.config.sections import ConfigError, Section
from grpo.runs import checkpoint

CONFIG_FILE = "config.yaml"
# what may differ when a run is resumed: how long it is, what is looked at and kept, not what is learned
FREE_TO_CHANGE = {"output", "steps", "save_every", "keep_checkpoints", "completions_every", "wandb_project"}


Say = Callable[[str], None]


def claim(
    config: Section, output: Path, *, resume: bool, say: Say, free: Collection[str] = FREE_TO_CHANGE
) -> Path | None:
    """Check that this run may write to the directory; return the checkpoint to resume from, if there is one.

    `free` are the keys that a resumed run may change.
    """
    if not (output / CONFIG_FILE).exists():
        return None
    if not resume:
        raise ConfigError(
            f"output {output} holds a run already: add --resume to continue it, or choose another --output"
        )
    saved = build(type(config), read_yaml(output / CONFIG_FILE), source=str(output / CONFIG_FILE)).model_dump(
        mode="json"
    )
    mine = yaml.safe_load(to_yaml(config))
    changed = sorted(key for key in mine if key not in free and mine[key] != saved[key])
    if changed:
        raise ConfigError(
            f"can't resume {output} with other settings: {changed[0]} was {saved[changed[0]]!r}, "
            f"now {mine[changed[0]]!r}"
            + (f" (and {len(changed) - 1} more: {', '.join(changed[1:4])})" if len(changed) > 1 else "")
        )
    path, damaged = checkpoint.newest(output / "checkpoints")
    for line in damaged:
        say(f"  warning: {line}")
    if path is None:
        say(f"no checkpoint in {output} yet: starting from the beginning")
    else:
        say(f"resuming from {path}")
    return path
