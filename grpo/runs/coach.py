"""Warnings while a run goes: the doctor's findings on the metrics so far, one line each.

The coach sees every step's metrics in order and nothing else, so a resumed run rebuilds it by showing it
metrics.jsonl again. The doctor looks at completions as well (`python -m grpo.doctor RUN`).
"""

import sys
from collections.abc import Iterable

from grpo.config import Config
from grpo.doctor.findings.diagnosis import findings
from grpo.doctor.findings.evidence import Evidence, Metrics
from grpo.doctor.findings.kinds import Finding

QUIET_STEPS = 20  # a kind of warning is not repeated sooner
BEGINNING, RECENT = 5, 40  # steps that are looked at: those at the start, and the last ones
LARGEST = sys.float_info.max
DIGITS = 9  # metrics.jsonl keeps as many, and a replay must decide alike


class Coach:
    """Turns a run's metrics into one-line warnings, each kind at most once in QUIET_STEPS steps."""

    def __init__(self, config: Config) -> None:
        self.settings = config.model_dump(mode="json")
        self.beginning: list[Metrics] = []
        self.recent: list[Metrics] = []
        self.warned_at: dict[str, int] = {}  # name -> step
        self.found: list[Finding] = []  # at the last step

    def look(self, step: int, metrics: dict[str, float]) -> list[str]:
        """Return this step's warnings; call it once a step, in order."""
        now = {name: float(f"{value:.{DIGITS}g}") for name, value in metrics.items() if _is_finite(value)}
        now["step"] = float(step)
        if len(self.beginning) < BEGINNING:
            self.beginning.append(now)
        else:
            self.recent = [*self.recent, now][-RECENT:]
        self.found = findings(Evidence(self.settings, [*self.beginning, *self.recent]))
        warnings = []
        for one in self.found:
            if step - self.warned_at.get(one.name, -QUIET_STEPS) >= QUIET_STEPS:
                self.warned_at[one.name] = step
                warnings.append(one.line)
        return warnings

    def replay(self, steps: Iterable[tuple[int, dict[str, float]]]) -> None:
        """Look at the earlier steps of a resumed run again."""
        for step, metrics in steps:
            self.look(step, metrics)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST  # nan is not below
