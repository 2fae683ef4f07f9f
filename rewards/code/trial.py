"""One program against one plan: starts the processes, asks one test at a time, and keeps what is expected here.

The verdict is made in this process alone, from values of exact types; the program's exit code, output and last words
decide nothing. One process a program (two where tests have to be run), killed afterwards.
"""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rewards.code.compare import call_holds, most_characters, output_holds
from rewards.code.names import caught_names, free_names
from rewards.code.plans import Call, Calls, Checks, Pairs, Plan
from rewards.code.program import MEMORY_STATUS
from rewards.code.values import Malformed, check, decode
from rewards.sandbox.choice import start
from rewards.sandbox.isolations import Isolation, Limits
from rewards.sandbox.process import Died, Late, SandboxProcess, TooLarge, TooMuchMemory, Unsolicited

LONGEST_CODE = 200_000  # characters
SIGKILL, SIGXCPU, SIGXFSZ = 9, 24, 25
# A value that is much larger than what is expected is not read: comparing it would cost this process time.
SPARE_BYTES, SPARE_FACTOR = 1 << 16, 12  # as JSON a value is at most that many times longer than as Python
LONGEST_WORD = 1 << 16  # bytes of a reply that holds no value
LONGEST_ARGUMENT = 4 << 20  # bytes of a value on its way to the tests


@dataclass(frozen=True)
class Verdict:
    """The result of a program. `outcome`: pass, fail, error, timeout, memory, forged, or bad_tests."""

    outcome: str
    passed: int
    total: int
    message: str = ""
    helpers: tuple[str, ...] = ()  # names, entry point apart, that the tests took from the program
    opaque: bool = False  # whether it failed a test that compared an object of its own with a value


class Stop(Exception):
    """The end of a program before its tests are through."""

    def __init__(self, outcome: str, message: str = "") -> None:
        super().__init__(message)
        self.outcome = outcome


def judge(
    code: str | Sequence[str],
    plan: Plan,
    limits: Limits,
    isolation: Isolation,
    *,
    to_the_end: bool = False,
    end: float = math.inf,
) -> Verdict:
    """Run the program's tests; up to the first that fails unless `to_the_end`. StartError if no sandbox starts.

    Args:
        code: the program, or several readings of an answer, of which the first that is Python counts.
        end: `time.monotonic()` by which the verdict has to be there.

    """
    readings = [code] if isinstance(code, str) else list(code)
    if any(len(reading) > LONGEST_CODE or "\x00" in reading for reading in readings):
        return Verdict("error", 0, len(plan.tests), "the program is too long, or holds null characters")
    trial = Trial(readings, limits, isolation, to_the_end, end)
    if isinstance(plan, Pairs):
        return trial.run_pairs(plan)
    return trial.run_calls(plan) if isinstance(plan, Calls) else trial.run_checks(plan)


