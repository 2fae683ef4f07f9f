"""What is to be thought of a run, in words: warnings of its steps, seen again in order."""

from dataclasses import dataclass

from grpo.report.reading import Run
from grpo.runs.coach import Coach


@dataclass(frozen=True)
class Finding:
    """One thing that is the matter: what shows it, and what to do."""

    name: str
    evidence: str
    remedy: str = ""
    confidence: float | None = None


@dataclass(frozen=True)
class Judgement:
    """The verdict of a run, and its findings, the likeliest first."""

    word: str
    evidence: str
    next_command: str
    findings: list[Finding]


def judge(run: Run) -> Judgement:
    """Judge a run by what it has written so far."""
    findings = []
    if run.config is not None:
        coach = Coach(run.config)
        findings = [
            Finding(f"step {step}", text) for step, values in run.metrics.items() for text in coach.look(step, values)
        ]
    curve = run.curve("loss" if run.supervised else "reward")
    evidence = f"{curve[0][1]:.3f} → {curve[-1][1]:.3f}" if curve else ""
    return Judgement("loss" if run.supervised else "reward", evidence, f"grpo evaluate {run.path}", findings)
