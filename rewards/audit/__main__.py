"""`python -m rewards.audit --reward NAME[,NAME] [--input cases.jsonl]`: what a reward gets wrong, anyone's reward.

Every case has a completion, the reward's columns, and `expected`: what an honest reading is worth. Out come false
accepts (paid though it should not be), false rejects, values where there should be none or none where there should be
one, crashes, and the time a case takes. Without --input it uses the cases that come with this package: right and wrong
answers, hacks of R1-type rewards, parser traps and hostile strings for accuracy, format, format_similarity and
language.

`expected` is a number (1 = to be paid, 0 = not; paid means at least --threshold), [low, high] for a graded value, null
for "not applicable", or an object with one of these for each label: {"accuracy": 1, "format": 0}.

With --golds FILE no labels are needed: of each reference answer (column `answer` or `solution`) it makes rewritings,
which must be paid, and changes of a sign, digit, letter, operator, root or bracket, which must not. The table has a
line a kind; the exit code is 1 if a case is wrong, or with --fail-over if there are more than it allows.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rewards.audit.findings import Case, Finding, Summary, listing, read_cases, summarise, table, verdict_on
from rewards.audit.metamorphic import COMPLETION, cases_of_golds, kinds_table
from rewards.base import names
from rewards.printable import say
from rewards.rows import InputError, read_options, read_rows, wanted_names, write_lines

CASES = Path(__file__).with_name("cases.jsonl")
ALIKE = {"accuracy_lenient": "accuracy", "cosine": "accuracy"}  # judged by another's labels


def audit(
    reward: str, cases: Sequence[Case], options: dict[str, Any], *, threshold: float, timeout: float
) -> Iterator[Finding]:
    """Put every case to the reward, in a process that is replaced when it hangs or dies.

    The first case is asked once before, unrecorded: what a reward loads when it is first called is not a case's time.
    """
    from rewards.audit.process import AuditProcess

    with AuditProcess(reward, options, timeout) as process:
        process.ask(_row(cases[0]))
        for case in cases:
            reply = process.ask(_row(case))
            verdict = reply.outcome or verdict_on(case.expected, reply.value, threshold)
            ending = str(case.completion)[-80:]
            yield Finding(
                case.id, case.kind, verdict, case.expected, reply.value, reply.seconds, case.why, reply.error, ending
            )


def _row(case: Case) -> dict[str, Any]:
    return {"prompt": case.prompt, "completion": case.completion, "columns": case.columns}


def read_limits(pairs: Iterable[str]) -> dict[str, float]:
    """`--fail-over false_accepts=2`: a column of the table and the most it may be."""
    limits = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in Summary.__dataclass_fields__ or key in ("reward", "label", "cases", "right"):
            known = [name for name in Summary.__dataclass_fields__ if name not in ("reward", "label", "cases", "right")]
            raise InputError(f"--fail-over {pair!r}: {key} must be one of {', '.join(known)}")
        try:
            limits[key] = float(text)
        except ValueError:
            raise InputError(f"--fail-over {pair!r} must look like {key}=2") from None
    return limits


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(prog="python -m rewards.audit", description="What a reward gets wrong.")
    made.add_argument(
        "--reward", required=True, metavar="NAME[,NAME]", help=f"{', '.join(names())}, or your package.module:function"
    )
    made.add_argument("--input", type=Path, default=CASES, metavar="FILE", help="labelled cases (JSONL); default: ours")
    made.add_argument("--golds", type=Path, metavar="FILE", help="reference answers (JSONL), rewritten and changed")
    made.add_argument("--limit", type=int, default=300, metavar="N", help="golds that are drawn from the file (300)")
    made.add_argument(
        "--completion", default=COMPLETION, metavar="TEXT", help="how the reward wants an answer, {answer} in its place"
    )
    made.add_argument("--label", metavar="NAME", help="which of the labels; default: the reward's name, or accuracy")
    made.add_argument("--output", type=Path, metavar="FILE", help="summaries and every case as JSON")
    made.add_argument("--option", action="append", default=[], metavar="NAME.KEY=VALUE", help="an option of a reward")
    made.add_argument("--threshold", type=float, default=0.5, help="a value from here on counts as paid (0.5)")
    made.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for one case (10)")
    made.add_argument(
        "--fail-over",
        nargs="+",
        default=[],
        metavar="COLUMN=MOST",
        help="exit code 1 if a column of the table is above, e.g. false_accepts=2 crashes=0 p95_ms=100",
    )
    return made


def run(arguments: argparse.Namespace) -> int:
    """Audit every reward, print table and wrong cases. Returns 1 if a limit is exceeded."""
    wanted = wanted_names(arguments.reward)
    options = read_options(arguments.option, wanted)
    limits = read_limits(arguments.fail_over)
    summaries: list[Summary] = []
    found: dict[str, list[Finding]] = {}
    if arguments.golds is not None and not limits:
        limits = dict.fromkeys(("false_accepts", "false_rejects", "left_out", "crashes", "timeouts"), 0.0)
    for reward in wanted:
        if arguments.golds is not None:
            label, cases = "golds", cases_of_golds(arguments.golds, arguments.completion, max(1, arguments.limit))
        else:
            label = arguments.label or _label_of(reward, arguments.input)
            cases = read_cases(arguments.input, label)
        asked = audit(reward, cases, options.get(reward, {}), threshold=arguments.threshold, timeout=arguments.timeout)
        found[reward] = list(_with_progress(reward, asked, len(cases)))
        summaries.append(summarise(reward, label, found[reward]))
    say(table(summaries))
    for reward, findings in found.items():
        if arguments.golds is not None:
            say(f"\n{reward}\n{kinds_table(findings)}")
        for line in listing(reward, findings):
            say(line)
    if arguments.output is not None:
        write_lines(arguments.output, [_report(summaries, found)])
    return _over(summaries, limits)


def _with_progress(reward: str, findings: Iterator[Finding], total: int) -> Iterator[Finding]:
    """The findings, counted on the screen where somebody watches."""
    shown = sys.stderr.isatty()
    for number, finding in enumerate(findings, 1):
        if shown:
            print(f"\r{reward}: {number}/{total} ", end="\n" if number == total else "", file=sys.stderr, flush=True)
        yield finding


def _over(summaries: Sequence[Summary], limits: Mapping[str, float]) -> int:
    """1 if a figure is above its limit, said; else 0."""
    exceeded = [(one, key) for one in summaries for key, most in limits.items() if getattr(one, key) > most]
    for one, key in exceeded:
        say(f"over the limit: {one.reward}: {key} {getattr(one, key):g} > {limits[key]:g}")
    return 1 if exceeded else 0


def _report(summaries: Sequence[Summary], found: dict[str, list[Finding]]) -> str:
    cases = {reward: [asdict(finding) for finding in findings] for reward, findings in found.items()}
    return json.dumps({"summaries": [asdict(one) for one in summaries], "cases": cases}, ensure_ascii=False, indent=1)


def _label_of(reward: str, path: Path) -> str:
    """The reward's own label if the cases have it; accuracy's otherwise."""
    label = ALIKE.get(reward, reward)
    known = {key for row in read_rows(path) if isinstance(row.get("expected"), dict) for key in row["expected"]}
    return label if not known or label in known else "accuracy"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        return run(parser().parse_args(argv))
    except (InputError, ValueError) as error:
        say(f"rewards.audit: {' '.join(str(error).split())}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
