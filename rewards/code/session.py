"""The process in which a conversation's Python runs: statements one after the other, what they define is kept.

Requests: {"code", "most": characters} -> {"output", "failed"}. It holds nothing but the conversation's own code; what
it says is believed to be its output and no more.
"""

import ast
import contextlib
import io
import sys
import traceback
from typing import Any

from rewards.sandbox.guard import Channel, Confinement, seal


def serve(channel: Channel, confinement: Confinement) -> None:
    """Run code until the input ends."""
    seal(confinement)
    sys.setrecursionlimit(5000)
    names: dict[str, Any] = {"__name__": "__main__"}
    while (request := channel.receive()) is not None:
        output, failed = run(request["code"], names, request["most"])
        channel.send({"id": request.get("id"), "output": output, "failed": failed})


def run(code: str, names: dict[str, Any], most: int) -> tuple[str, bool]:
    """Run statements in `names`; return what they wrote, and the value of a last expression as a prompt shows it."""
    out = io.StringIO()
    failed = False
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            tree = ast.parse(code, "session.py")
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "session.py", "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "session.py", "eval"), names)
                if value is not None:
                    print(repr(value))
    except BaseException as error:  # whatever the code does is its output
        failed = True
        lines = traceback.format_exception_only(type(error), error)
        out.write("".join(lines)[-2000:])
    text = out.getvalue()
    return (text if len(text) <= most else f"{text[: most // 2]}\n[...]\n{text[-most // 2 :]}"), failed
