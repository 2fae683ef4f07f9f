"""Users' rewards seen from the trainer: a warm process that is handed each batch once, and is replaced when it dies."""

import contextlib
import json
import os
import pickle
import re
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.base import Judged
from rewards.process import ChildProcess, Died, Late, Unsolicited
from rewards.users.arguments import CallState, Logged

START_SECONDS = 120.0  # imports of users' modules, and handing a batch over
GRACE_SECONDS = 2.0  # after which a process that should have ended itself is killed
LONGEST_LINE = 128 << 20  # bytes of a reply
FRAME = re.compile(r'File "([^"\n]+)", line (\d+) in (\S+)')
Made = bytes | Mapping[str, Any]  # a packed function, or the options of "module:function"


@dataclass
class UserScores:
    """The values and failures of users' rewards for one batch."""

    judged: dict[str, Judged] = field(default_factory=dict)
    tracebacks: dict[str, str] = field(default_factory=dict)  # reward -> its traceback, or the stack it hung or died in
    logged: Logged = field(default_factory=Logged)


class UserProcess:
    """The process of users' rewards. Calls from several threads wait for each other.

    Args:
        rewards: name -> what it is made of there.
        timeout_seconds: for one reward on one batch; then the process is ended and another one started.

    Attributes:
        failed: name -> why the reward can't be had there.
        required_columns: columns that some reward can't do without.

    """

    def __init__(self, rewards: Mapping[str, Made], timeout_seconds: float) -> None:
        self._order: dict[str, Any] = {
            "rewards": dict(rewards),
            "timeout_seconds": timeout_seconds,
            "path": [os.path.abspath(entry) for entry in sys.path],
        }
        self._timeout = timeout_seconds
        self._lock = threading.Lock()
        self._closed_times = 0
        self.failed: dict[str, str] = {}
        self.required_columns: set[str] = set()
        self._loaded = 0  # of the rewards being imported
        self._child: ChildProcess | None = self._start()
        while not self._ready:
            self._import()

    def score(self, call: Mapping[str, Any], rows: int, names: Sequence[str], state: CallState) -> UserScores:
        """Call the rewards of these names on a batch. Whatever happens there is None for every completion, and said."""
        scores, opened = UserScores(), self._closed_times
        with self._lock:
            try:
                packed = pickle.dumps(dict(call), pickle.HIGHEST_PROTOCOL)
            except Exception as error:  # a column may hold anything
                text = f"the columns can't be sent to its process ({' '.join(str(error).split())[:200]}): "
                for name in names:
                    _fail(scores, name, rows, "raised", text + "take the column out, or set reward_process: trainer")
                return scores
            left = list(names)
            while left and opened == self._closed_times:
                self._one_process(scores, {"rows": rows, "state": state}, packed, left)
            if opened != self._closed_times:
                self._end()
            for name in left:
                _fail(scores, name, rows, "timeout", "the run ended before it was called")
        return scores

    def close(self) -> None:
        """End the process; a call that waits for it returns at once. The next call starts another."""
        self._closed_times += 1
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            self._end()

    def _one_process(self, scores: UserScores, batch: dict[str, Any], call: bytes, left: list[str]) -> None:
        """Call rewards until all of `left` have replied or the process has ended; takes names out of `left`."""
        child = self._child = self._child or self._start()
        name, dump = left[0], b""
        try:
            if not self._ready:
                self._wait_until_ready(child)
            _send(child, pickle.dumps(batch | {"names": list(left)}))
            _send(child, call)
            while left:
                name = left[0]
                deadline = time.monotonic() + self._timeout + GRACE_SECONDS
                line = child.line(deadline)
                if not line.startswith(b"{"):
                    dump = line + b"\n" + child.rest(time.monotonic() + GRACE_SECONDS)
                    raise Died(child.wait(time.monotonic() + GRACE_SECONDS))
                _take(scores, name, json.loads(line), batch["rows"])
                left.pop(0)
        except (Late, Died, Unsolicited, ValueError) as error:
            left.pop(0)
            self._end()
            self._report(scores, name, batch["rows"], error, dump.decode("utf-8", "replace"))
            self._child = self._start()  # warm again by the time of the next batch

    def _report(self, scores: UserScores, name: str, rows: int, error: Exception, dump: str) -> None:
        where = _where(dump)
        if isinstance(error, Late) or dump.startswith("Timeout"):
            kind, text = "timeout", f"no result after {self._timeout:g} s{where}"
        else:
            kind, text = "died", f"{_end_of(error)}{where}"
        _fail(scores, name, rows, kind, f"{text}; left out, and its process started again")
        if dump:
            scores.tracebacks[name] = dump

    def _start(self) -> ChildProcess:
        self._ready = False
        child = ChildProcess(
            [sys.executable, "-m", "rewards.users.worker"],
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(self._order["path"])},
            stderr=None,
            longest_line=LONGEST_LINE,
        )
        with contextlib.suppress(Late):
            _send(child, pickle.dumps(self._order, pickle.HIGHEST_PROTOCOL))
        return child

    def _import(self) -> None:
        """Wait for the first imports; a reward whose import ends the process is not tried again."""
        child = self._child = self._child or self._start()
        try:
            self.failed |= self._wait_until_ready(child)
        except (Late, Died, Unsolicited, ValueError) as error:
            name = list(self._order["rewards"])[self._loaded]
            self.failed[name] = f"importing it: {_end_of(error)}"
            del self._order["rewards"][name]
            self._end()

    def _wait_until_ready(self, child: ChildProcess) -> dict[str, str]:
        """Wait for the imports; return name -> why it can't be had. Raises Late or Died."""
        deadline, failed = time.monotonic() + START_SECONDS, {}
        for place, name in enumerate(self._order["rewards"]):
            self._loaded = place
            line = child.line(deadline)
            if not line.startswith(b"{"):
                raise Died(child.wait(time.monotonic() + GRACE_SECONDS))
            reply = json.loads(line)
            if reply["failed"] is not None:
                failed[name] = reply["failed"]
            self.required_columns.update(reply.get("required_columns", ()))
        self._ready = True
        return failed

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


