"""The verdict on a run: one word, why, and the command to run next."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from grpo.doctor.findings.diagnosis import findings
from grpo.doctor.findings.evidence import TASK_REWARDS, Evidence
from grpo.doctor.findings.kinds import Finding
from grpo.doctor.findings.rate import fallen
from grpo.doctor.findings.reading import read
from rewards.printable import printable

Word = Literal["learned", "flat", "hacked", "unstable", "worse", "failed", "too early"]

HACKS = {
    "format farmed", "length without gain", "copies the prompt", "answer in the prompt", "rewards disagree",
    "no reward judges the task", "repetition", "stops at once", "language drift",
}  # fmt: skip
UNSTABLE = {"learning rate too high", "KL blow-up", "gradient spikes", "mismatch", "entropy collapse"}
LEAST_LOSS = 0.02  # share of a loss that a change must have
EARLY = 3  # steps before which there is no verdict
VISIBLE = 0.05  # a difference that a reader takes for one
SURE = 2.0  # standard errors that a difference must have
ENDED = re.compile(r"^\d\d:\d\d:\d\d  Traceback|TrainingFailed", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What came of a run."""

    word: Word
    evidence: str
    next_command: str

    @property
    def line(self) -> str:
        """Word and evidence."""
        return f"{self.word}: {self.evidence}"


def verdict(run: Path) -> Verdict:
    """Return the verdict on the run in a directory; raises RunError where it holds no finished step."""
    seen = read(run)
    return judge(seen, findings(seen), run, finished=finished(run))


def finished(run: Path) -> bool:
    """Return whether a run has ended and written its summary."""
    return (run / "summary.json").exists()


def conclude(run: Path, summary: Mapping[str, Any]) -> tuple[list[Finding], Verdict]:
    """Return findings and verdict of a run that has just ended, whose summary is not written yet."""
    seen = replace(read(run), figures={when: summary[when] for when in ("before", "after") if summary.get(when)})
    wrong = findings(seen)
    return wrong, judge(seen, wrong, run, finished=True)


def lines_of(concluded: Mapping[str, str], run: Path) -> list[str]:
    """Return what a run says at its end, from the verdict in its summary."""
    said = [f"verdict: {concluded['word']}: {concluded['evidence']}", f"next: {concluded['next_command']}"]
    return [printable(line) for line in [*said, f"what was found: python -m grpo.doctor {run}"]]


def judge(seen: Evidence, wrong: list[Finding], run: Path, *, finished: bool) -> Verdict:
    """Return the verdict from evidence and findings; `finished`: the run has made all its steps."""
    first = wrong[0] if wrong else None
    rerun = _rerun(run, seen, first)
    if seen.supervised:
        return _supervised(seen, first, run)
    if not finished and ENDED.search(seen.log):
        return Verdict("failed", f"the run ended with an error after step {seen.count}: see log.txt", rerun)
    if seen.count < EARLY:
        return Verdict("too early", f"{seen.count} step(s) say nothing yet", _go_on(run, seen, finished))
    change, how = progress(seen)
    worse = change == "worse"
    if first is not None and first.name in UNSTABLE and (worse or fallen(seen) or change == "flat"):
        return Verdict("unstable", f"{how}; {first.name}: {first.evidence}", rerun)
    judged = not how.startswith(("held-out reward", "reward"))  # by a reward that says whether the task was done
    if first is not None and first.name in HACKS and not (judged and change == "learned"):
        return Verdict("hacked", f"{how}; {first.name}: {first.evidence}", rerun)
    if change == "learned":
        return Verdict("learned", how, _go_on(run, seen, finished))
    why = f"{how}; {first.name}: {first.evidence}" if first is not None else how
    longer = rerun if first is not None else _longer(run, seen, finished)
    return Verdict("worse" if worse else "flat", why, longer)