class Trial:
    """A program being judged: what it has passed, and the first thing that went wrong."""

    def __init__(
        self, code: list[str], limits: Limits, isolation: Isolation, to_the_end: bool, end: float = math.inf
    ) -> None:
        self.code, self.limits, self.isolation, self.to_the_end = code, limits, isolation, to_the_end
        self.wall_seconds = limits.wall_seconds
        self.started, self.end = time.monotonic(), end
        self._renew()
        self.passed = 0
        self.outcome, self.message = "pass", ""
        self.opaque = False

    def _renew(self, *processes: SandboxProcess) -> None:
        """Begin the wall-clock time of a program, or of one of its inputs; longer if it computes on a full machine."""
        now = time.monotonic()
        self.deadline = min(now + self.wall_seconds, self.end)
        for process in processes:
            process.be_patient(min(now + self.wall_seconds * crowding(), self.end))

    def run_calls(self, plan: Calls) -> Verdict:
        """One process, one call after the other."""
        with start("code.program", self.limits, self.isolation) as program:
            self._guarded(self._calls, plan, program)
        return self._verdict(plan)

    def run_pairs(self, plan: Pairs) -> Verdict:
        """One process that forks for each input, or one for each input."""
        if self.isolation.forks:
            with start("code.program", self.limits, self.isolation) as program:
                self._guarded(self._pairs, plan, program)
        else:
            self._guarded(self._pairs_apart, plan)
        return self._verdict(plan)

    def run_checks(self, plan: Checks) -> Verdict:
        """Two processes: one runs the program, the other the tests."""
        helpers: list[str] = []
        with (
            start("code.program", self.limits, self.isolation) as program,
            start("code.checker", self.limits, self.isolation) as checker,
        ):
            self._guarded(self._checks, plan, program, checker, helpers)
        return self._verdict(plan, helpers)

    def _verdict(self, plan: Plan, helpers: Sequence[str] = ()) -> Verdict:
        passed = 0 if self.outcome in ("forged", "bad_tests") else self.passed
        opaque = self.opaque and self.outcome == "fail"
        return Verdict(self.outcome, passed, len(plan.tests), self.message, tuple(helpers), opaque)

    def _note(self, outcome: str, message: str = "") -> None:
        """Count one test. Raises Stop after the first that fails, unless all are wanted."""
        if outcome == "pass":
            self.passed += 1
            return
        if self.outcome == "pass":
            self.outcome, self.message = outcome, message
        if not self.to_the_end or outcome in ("timeout", "memory"):
            raise Stop(self.outcome, self.message)

    def _guarded(self, steps: Any, *arguments: Any) -> None:
        """Run the steps, whose end by whatever a program does is an outcome."""
        try:
            steps(*arguments)
        except Stop as stop:
            if self.outcome == "pass":
                self.outcome, self.message = stop.outcome, str(stop)
        except Unsolicited as error:
            self.outcome, self.message = "forged", str(error)
        except TooLarge as error:
            self.outcome, self.message = "forged", f"{error} where a few words were asked for"
        except (Late, TooMuchMemory, Died) as error:
            ended, message = self._ended(error)
            if self.outcome == "pass":
                self.outcome, self.message = ended, message

    def _ended(self, error: Late | TooMuchMemory | Died) -> tuple[str, str]:
        if isinstance(error, Late):
            now = time.monotonic()
            extended = self.deadline < self.end  # it would have been late before
            if now >= self.end and (extended or now - self.started < self.wall_seconds):
                return "deadline", "no time left for it"
            return "timeout", f"no result after {self.wall_seconds:.0f} s"
        if isinstance(error, TooMuchMemory):
            return "memory", str(error)
        spent = time.monotonic() - self.deadline + self.wall_seconds  # at least, where the call's end came first
        late = error.signal == SIGXCPU or (error.signal == SIGKILL and spent >= self.limits.cpu_seconds)
        return ("timeout", "out of CPU time") if late else ("error", f"the program ended: {error}")

    # Calls

    def _load(self, program: SandboxProcess, setup: str, *, nodes: bool) -> None:
        """`nodes`: whether LeetCode's classes of nodes may be arguments; they are the program's own otherwise."""
        self._renew(program)
        reply = program.ask({"code": self.code, "setup": setup, "nodes": nodes}, self.deadline, LONGEST_WORD)
        if reply != {"loaded": True}:
            raise Stop(*_error(reply))

    def _calls(self, plan: Calls, program: SandboxProcess) -> None:
        self._load(program, plan.setup, nodes=True)
        for call in plan.tests:
            truth = call.kind in ("true", "false")
            request = {"call": call.function, "args": call.arguments, "kwargs": call.keywords, "as_truth": truth}
            request["leetcode"] = call.sequences_alike and call.expected is not None
            most = SPARE_BYTES + SPARE_FACTOR * len(repr(call.expected))
            try:
                outcome = _call_outcome(call, program.ask(request, self.deadline, most))
            except TooLarge as error:
                outcome = ("fail", str(error))
            self._note(*outcome)
        program.finish()

    # Standard input and output

    def _pairs(self, plan: Pairs, program: SandboxProcess) -> None:
        if program.ask({"script": self.code}, self.deadline, LONGEST_WORD) != {"loaded": True}:
            raise Unsolicited("no reply to the program")
        for pair in plan.tests:
            self._renew(program)  # CPU time is each run's own as well
            most = most_characters(pair)
            reply = program.ask({"input": pair.given, "most": most + 1}, self.deadline, LONGEST_WORD + 12 * most)
            output, status, said = reply.get("output"), reply.get("status"), reply.get("said")
            if type(output) is not str or type(status) is not int or type(said) is not str:
                raise Unsolicited("no output in the reply")
            ok = output_holds(pair, output) if status == 0 else False
            self._note(*_run_outcome(status, ok, said))
        program.finish()

    def _pairs_apart(self, plan: Pairs) -> None:
        most = self.limits.file_bytes
        for pair in plan.tests:
            with start("code.program", self.limits, self.isolation) as program:
                self._renew(program)
                message = {"script": self.code, "input": pair.given, "id": 0}
                output, status = program.ask_for_output(message, self.deadline, most)
            ok = output_holds(pair, output.decode("utf-8", "replace"))
            self._note(*_run_outcome(status, ok))

    # Tests that have to be run

    def _checks(self, plan: Checks, program: SandboxProcess, checker: SandboxProcess, helpers: list[str]) -> None:
        self._renew(program, checker)
        prepared: dict[str, Any] = {"setup": plan.setup, "imports": plan.imports, "entry_point": plan.entry_point}
        prepared |= {"names": free_names(plan), "exceptions": caught_names(plan)}
        try:
            reply = checker.ask(prepared, self.deadline)
        except (Died, Late, TooMuchMemory, Unsolicited) as error:
            raise Stop("bad_tests", f"the tests' setup: {error}") from None
        if "error" in reply:
            raise Stop("bad_tests", f"the tests' setup raises {_error(reply)[1]}")
        if plan.entry_point is not None:
            helpers += [name for name in reply["remote"] if name != plan.entry_point.split(".")[0]]
        self._load(program, plan.setup, nodes=plan.entry_point is not None)
        for source in plan.tests:
            self._note(*self._check(source, plan, program, checker))
        program.finish()

    def _check(self, source: str, plan: Checks, program: SandboxProcess, checker: SandboxProcess) -> tuple[str, str]:
        request = {"test": source, "function": plan.function, "entry_point": plan.entry_point}
        reply = checker.ask(request, self.deadline)
        while "ask" in reply:
            try:
                answer = program.ask(reply["ask"], self.deadline, LONGEST_ARGUMENT)
            except TooLarge as error:
                answer = {"error": {"types": ["ValueError"], "text": str(error)}}
            reply = checker.ask({"reply": _checked(answer)}, self.deadline)
        if reply["verdict"] == "forged":
            raise Unsolicited(reply["text"])
        if reply["verdict"] == "bad":
            raise Stop("bad_tests", f"the tests raise {reply['text']}")
        self.opaque = self.opaque or reply["opaque"]
        if reply["verdict"] == "pass" and reply["calls"] == 0:
            raise Stop("bad_tests", "a test that does not call the program")
        return str(reply["verdict"]), str(reply["text"])


