"""A live page of one or several runs or pipelines: verdict, curves, and every completion, searchable.

It is the page of report.html, kept up to date while the runs go on. Nothing in the runs is changed. The page is
served on this machine only.
"""

import argparse
import contextlib
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rewards.printable import say

if TYPE_CHECKING:
    from grpo.watch.state import Watched

HOST, PORT = "127.0.0.1", 8765


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m grpo.watch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="directory of a run or a pipeline")
    parser.add_argument("--port", type=int, metavar="P", help=f"on {HOST}; without it {PORT}, or a free one")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Exit code: 0 stopped by the user, 2 the input is wrong."""
    options = parse(arguments)
    from grpo.report.reading import ReportError

    try:
        listening = _listen(options.port)
        watched = _opened(options.runs)
    except KeyboardInterrupt:  # while it waited for a first step
        return 0
    except ReportError as error:
        return _refuse(str(error))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        return _refuse(f"can't listen on {HOST} port {options.port}: {reason}; choose another --port")
    _serve(watched, listening)
    return 0


def _opened(runs: Sequence[Path]) -> "Watched":
    """Read the runs; wait for the first step of one that has just begun. Raises ReportError for what is no run."""
    from grpo.report.reading import NoStepYet
    from grpo.watch.state import POLL, Watched

    waits = False
    while True:
        try:
            return Watched(runs)
        except NoStepYet as error:
            if not waits:
                say(f"waiting for the first step: {error}")
            waits = True
            time.sleep(POLL)


def _listen(port: int | None) -> socket.socket:
    """Open the port; without a wish the usual one, or any that is free."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, PORT if port is None else port))
    except OSError:
        if port is not None:
            listening.close()
            raise
        listening.bind((HOST, 0))
    return listening


def _serve(watched: "Watched", listening: socket.socket) -> None:
    import uvicorn

    from grpo.watch.server import application

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            watched.stop()  # first of all, so that no stream of news keeps the server
            super().handle_exit(sig, frame)

    config = uvicorn.Config(application(watched), log_level="warning", timeout_graceful_shutdown=3)
    say(f"watching on http://{HOST}:{listening.getsockname()[1]}/ ; Ctrl-C ends")
    watched.start()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn sends itself the signal again when all is closed
        Server(config).run(sockets=[listening])


def _refuse(reason: str) -> int:
    say(f"error: {' '.join(reason.split())}", sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
