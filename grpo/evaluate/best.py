"""Which step of a run was the best by a held-out figure."""

from collections.abc import Mapping
from typing import Any

from grpo.config.sections import ConfigError

Best = dict[str, Any]  # step, metric, value


def better(best: Best | None, step: int, name: str | None, figures: Mapping[str, Any]) -> Best | None:
    """Return the record of step `step` if its figure `name` is higher than the best so far, None if it is not.

    ConfigError where there is no such figure.
    """
    value = None if name is None else figures.get(name)
    if value is None and name not in (None, "reward"):  # all rewards may be missing once
        raise ConfigError(
            f"metric_for_best_model {name} is no held-out figure of this run; there are "
            f"{', '.join(key for key, one in figures.items() if isinstance(one, float))}"
        )
    if value is None or (best is not None and value <= best["value"]):
        return None
    return {"step": step, "metric": name, "value": float(value)}


def told(best: Best, folder: str) -> str:
    """Return the line about the best at a run's end; `folder` is where its adapter is."""
    where = folder if best["step"] else "its start: no step made it better"
    return f"  best held-out {best['metric']}: {best['value']:.3f} after step {best['step']}, {where}"
