"""`code`: the last Python block of the answer against the row's tests, in a sandbox.

Columns: `tests` (assert statements), or `test` with `entry_point` (HumanEval's `check(candidate)`), or `inputs` and
`outputs` (standard input and output; arguments and value where there is an `entry_point`); `setup` (code that comes
before the answer and that the tests may use; it must hold no answers), `test_imports`. Arguments and values travel as
messages: a test that looks at an argument after the call, passes a function, or asks whether objects that the program
gave are equal, can't be judged. With `inputs` and `outputs` lists stand for linked lists and trees where the method's
annotations ask for ListNode or TreeNode, and an argument that a method annotated `-> None` changed is its value.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from rewards.base import Completion, Judged, completion_text, prompt_text, seen_prompts
from rewards.code.answer import programs_in
from rewards.code.plans import BadTests, Plan, Row, plan_of
from rewards.code.remote import RAISES
from rewards.code.trial import Verdict, cores, judge
from rewards.sandbox.choice import StartError, Unavailable, choose, describe
from rewards.sandbox.isolations import ISOLATIONS, Isolation, Limits
from rewards.sections import opened_by_prompt

COLUMNS = ("tests", "test", "test_imports", "setup", "entry_point", "inputs", "outputs")
LANE_SECONDS = 1.0  # after which a program that still runs no longer counts among `workers`
MOST_WAITING = 30  # of such programs at a time
LEFT_OUT = frozenset({"no_tests", "bad_tests", "refused", "deadline"})  # None, whatever the answer


@dataclass(frozen=True)
class Job:
    """A program and its tests."""

    code: tuple[str, ...]  # readings of the answer, the first that is Python counts
    plan: Plan


class _Lane:
    """A place among the programs that run at a time, left after `LANE_SECONDS` even by one that goes on.

    A program that sleeps lets the others start meanwhile.
    """

    def __init__(self, lanes: threading.Semaphore) -> None:
        self._lanes, self._left, self._lock = lanes, False, threading.Lock()
        self._timer = threading.Timer(LANE_SECONDS, self.leave)
        self._timer.daemon = True
        self._timer.start()

    def leave(self) -> None:
        """Give the place to another, once."""
        self._timer.cancel()
        with self._lock:
            if not self._left:
                self._left = True
                self._lanes.release()


class CodeReward:
    """1 where a program passes all of its tests, else 0, or the fraction it passes.

    Args:
        credit: "all" or "fraction".
        isolation: "auto" (the best there is; without any every row is None), "bubblewrap", "landlock",
            "sandbox-exec", or "rlimits": no isolation, programs read and write what you can.
        cpu_seconds: of a program (of each input, where programs read standard input).
        memory_mb: address space of a process.
        packages: that programs may import besides the standard library, where they are installed here. Importing
            numpy takes a program about 0.1 s of its CPU time.
        workers: programs at a time; None: one a core.
        deadline_seconds: for one call; what is not judged by then is None, unless its own limit of wall-clock time
            (three times `cpu_seconds`, and 3 s) is over: then it failed.
    """

    def __init__(
        self,
        *,
        credit: Literal["all", "fraction"] = "all",
        isolation: str = "auto",
        cpu_seconds: int = 4,
        memory_mb: int = 512,
        packages: Sequence[str] = ("numpy",),
        workers: int | None = None,
        deadline_seconds: float = 50.0,
    ) -> None:
        if credit not in ("all", "fraction"):
            raise ValueError(f"code.credit must be all or fraction, got {credit!r}")
        if isolation != "auto" and isolation not in ISOLATIONS:
            raise ValueError(f"code.isolation must be one of auto, {', '.join(ISOLATIONS)}, got {isolation!r}")
        if isinstance(cpu_seconds, bool) or not isinstance(cpu_seconds, int) or cpu_seconds < 1:
            raise ValueError(f"code.cpu_seconds must be a whole number of at least 1, got {cpu_seconds!r}")
        if not isinstance(memory_mb, int) or memory_mb < 64:
            raise ValueError(f"code.memory_mb must be at least 64, got {memory_mb!r}: Python itself needs that much")
        if isinstance(packages, str) or not all(isinstance(name, str) and name.isidentifier() for name in packages):
            raise ValueError(f"code.packages must be a list of names of packages, got {packages!r}")
        if workers is not None and workers < 1:
            raise ValueError(f"code.workers must be at least 1, got {workers}")
        if not deadline_seconds > 0:
            raise ValueError(f"code.deadline_seconds must be positive, got {deadline_seconds}")
        self.credit, self.isolation, self.deadline_seconds = credit, isolation, deadline_seconds
        self.limits = Limits(cpu_seconds=cpu_seconds, memory_bytes=memory_mb << 20, packages=tuple(packages))
        self.workers = workers or cores()
        self._closing = threading.Event()
        self._described = False
        self.__name__ = "code"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        self._closing = threading.Event()
        wanted = [columns.get(name) or [None] * len(completions) for name in COLUMNS]
        plans: dict[Any, Plan | Verdict] = {}
        jobs = []
        seen_before = seen_prompts(prompts, columns)
        for prompt, seen, completion, *values in zip(prompts, seen_before, completions, *wanted, strict=True):
            question, opened = prompt_text(prompt), opened_by_prompt(seen)
            key = (question, *map(id, values))  # the samples of a prompt share its columns
            if key not in plans:
                plans[key] = _plan(Row(*values), question)
            jobs.append(_job(plans[key], question, values[COLUMNS.index("entry_point")], completion, opened=opened))
        verdicts = self._verdicts([job for job in jobs if isinstance(job, Job)])
        result = Judged()
        for job in jobs:
            verdict = verdicts[job] if isinstance(job, Job) else job
            result.append(self._value(verdict))
            result.count(verdict.outcome, _message(verdict))
            if verdict.helpers:
                names = ", ".join(verdict.helpers)
                result.count("helper_of_program", f"tests use {names} of the program itself: define it in setup")
            if verdict.opaque:
                said = "a program failed with an object of its own class where a value was compared: it equals none"
                result.count("own_object", said)
        if verdicts and not self._described:
            self._described = True
            description = describe(self.isolation)
            if description.reasons and description.isolation is not None:  # second best, and not in silence
                result.messages["isolation"] = str(description)
        return result

    def close(self) -> None:
        """Let no further program start; the reward may be called again."""
        self._closing.set()

    def _value(self, verdict: Verdict) -> float | None:
        if verdict.outcome in LEFT_OUT:
            return None
        if self.credit == "fraction" and verdict.total:
            return verdict.passed / verdict.total
        return float(verdict.outcome == "pass")

    def _verdicts(self, jobs: Sequence[Job]) -> dict[Job, Verdict]:
        """The verdict of each distinct job."""
        distinct = list(dict.fromkeys(jobs))
        if not distinct:
            return {}
        try:
            isolation = choose(self.isolation)
        except Unavailable as error:
            return dict.fromkeys(distinct, Verdict("refused", 0, 0, str(error)))
        end, closing = time.monotonic() + self.deadline_seconds, self._closing

        lanes = threading.Semaphore(self.workers)

        def run(job: Job) -> Verdict:
            if not lanes.acquire(timeout=max(0.0, end - time.monotonic())) or closing.is_set():
                return Verdict("deadline", 0, 0, "no time left to run it")
            lane = _Lane(lanes)
            try:
                return self._run(job, isolation, end)
            finally:
                lane.leave()

        threads = min(self.workers + MOST_WAITING, len(distinct))
        with ThreadPoolExecutor(threads, thread_name_prefix="code") as executor:
            return dict(zip(distinct, executor.map(run, distinct), strict=True))

    def _run(self, job: Job, isolation: Isolation, end: float) -> Verdict:
        try:
            return judge(job.code, job.plan, self.limits, isolation, to_the_end=self.credit == "fraction", end=end)
        except StartError as error:
            return Verdict("refused", 0, 0, str(error))


def _plan(row: Row, question: str) -> Plan | Verdict:
    """Return the plan of a row, or the verdict on a row that can't be judged."""
    try:
        plan = plan_of(row, question)
    except BadTests as error:
        return Verdict("bad_tests", 0, 0, str(error))
    return plan or Verdict("no_tests", 0, 0, "neither tests, test nor inputs and outputs")


def _job(
    plan: Plan | Verdict, question: str, entry_point: Any, completion: Completion, *, opened: bool
) -> Job | Verdict:
    """The program of a completion with its tests, or the verdict that needs no run."""
    if isinstance(plan, Verdict):
        return plan
    name = entry_point if isinstance(entry_point, str) and entry_point else None
    code = programs_in(completion_text(completion), question, name, opened=opened)
    return Job(code, plan) if code else Verdict("no_code", 0, len(plan.tests))


def _message(verdict: Verdict) -> str | None:
    """One line for what is no ordinary outcome. What a program says may hold anything."""
    if verdict.outcome in ("pass", "no_code") or (verdict.outcome == "fail" and not verdict.message.startswith(RAISES)):
        return None
    said = " ".join(verdict.message.split())[:400]
    return f"{verdict.outcome}: {said}: left out" if verdict.outcome in LEFT_OUT else f"{verdict.outcome}: {said}"
