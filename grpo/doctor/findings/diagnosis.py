"""Put the rules to a run and order what they find: causes before their symptoms."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from grpo.doctor.findings.evidence import Evidence
from grpo.doctor.findings.kinds import KINDS, Finding
from grpo.doctor.findings.paid import RULES as PAID
from grpo.doctor.findings.rate import RULES as RATE
from grpo.doctor.findings.reading import read
from grpo.doctor.findings.saying import RULES as SAYING
from grpo.doctor.findings.supervised import RULES as SUPERVISED

SHOWN = 0.55  # confidence from which a finding is shown
SYMPTOM = 0.5  # what a finding keeps of its confidence when another explains it
RULES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (*RATE, *PAID, *SAYING)


def diagnose(run: Path) -> list[Finding]:
    """Return what is wrong with the run in a directory, the most probable cause first; empty where nothing is.

    Raises RunError where the directory holds no finished step.
    """
    return findings(read(run))


def findings(seen: Evidence) -> list[Finding]:
    """Return the findings of all rules, ordered; a finding that another explains comes after it."""
    best: dict[str, Finding] = {}
    for rule in SUPERVISED if seen.supervised else RULES:
        for one in rule(seen):
            if one.confidence >= SHOWN and (one.name not in best or best[one.name].confidence < one.confidence):
                best[one.name] = one
    return _ordered(list(best.values()))


def _ordered(all_found: list[Finding]) -> list[Finding]:
    ordered = sorted(all_found, key=lambda one: -one.confidence)
    explained: dict[str, Finding] = {}
    for cause in ordered:
        if cause.name in explained:
            continue
        for other in ordered:
            mutual = cause.name in KINDS[other.name].explains and other.confidence > cause.confidence
            if other.name in KINDS[cause.name].explains and not mutual:
                explained.setdefault(other.name, cause)
    weighed = [
        replace(one, confidence=round(min(SYMPTOM * one.confidence, explained[one.name].confidence - 0.01), 2))
        if one.name in explained
        else one
        for one in ordered
    ]
    return sorted(weighed, key=lambda one: -one.confidence)
