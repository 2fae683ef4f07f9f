"""One self-contained HTML page of one or several runs or pipelines: verdict, curves, completions, config.

The runs may still be going; nothing in them is changed but the page that is written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rewards.printable import say


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m grpo.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="directory of a run or a pipeline; several are laid over each other, seeds as a band",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.html", help="without it report.html in the first RUN")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong."""
    options = parse(arguments)
    from grpo.report.page import render
    from grpo.report.reading import ReportError

    output = options.output or options.runs[0] / "report.html"
    try:
        page = render(options.runs)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8", errors="replace")  # model text may hold half a surrogate pair
    except ReportError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"cannot write {output}: {error.strerror or error}")
    say(f"report: {output}")
    return 0


def _refuse(reason: str) -> int:
    say(f"error: {' '.join(reason.split())}", sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