def _send(child: ChildProcess, message: bytes) -> None:
    """Length and message: half a gigabyte of completions is not copied to put them together."""
    deadline = time.monotonic() + START_SECONDS
    child.send_bytes(len(message).to_bytes(8, "big"), deadline)
    child.send_bytes(message, deadline)


def _take(scores: UserScores, name: str, reply: Mapping[str, Any], rows: int) -> None:
    values = reply.get("values")
    if reply.get("name") != name or type(values) is not list or len(values) != rows:
        raise ValueError("its process was out of step")
    scores.judged[name] = Judged(values, outcomes=reply["outcomes"], messages=reply["messages"])
    scores.logged.add(Logged(reply["columns"], reply["metrics"]))
    if reply["traceback"]:
        scores.tracebacks[name] = reply["traceback"]


def _fail(scores: UserScores, name: str, rows: int, kind: str, text: str) -> None:
    scores.judged[name] = Judged([None] * rows, outcomes={kind: rows}, messages={kind: text})


def _end_of(error: Exception) -> str:
    if not isinstance(error, Died):
        return "its process did not reply" if isinstance(error, Late) else str(error)
    if error.signal is None:
        return f"it ended its process, exit code {error.status}"
    name = signal.Signals(error.signal).name if error.signal in list(signal.Signals) else str(error.signal)
    return f"it crashed its process, {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _where(dump: str) -> str:
    """The innermost line of a stack that is not the standard library's or ours."""
    current = (
        dump[max(dump.find("Current thread"), 0) :] if "Current thread" in dump else dump[dump.rfind("\nThread ") :]
    )
    library = sysconfig.get_paths()["stdlib"]
    for path, line, function in FRAME.findall(current):
        if not path.startswith(library) or "site-packages" in path:
            if path.endswith(os.path.join("users", "worker.py")):
                break
            return f", in {function} ({os.path.basename(path)} line {line})"
    return ""
