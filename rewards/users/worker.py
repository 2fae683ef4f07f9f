"""The process in which users' rewards run, in its main thread: `signal.alarm` works there, and a hang or crash ends it.

A message in is 8 bytes of length and a pickle: first the order, {"path", "rewards", "timeout_seconds"}, then two for
each batch, {"names", "rows", "state"} and the call's arguments.
Out come JSON lines: {"failed", "required_columns"} for each reward of
the order, then one for each of a batch. A stack that ends the process (no reply in time, a segfault) comes the same
way, as faulthandler writes it: in C, so also where a reward holds the interpreter lock.
"""

import faulthandler
import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import IO, Any

from rewards.base import Reward, adapt, get
from rewards.compose import all_failed, checked
from rewards.imports import one_line
from rewards.printable import Escaping
from rewards.users.arguments import Logged
from rewards.users.packing import unpack

ORPHAN_SECONDS = 1.0
LONGEST_TRACE = 20_000  # characters, the end of it: an exception's text may hold anything
LONGEST_REPLY = 64 << 20  # bytes


def main() -> None:
    """Serve until the input ends."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a reward that reads its input must not read ours
    os.dup2(2, 1)  # what it prints goes to standard error
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.stdout, sys.stderr = Escaping(sys.stdout), Escaping(sys.stderr)
    os.register_at_fork(after_in_child=lambda: _leave(inbox, outbox))
    faulthandler.enable(outbox)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    first = _read(inbox)
    if first is None:
        return
    order = pickle.loads(first)
    sys.path[:] = order["path"]
    rewards: dict[str, Reward] = {}
    for name, made_of in order["rewards"].items():
        try:
            rewards[name] = adapt(unpack(made_of), name) if isinstance(made_of, bytes) else get(name, **made_of)
            _write(outbox, {"failed": None, "required_columns": sorted(getattr(rewards[name], "required_columns", ()))})
        except BaseException as error:  # the user's module may fail in any way while it is imported
            said = str(error) if type(error) is ValueError else one_line(error)
            _write(outbox, {"failed": said})
    own = os.getpid()
    while (header := _read(inbox)) is not None:
        batch = pickle.loads(header) | {"call": _read(inbox)}
        if batch["call"] is None:
            return
        for name in batch["names"]:
            faulthandler.dump_traceback_later(order["timeout_seconds"], exit=True, file=outbox)
            reply = _call(rewards[name], batch)
            faulthandler.cancel_dump_traceback_later()
            signal.setitimer(signal.ITIMER_REAL, 0)
            if os.getpid() != own:  # a reward forked, and its child came back here
                os._exit(0)
            _write(outbox, {"name": name} | reply)


def _call(reward: Reward, batch: dict[str, Any]) -> dict[str, Any]:
    """One reward on a batch; it gets lists of its own, which it may change."""
    logged, trace = Logged(), None
    try:
        returned = reward(**pickle.loads(batch["call"]), **logged.arguments(batch["state"]))
        judged = checked(returned, batch["rows"])
    except BaseException as error:  # the boundary: whatever a reward does is recorded, not raised
        text, trace = one_line(error), traceback.format_exc()[-LONGEST_TRACE:]
        judged = all_failed(batch["rows"], "raised", f"raised {text}")
    return {
        "values": list(judged),
        "outcomes": dict(judged.outcomes),
        "messages": judged.messages,
        "traceback": trace,
        "columns": logged.columns,
        "metrics": logged.metrics,
    }


def _read(inbox: IO[bytes]) -> bytes | None:
    """The next message; None at the end of the input, also in the middle of one."""
    length = inbox.read(8)
    message = inbox.read(int.from_bytes(length, "big")) if len(length) == 8 else b""
    return message if message and len(message) == int.from_bytes(length, "big") else None


def _write(outbox: IO[bytes], reply: dict[str, Any]) -> None:
    """Reply; where the trainer was killed nobody listens, and there is nothing to say about it."""
    line = json.dumps(reply, default=str).encode()
    if len(line) > LONGEST_REPLY:
        said = {"logged": f"what it logged is left out: over {LONGEST_REPLY >> 20} MiB for one batch"}
        line = json.dumps(reply | {"columns": {}, "metrics": {}, "messages": reply["messages"] | said}).encode()
    try:
        outbox.write(line + b"\n")
        outbox.flush()
    except BrokenPipeError:
        os._exit(1)


def _leave(*pipes: IO[bytes]) -> None:
    """In a process that a reward forks: keep nothing open that the trainer waits on."""
    for pipe in pipes:
        os.dup2(os.open(os.devnull, os.O_RDWR), pipe.fileno())


def _end_with_parent(parent: int) -> None:
    """A trainer that was killed leaves no reward behind."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