def progress(seen: Evidence) -> tuple[str, str]:
    """Return learned, flat or worse, and the figures that say so: held-out ones where there are two."""
    before, after = seen.figures.get("before", {}), seen.figures.get("after", {})
    for name in [name for name in (seen.accuracy,) if name] + ["reward"]:
        was, now = before.get(name), after.get(name)
        if isinstance(was, int | float) and isinstance(now, int | float):
            tasks = after.get("tasks", 0)
            error = _error(was, now, tasks) if name in TASK_REWARDS else seen.noise("reward")
            said = f"held-out {name} {was:.2f} -> {now:.2f} on {tasks} tasks"
            return _compared(now - was, error), said + _noise(now - was, error)
    name = (
        seen.accuracy_metric
        if seen.values(seen.accuracy_metric) and seen.weights.get(seen.accuracy or "")
        else "reward"
    )
    start, end = seen.start(name), seen.end(name)
    if start is None or end is None:
        return "flat", f"no completion of {seen.count} steps has a reward"
    shown = name.removeprefix("rewards/").removesuffix("/mean")
    said = f"{shown} {start:.2f} -> {end:.2f} over {seen.count} steps"
    return _compared(end - start, seen.noise(name)), said + _noise(end - start, seen.noise(name))


def _error(was: float, now: float, tasks: Any) -> float:
    """Return the standard error of the difference of two shares of as many tasks."""
    count = max(1.0, float(tasks)) if isinstance(tasks, int | float) else 1.0
    return float(((max(was * (1 - was), 0.01) + max(now * (1 - now), 0.01)) / count) ** 0.5)


def _compared(difference: float, error: float) -> str:
    if difference > max(SURE * error, 0.01):
        return "learned"
    return "worse" if difference < -max(SURE * error, 0.01) else "flat"


def _noise(difference: float, error: float) -> str:
    """Return what keeps a visible difference from counting, as an end of a sentence."""
    visible = abs(difference) > VISIBLE and _compared(difference, error) == "flat"
    return f" (within the noise of +-{SURE * error:.2f})" if visible else ""


def _supervised(seen: Evidence, first: Finding | None, run: Path) -> Verdict:
    """Return the verdict on a run that minimises a loss on a corpus."""
    held = seen.values("eval/loss")  # of the same rows each time: it has no noise but rounding
    name, start, end, error = "loss", seen.start("loss"), seen.end("loss"), seen.noise("loss")
    if len(held) > 1:
        name, start, end, error = "eval/loss", held[0], held[-1], 0.0
    command = f"python -m grpo.report {run}"
    if start is None or end is None or seen.count < EARLY:
        return Verdict("too early", f"{seen.count} step(s) say nothing yet", command)
    least = max(SURE * error, LEAST_LOSS * abs(start))
    word: Word = "learned" if start - end > least else "worse" if end - start > least else "flat"
    how = f"{name.replace('_', ' ')} {start:.3f} -> {end:.3f} over {seen.count} logged steps"
    if first is not None and (word != "learned" or first.name == "learning rate too high"):  # first evaluated too late
        how += f"; {first.name}: {first.evidence}"
        word = "unstable" if first.name in UNSTABLE else word
    return Verdict(word, how, command)


def _go_on(run: Path, seen: Evidence, finished: bool) -> str:
    last = int(seen.steps[-1]["step"])
    if not finished and last < seen.number("steps", 0):
        return f"python -m grpo.train --output {run} --resume"
    return f"python -m grpo.evaluate {run}"


def _longer(run: Path, seen: Evidence, finished: bool) -> str:
    if not finished:
        return _go_on(run, seen, finished)
    return f"python -m grpo.train --output {run} --resume steps={2 * seen.number('steps', seen.count):.0f}"


def _rerun(run: Path, seen: Evidence, first: Finding | None) -> str:
    """Return the command that runs the same again with the first finding's changes; the report where it has none."""
    if (
        first is None
        or not first.changes
        or "in memory: " in f"{seen.settings.get('model')} {seen.settings.get('data')}"
    ):
        return f"python -m grpo.report {run}"
    return f"python -m grpo.train --config {run}/config.yaml --output {run}-again {' '.join(first.changes)}"
