"""Give all ranks the settings of rank 0, refuse a rank that was given others, and roles that can't be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.config.layers import AnyConfig
from grpo.config.sections import ConfigError
from grpo.ranks.alone import here
from grpo.ranks.launch import world
from grpo.runs.command import CONFIG_FILE, Settled


def same_settings(settled: Settled[AnyConfig], *, resume: bool) -> Settled[AnyConfig]:
    """Return rank 0's settings and run directory; ConfigError on all ranks if another was given other settings.

    A run that is resumed goes on with its recorded config, which a rank on a machine without the run directory can't
    know: it takes rank 0's.
    """
    ranks = here()
    if ranks.size == 1:
        return settled
    config = settled.config.model_dump(mode="json")
    first: dict[str, Any] = ranks.from_first(lambda: {"config": config, "output": str(settled.output)})
    output = Path(first["output"])
    if resume and not (output / CONFIG_FILE).exists():
        config = first["config"]
    ranks.require_same({key: value for key, value in config.items() if key != "output"})
    return replace(settled, config=type(settled.config).model_validate(config), output=output)


def require_roles(config: Config, samplers: int = 0, learners: int = 1, *, launched: bool = True) -> None:
    """Raise ConfigError for roles that a run can't have, and for sampling ahead with nobody to do it.

    Where nothing is `launched` yet, the number of processes is not looked at.
    """
    remote = config.rollout.url is not None
    if config.max_staleness and not (remote or samplers):
        raise ConfigError(
            f"max_staleness must be 0 without rollout.url or --samplers, got {config.max_staleness}: one device can't "
            "sample while it learns"
        )
    if samplers < 0 or learners < 1:
        raise ConfigError(f"--samplers must be at least 0 and --learners at least 1, got {samplers} and {learners}")
    if not samplers and learners > 1:
        raise ConfigError(f"--learners {learners} needs --samplers: without any, all processes sample and learn")
    if not samplers:
        return
    if launched and samplers + learners != world():
        raise ConfigError(
            f"--samplers {samplers} --learners {learners} are {samplers + learners} processes, got {world()}: "
            f"mlx.launch -n {samplers + learners} -- python -m grpo.train ..."
        )
    if remote:
        raise ConfigError(f"--samplers {samplers} and rollout.url both say who samples: leave one out")
    if config.tensor_parallel:
        raise ConfigError(f"--samplers {samplers} needs tensor_parallel false: a sampler holds the whole model")