def crowding() -> float:
    """Return how many times longer than alone a program may take: runnable processes per core, from 1 to 4."""
    return min(4.0, max(1.0, os.getloadavg()[0] / cores()))


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _call_outcome(call: Call, reply: dict[str, Any]) -> tuple[str, str]:
    if "error" in reply:
        return _error(reply)
    if "value" not in reply:
        raise Unsolicited("a reply without value")
    try:
        holds = call_holds(call, decode(_sound(reply["value"])))
    except (Malformed, RecursionError) as error:
        raise Unsolicited(f"no value: {error}") from None
    return ("pass", "") if holds else ("fail", "")


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """The program's reply, once it is sure to be one."""
    if "error" in reply:
        outcome, text = _error(reply)
        if outcome == "memory":
            raise Stop(outcome, text)
        kinds = (("args", list), ("attributes", dict))
        sent = {name: _sound(reply["error"][name]) for name, kind in kinds if type(reply["error"].get(name)) is kind}
        return {"error": {"types": reply["error"]["types"], "text": text.partition(": ")[2], **sent}}
    if "value" not in reply:
        raise Unsolicited("a reply without value")
    return {"value": _sound(reply["value"])}


def _sound(data: Any) -> Any:
    """Data that `encode` could have written, as it is. Unsolicited for any other."""
    try:
        check(data)
    except (Malformed, RecursionError) as error:
        raise Unsolicited(f"no value: {error}") from None
    return data


def _error(reply: dict[str, Any]) -> tuple[str, str]:
    """Outcome and text of a reply that tells of an exception."""
    error = reply.get("error")
    types = error.get("types") if type(error) is dict else None
    if type(error) is not dict or type(types) is not list or not all(type(name) is str for name in types):
        raise Unsolicited("an error that is none")
    kind = "memory" if "MemoryError" in types else "error"
    return kind, f"{types[0] if types else 'an exception'}: {str(error.get('text'))[:200]}"


def _run_outcome(status: int, ok: bool, said: str = "") -> tuple[str, str]:
    if status == 0:
        return ("pass", "") if ok else ("fail", "")
    if status == MEMORY_STATUS:
        return "memory", "MemoryError"
    if -status in (SIGXCPU, SIGKILL):
        return "timeout", "out of CPU time"
    return "error", said or f"exit code {status}"
