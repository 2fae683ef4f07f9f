"""The process in which `rewards.audit` calls a reward: one row at a time, JSON lines in, JSON lines out.

A reward under audit may be anyone's: it may hang, print, crash the interpreter or eat the memory. First line in:
{"reward", "options", "path"}; out: {"ready": true} or {"error": text}. Then {"prompt", "completion", "columns"} ->
{"value", "seconds", "error"}.
"""

import json
import os
import sys
import time
from typing import Any


def judge(reward: Any, row: dict[str, Any], *, users: bool) -> dict[str, Any]:
    """The value of one row, the seconds it took, and what went wrong; `users`: the reward is not this package's."""
    from rewards.compose import FAILED_CALL, checked
    from rewards.users.arguments import CallState, Logged

    columns = {name: [value] for name, value in row["columns"].items()}
    if users:
        columns |= Logged().arguments(CallState())
    start = time.perf_counter()
    try:
        returned = reward(prompts=[row["prompt"]], completions=[row["completion"]], completion_ids=None, **columns)
    except Exception as error:  # the boundary: whatever a reward raises is a finding
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return {"value": None, "seconds": time.perf_counter() - start, "error": said}
    seconds = time.perf_counter() - start
    result = checked(returned, 1)
    wrong = [result.messages[kind] for kind in FAILED_CALL if kind in result.messages]
    return {"value": result[0], "seconds": seconds, "error": "; ".join(wrong) or None}


def main() -> None:
    """Serve until the input ends."""
    lines, out = sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a reward prints goes to standard error
    order = json.loads(lines.readline())
    sys.path.extend(entry for entry in order["path"] if entry not in sys.path)
    try:
        from rewards.base import get

        reward = get(order["reward"], **order["options"])
    except Exception as error:  # said to the parent, who tells the user
        print(json.dumps({"error": str(error)}), file=out, flush=True)
        return
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in lines:
        print(json.dumps(judge(reward, json.loads(line), users=":" in order["reward"])), file=out, flush=True)


if __name__ == "__main__":
    main()
