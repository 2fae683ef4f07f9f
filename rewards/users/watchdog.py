"""End a process whose interpreter a reward holds: then neither Python nor a signal handler runs."""

import faulthandler
import sys
import threading

GRACE_SECONDS = 30.0


class Watchdog:
    """Dump every stack to standard error and exit with code 1 if a watched call keeps the interpreter to itself.

    A call that is merely late lets others run, and they stand the watchdog down. There is one for a process, as
    faulthandler has one timer.
    """

    def __init__(self, timeout_seconds: float, grace_seconds: float = GRACE_SECONDS) -> None:
        self._seconds = timeout_seconds + grace_seconds
        self._lock = threading.Lock()
        self._watched = 0

    def start(self) -> None:
        """Watch until the `stop` of this call."""
        with self._lock:
            self._watched += 1
            # the real standard error: a notebook or a test replaces sys.stderr by something without a descriptor
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=sys.__stderr__ or 2)

    def stop(self) -> None:
        """Whoever waited for the call can run: with the last of them nothing is watched any more."""
        with self._lock:
            self._watched -= 1
            if not self._watched:
                faulthandler.cancel_dump_traceback_later()
