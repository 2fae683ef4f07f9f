"""Claim a run directory, for a new run or to resume one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from grpo.config.layers import build, shown
from grpo.config.loading import to_yaml
from grpo.config.parsing import read_yaml
from grpo.config.sections import ConfigError, LoggedRun, Section
from grpo.runs import checkpoint
from grpo.runs.command import CONFIG_FILE

# keys that may differ when a run is resumed: its length, what is looked at and kept, not what is learned
FREE_TO_CHANGE = {
    "output",
    "steps",
    "save_every",
    "keep_checkpoints",
    "completions_every",
    "metric_for_best_model",
    "completions_logprobs",
    "probe_every",
    "probe_prompts",
    "wandb_project",
    "trackio_project",
    "reward_process",
    "rollout",
    "max_staleness",
}
SUMMARY = "summary.json"

Say = Callable[[str], None]


def claim(
    config: Section,
    output: Path,
    *,
    resume: bool,
    say: Say,
    free: Collection[str] = FREE_TO_CHANGE,
    origins: Mapping[str, str] | None = None,
) -> Path | None:
    """Check that this run may write to the directory; return the checkpoint to resume from, if there is one.

    `free` are the keys that a resumed run may change, `origins` the source of each key that was given.
    """
    if not (output / CONFIG_FILE).exists():
        for folder, entries in (("checkpoints", "*step_*"), ("samples", "*/*.jsonl")):
            if any((output / folder).glob(entries)):
                raise ConfigError(
                    f"output {output} holds {folder} but no {CONFIG_FILE}, which says what they are of: put it back, "
                    "or choose another --output"
                )
        return None
    if not resume:
        raise ConfigError(
            f"output {output} holds a run already: add --resume to continue it, or choose another --output"
        )
    source = str(output / CONFIG_FILE)
    saved = build(type(config), read_yaml(output / CONFIG_FILE), source=source).model_dump(mode="json")
    mine = yaml.safe_load(to_yaml(config))
    changed = sorted(key for key in mine if mine[key] != saved[key] and key != "output")
    if refused := [key for key in changed if key not in free]:
        raise ConfigError(_refusal(config, output, refused, saved, mine, free, origins or {}))
    for key in changed:
        say(f"  {key} was {shown(saved[key])}, is {shown(mine[key])} from here on")
    if "steps" in changed and mine.get("lr_schedule", "constant") != "constant":
        say(
            f"  warning: the {mine['lr_schedule']} schedule of the learning rate is stretched from {saved['steps']} to "
            f"{mine['steps']} steps: from here on it is neither the old length's nor the new one's from its start"
        )
    path, damaged = checkpoint.newest(output / "checkpoints")
    for line in damaged:
        say(f"  warning: {line}")
    if path is None:
        say(f"no checkpoint in {output} yet: starting from the beginning")
    else:
        say(f"resuming from {path}")
    return path


def finished(config: LoggedRun, output: Path) -> int:
    """Return how many steps a run has made if those are all of the config's; 0 if it is not finished."""
    try:
        steps = int(checkpoint.read_object(output / SUMMARY)["steps"])
    except (ConfigError, ValueError, KeyError, TypeError, OverflowError):
        return 0
    return steps if (output / CONFIG_FILE).exists() and steps >= config.steps else 0


def _refusal(
    config: Section,
    output: Path,
    refused: Sequence[str],
    saved: Mapping[str, Any],
    mine: Mapping[str, Any],
    free: Collection[str],
    origins: Mapping[str, str],
) -> str:
    """Return what can't change, what may, and the way to a run that has it otherwise."""
    first, *rest = refused
    sources = {place for key, place in origins.items() if key.split(".")[0] == first}
    given = f" ({' and '.join(sorted(sources))})" if sources else ""
    more = f" (and {len(rest)} more: {', '.join(rest[:3])})" if rest else ""
    way_out = "choose another --output"
    if getattr(config, "fine_tune", None) == "lora" and "adapter" in type(config).model_fields:
        way_out = f"begin a run of its own from this one's adapter: adapter={output} --output NEW"
    may = ", ".join(sorted(key for key in free if key in type(config).model_fields and key != "output"))
    return (
        f"can't resume {output} with other settings: {first} was {shown(saved[first])}, now {shown(mine[first])}"
        f"{given}{more}. What may change: {may}; for the rest {way_out}"
    )
