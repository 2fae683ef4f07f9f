"""The verdict and the findings of the run doctor, see `grpo.doctor.findings`."""

from dataclasses import dataclass
from pathlib import Path

from grpo.doctor.findings import Finding, Verdict, judgement
from grpo.doctor.findings.diagnosis import findings
from grpo.doctor.findings.reading import read


@dataclass(frozen=True)
class Judgement:
    """What the doctor says of a run: its verdict, and what is wrong with it, the likeliest first."""

    verdict: Verdict
    findings: list[Finding]


def judge(run: Path) -> Judgement:
    """Ask the doctor about a run directory, finished or not; RunError where it holds no finished step."""
    seen = read(run)
    wrong = findings(seen)
    return Judgement(judgement.judge(seen, wrong, run, finished=judgement.finished(run)), wrong)
