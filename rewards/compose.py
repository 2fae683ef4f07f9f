"""Several weighted rewards as one, none of which can stop the run.

A reward that raises, hangs, or returns something other than one number a completion is left out of the rows
concerned, counted, and described once. That is the whole of what the trainer sees of a failure.

What to combine: only `accuracy`, `code` and the like say whether a task was done. Everything else is farmed when it
stands alone: `format` and `format_similarity` by empty talk in the right tags, `language` by one true word,
`reasoning_steps` and `equations` by idle steps and sums, `repetition` and `overlong` by saying nothing, `cosine` by
padding wrong answers, judges by what flatters them. So give them together less weight than accuracy, or let them count
only through a gate (`rewards.combine`), and watch accuracy on its own.
"""

import contextlib
import copy
import itertools
import math
import reprlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.base import Completion, Judged, Reward, completion_text
from rewards.combine import LARGEST, Combination, Missing, Values, read_gates
from rewards.imports import one_line
from rewards.users.arguments import CallState, Logged
from rewards.users.placement import Where, place
from rewards.users.watchdog import Watchdog

ORDINARY_OUTCOMES = frozenset(
    {"ok", "wrong", "unparsed", "not_applicable", "pass", "fail", "no_code"}
)  # everything else a reward reports is a failure of its own
WHOLE_BATCH = frozenset({"raised", "timeout", "died", "not_a_list", "wrong_length"})
LOOK_SECONDS = 0.2  # between two looks at whether the set was closed meanwhile
FAILED_CALL = (
    "not_a_list",
    "wrong_length",
    "not_a_number",
    "not_finite",
    "too_large",
)  # what was returned is no reward


@dataclass(frozen=True)
class Scores:
    """The rewards of a batch of completions."""

    values: Values  # reward name -> one value a completion, as measured; None = not applicable or failed
    totals: list[float | None]  # weighted sum of what counts; None if nothing does
    failures: dict[str, int]  # "NAME/KIND" -> completions concerned
    messages: dict[str, str]  # "NAME/OUTCOME" -> one line with its first example
    outcomes: dict[str, int] = field(default_factory=dict)  # "NAME/OUTCOME" -> completions, failures or not
    counted: Values = field(default_factory=dict)  # what the totals are made of: `values`, clipped and gated
    applied: dict[str, int] = field(default_factory=dict)  # "NAME/clipped", "NAME/gated" -> completions
    logged: Logged = field(default_factory=Logged)  # what users' rewards gave to log_extra and log_metric
    tracebacks: dict[str, str] = field(default_factory=dict)  # reward -> where it raised, hung or crashed


