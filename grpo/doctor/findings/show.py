"""Print the findings of runs: `python -m grpo.doctor RUN [RUN ...]`."""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from grpo.doctor.findings.diagnosis import findings
from grpo.doctor.findings.judgement import finished, judge
from grpo.doctor.findings.reading import RunError, read
from rewards.printable import printable

WIDTH = 110


def show(runs: Sequence[Path]) -> int:
    """Print verdict and findings of each run; return the exit code, 2 where one is none."""
    for place, run in enumerate(runs):
        try:
            lines = described(run)
        except RunError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return 2
        try:
            print("\n".join([*([""] if place else []), *lines]), flush=True)
        except BrokenPipeError:  # the reader, a pager or head, has seen enough
            sys.stderr.close()
            break
    return 0


def described(run: Path) -> list[str]:
    """Return the verdict, the next command and the findings of a run as lines."""
    seen = read(run)
    wrong = findings(seen)
    concluded = judge(seen, wrong, run, finished=finished(run))
    lines = [f"{run}: {concluded.line}", f"next: {concluded.next_command}", ""]
    for number, one in enumerate(wrong, 1):
        lines.append(f"{number}. {one.name} ({one.confidence:.0%})")
        lines += _wrapped("seen", one.evidence) + _wrapped("do", one.remedy)
        lines += _wrapped("try", " ".join(one.changes)) if one.changes else []
    return [printable(line) for line in lines or []] + ([] if wrong else ["nothing is found to be wrong"])


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"   {label + ':':6}", subsequent_indent=" " * 9)
