"""Give all ranks the settings of rank 0, and refuse a rank that was given others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from grpo.config.layers import AnyConfig
from grpo.ranks.alone import here
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
