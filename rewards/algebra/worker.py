"""The process that parses what a model wrote: JSON lines in, JSON lines out, under limits.

It holds nothing worth taking.

Run by `rewards.maths.verifier` as `python -I worker.py`. First line in: {"path": [...]} (where the packages are); out:
{"ready": true} or {"error": "..."}. Then {"id", "gold", "answer", "strict"} -> {"id", "outcome"}. The CPU limit of
an item is a timer whose signal ends the process, whatever C code is running. End of input, so also the parent's
death, ends it.
"""

import json
import os
import resource
import signal
import sys
from typing import Any

MEMORY_BYTES = 2 << 30  # of address space; macOS ignores it, the wall clock limit remains
MAX_FILES = 32
CPU_SECONDS = 1.0


def limit_resources() -> None:
    """No file growth, few descriptors, bounded memory, no core file. Limits a system refuses are left as they are."""
    wanted = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: MAX_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        try:
            hard = resource.getrlimit(kind)[1]
            limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):
            continue


def judge(request: dict[str, Any]) -> str:
    """The outcome of one comparison: ok, wrong, unparsed, gold_bad or memory."""
    from rewards.algebra.symbolic import same_expression
    from rewards.maths.equality import Comparison
    from rewards.maths.grammar import read

    gold, answer = read(request["gold"]), read(request["answer"])
    if gold is None or not gold.known:
        return "gold_bad"
    if answer is None:
        return "unparsed"
    how = Comparison(strict=request["strict"], words=frozenset(request["words"]), expression=same_expression)
    try:
        return "ok" if how.same_answer(gold, answer) else "wrong"
    except MemoryError:
        return "memory"
    except Exception:  # sympy raises anything on odd input; it then has no verdict, which is no match
        return "unparsed"


def main() -> None:
    """Serve until the input ends."""
    lines, out = sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library that prints must not break the protocol
    try:
        sys.path.extend(entry for entry in json.loads(lines.readline())["path"] if entry not in sys.path)
        os.environ["SYMPY_GROUND_TYPES"] = "python"  # gmpy2 computes 10^9! in C and hears no signal
        warm = {"gold": "1/2006!", "answer": "2/(2*2006!)", "strict": True, "words": []}
        ready = judge(warm) == "ok"
    except Exception as error:  # said to the parent, who can tell the user
        print(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}), file=out, flush=True)
        return
    limit_resources()
    sys.setrecursionlimit(3000)
    print(json.dumps({"ready": ready}), file=out, flush=True)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for line in lines:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        outcome = judge(request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"id": request["id"], "outcome": outcome}), file=out, flush=True)
        if outcome == "memory":
            return


if __name__ == "__main__":
    main()