class RewardSet:
    """Named rewards with weights under a time limit: ours in threads, users' in a process of their own.

    Args:
        weights: reward name (as for `rewards.get`) -> weight; 0 = computed and logged, not counted.
        options: reward name -> options of its factory.
        timeout_seconds: for one call of `score`; a reward that is late gives None, and is skipped until it has
            returned.
        functions: rewards by name that are already callables, used instead of looking the name up.
        gates: reward name -> the reward that has to hold for it to count, "format" or "language>=0.8".
        clip: reward name -> (low, high).
        process: where users' rewards run: "own", the main thread of a process that a hang or crash of theirs costs
            one batch, or "trainer", threads of this one.
        missing: what a completion gets that lacks a reward others of its group have, see `rewards.combine`.

    Attributes:
        notes: lines for the user: which rewards run in this process although `process` is "own", and why.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        timeout_seconds: float = 60.0,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        gates: Mapping[str, str] | None = None,
        clip: Mapping[str, tuple[float, float]] | None = None,
        process: Where = "own",
        missing: Missing = "exclude",
    ) -> None:
        options, functions = options or {}, functions or {}
        self.combination = Combination(weights, clip or {}, read_gates(gates or {}), missing)
        unused = sorted(set(options) - set(weights))
        if unused:
            raise ValueError(f"options given for {', '.join(unused)}, which has no weight")
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be positive, got {timeout_seconds}")
        self.weights = {name: float(weight) for name, weight in weights.items()}
        self.timeout_seconds = timeout_seconds
        self._placed = place(list(weights), functions, options, process, timeout_seconds)
        self.notes = self._placed.notes
        self._watchdog = Watchdog(timeout_seconds)
        self._closed_times = 0
        self._hanging: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    @property
    def required_columns(self) -> frozenset[str]:
        """The columns that some reward can't do without."""
        here = (getattr(reward, "required_columns", ()) for reward in self._placed.here.values())
        return frozenset().union(*here, self._placed.process.required_columns if self._placed.process else ())

    def score(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        state: CallState | None = None,
        groups: Sequence[int] | None = None,
    ) -> Scores:
        """Run every reward on every completion; columns hold one value a completion.

        `groups` says how many completions each group has, in order; None = all are of one.
        """
        state = state or CallState()
        call: dict[str, Any] = {"completion_ids": None, **(columns or {})}
        call |= {"prompts": prompts, "completions": completions}
        if completion_ids is not None:
            call["completion_ids"] = completion_ids
        if len(prompts) != len(completions):
            raise ValueError(f"prompts and completions must be equally many, got {len(prompts)} and {len(completions)}")
        deadline, rows = time.monotonic() + self.timeout_seconds, len(completions)
        runs = {name: self._start(name, call, rows, state) for name in self._placed.here}
        users = self._placed.process.score(call, rows, self._placed.sent, state) if self._placed.process else None
        found = {name: self._finish(name, run, deadline, rows) for name, run in runs.items()}
        logged = Logged()
        tracebacks: dict[str, str] = {}
        for name, run in runs.items():
            if run is not None and run.result is not None:
                logged.add(run.logged)
                tracebacks |= {name: run.traceback} if run.traceback else {}
        if users is not None:
            found |= users.judged
            logged.add(users.logged)
            tracebacks |= users.tracebacks
        judged = {name: found[name] for name in self.weights}
        values = {name: list(result) for name, result in judged.items()}
        outcomes = {f"{name}/{kind}": n for name, result in judged.items() for kind, n in result.outcomes.items()}
        failures = {key: n for key, n in outcomes.items() if key.rpartition("/")[2] not in ORDINARY_OUTCOMES}
        messages = {
            f"{name}/{kind}": _said(name, kind, text, completions)
            for name, result in judged.items()
            for kind, text in result.messages.items()
        }
        counted = self.combination.count(values, groups)
        for name, completions_concerned in counted.too_large.items():
            failures[f"{name}/total_too_large"] = completions_concerned
            text = f"with its weight {self.weights[name]:g} it makes totals over {LARGEST:g}, which are left out"
            messages[f"{name}/total_too_large"] = f"reward {name}: {text}"
        totals: list[float | None] = [None] * len(completions)
        return Scores(
            values,
            counted.totals if values else totals,
            failures,
            messages,
            outcomes,
            counted.values,
            counted.applied,
            logged,
            tracebacks,
        )

    def close(self) -> None:
        """Free what the rewards hold (worker processes), and end the calls that wait for one.

        A closed set may be used again; it starts its processes again.
        """
        self._closed_times += 1
        if self._placed.process is not None:
            self._placed.process.close()
        for reward in self._placed.here.values():
            close = getattr(reward, "close", None)
            if close is not None:
                close()

    def __enter__(self) -> "RewardSet":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self, name: str, call: Mapping[str, Any], rows: int, state: CallState) -> "_Run | None":
        with self._lock:
            hanging = self._hanging.get(name)
            if hanging is not None and hanging.is_alive():
                return None
            self._hanging.pop(name, None)
        guarded = name in self._placed.guarded
        run = _Run(self._placed.here[name], call, rows, state if guarded else None, self._closed_times)
        if guarded:
            self._watchdog.start()
        run.thread.start()
        return run

    def _finish(self, name: str, run: "_Run | None", deadline: float, rows: int) -> Judged:
        if run is None:
            return all_failed(rows, "timeout", "skipped: an earlier call of it has not returned yet")
        while run.thread.is_alive() and time.monotonic() < deadline and run.closed_times == self._closed_times:
            run.thread.join(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
        if name in self._placed.guarded:
            self._watchdog.stop()
        result = run.result
        if result is None:
            with self._lock:
                self._hanging[name] = run.thread
            ended = run.closed_times != self._closed_times
            late = "the run ended while it was at work" if ended else f"no result after {self.timeout_seconds:g} s"
            return all_failed(rows, "timeout", f"{late}; left out")
        return result


class _Run:
    """One call of one reward in a daemon thread; `result` is None until it is over."""

    def __init__(
        self, reward: Reward, call: Mapping[str, Any], rows: int, state: CallState | None, closed_times: int
    ) -> None:
        """`state`: given to a user's reward as trainer_state, with log_extra and log_metric."""
        self.result: Judged | None = None
        self.logged, self.traceback, self.closed_times = Logged(), "", closed_times
        extra = {} if state is None else {**_own_copy(call), **self.logged.arguments(state)}
        self._reward, self._call, self._rows = reward, {**call, **extra}, rows
        self.thread = threading.Thread(target=self._run, name="reward", daemon=True)

    def _run(self) -> None:
        try:
            self.result = checked(self._reward(**self._call), self._rows)
        except BaseException as error:  # the boundary: whatever a reward does is recorded, not raised
            self.traceback = traceback.format_exc()
            self.result = all_failed(self._rows, "raised", f"raised {one_line(error)}")


def _own_copy(call: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call for a user's reward to change as it likes: nobody else sees it."""
    mine = {}
    for name, values in call.items():
        try:
            mine[name] = copy.deepcopy(values)
        except Exception:  # objects of the user's that can't be copied
            mine[name] = copy.copy(values)
    return mine


def checked(returned: Any, rows: int) -> Judged:
    """Return a reward's values as one finite float or None a completion; anything else is None and counted."""
    if isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
        return all_failed(rows, "not_a_list", f"returned {type(returned).__name__}, not a list of {rows} numbers")
    items = list(itertools.islice(returned, rows + 1))  # it may be without end
    if len(items) > rows:
        return all_failed(rows, "wrong_length", f"returned more than {rows} values for {rows} completions")
    if len(items) < rows:
        return all_failed(rows, "wrong_length", f"returned {len(items)} values for {rows} completions")
    result = Judged()
    if isinstance(returned, Judged):
        result = Judged(outcomes=returned.outcomes, messages=returned.messages)
    for row, item in enumerate(items):
        result.append(_number(item, row, result))
    return result


def _number(item: Any, row: int, result: Judged) -> float | None:
    if item is None:
        return None
    value: float | None = None
    if not isinstance(item, str | bytes):
        with contextlib.suppress(TypeError, ValueError):
            value = _as_float(item)
    if value is None:
        result.count("not_a_number", f"value {row} is {reprlib.repr(item)} ({type(item).__name__}), not a number")
    elif not math.isfinite(value):
        result.count("not_finite", f"value {row} is {value}, not a finite number")
    elif abs(value) > LARGEST:
        result.count("too_large", f"value {row} is {value:g}, over {LARGEST:g}: training could not square it")
    else:
        return value
    return None


def _as_float(item: Any) -> float:
    try:
        return float(item)
    except OverflowError:  # an integer that no float holds
        return sys.float_info.max


def _said(name: str, kind: str, text: str, completions: Sequence[Completion]) -> str:
    """One line; where every row failed alike, with the first completion it happened on."""
    if kind in WHOLE_BATCH and completions:
        text += f" (first completion ends in {completion_text(completions[0])[-60:]!r})"
    return f"reward {name}: {text}"


def all_failed(rows: int, kind: str, message: str) -> Judged:
    return Judged([None] * rows, outcomes={kind: rows}, messages={kind: message})
