"""Python in the sandbox of the code reward, with what was defined kept for the rest of the conversation."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from envs.tools.functions import ToolFault, schema_of
from rewards.sandbox.choice import Unavailable, choose, start
from rewards.sandbox.isolations import Limits
from rewards.sandbox.process import Died, Late, SandboxProcess, StartError, TooLarge, TooMuchMemory, Unsolicited

MOST_CHARACTERS = 10_000  # of an output that are kept
MOST_BYTES = 16 * MOST_CHARACTERS  # of a reply: as JSON a character takes at most 12


def python(code: str) -> str:
    """Run Python code and return what it prints, and the value of its last line. Variables are kept between calls.

    Args:
        code: statements; only the standard library can be imported, there are no files and no network

    """
    raise NotImplementedError("the text above is what a model is shown; PythonTool runs the code")


class PythonTool:
    """One conversation's Python: a process that is started with the first call.

    Args:
        timeout_seconds: wall time of a call; a later one ends the process, and its variables are lost.
        cpu_seconds: of the whole conversation.
        isolation: as of the code reward; "auto" is the best the machine has, and never none.

    """

    name = "python"
    schema = schema_of(python, "python")

    def __init__(self, *, timeout_seconds: float = 8.0, cpu_seconds: int = 30, isolation: str = "auto") -> None:
        self.timeout_seconds, self.isolation = timeout_seconds, isolation
        self.limits = Limits(cpu_seconds=cpu_seconds)
        self._process: SandboxProcess | None = None
        self._lock = threading.Lock()

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Return the output; ToolFault with the output of code that failed."""
        code = arguments.get("code")
        if set(arguments) != {"code"} or not isinstance(code, str):
            raise ToolFault('python takes one argument, "code", which is a text')
        with self._lock:
            return self._run(code)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _run(self, code: str) -> str:
        try:
            if self._process is None:
                self._process = start("code.session", self.limits, choose(self.isolation))
            deadline = time.monotonic() + self.timeout_seconds
            reply = self._process.ask({"code": code, "most": MOST_CHARACTERS}, deadline, MOST_BYTES)
        except Unavailable as error:
            raise ToolFault(f"no sandbox to run Python in: {error}") from error
        except (Died, Late, TooLarge, TooMuchMemory, Unsolicited, StartError) as error:
            self._end()
            raise ToolFault(f"{_said(error, self)}; its variables are lost") from error
        output = str(reply.get("output", ""))
        if reply.get("failed"):
            raise ToolFault(output.strip())
        return output

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


def _said(error: Exception, tool: PythonTool) -> str:
    if isinstance(error, Late):
        return f"the code took longer than {tool.timeout_seconds:g} s"
    if isinstance(error, TooMuchMemory):
        return "the code took too much memory"
    return f"the process ended ({error})"
