"""The procedural tasks of reasoning-gym as environments, judged by their own scorers in a process apart."""

import dataclasses
import difflib
from collections.abc import Sequence
from types import CodeType, FunctionType
from typing import Any

from envs.adapters.gym_worker import shared_worker
from envs.answers import column, final_answer
from envs.base import DataError, Env, Task
from envs.splits import split_tasks
from rewards.base import Completion, Judged, seen_prompts

SUFFIX = "\nGive the final answer between <answer> and </answer>."
EVALUATORS = frozenset({"eval", "exec", "sympify", "parse_expr", "parse_latex", "__import__", "pickle", "subprocess"})


def procedural(
    *,
    task: str,
    size: int = 500,
    suffix: str = SUFFIX,
    trust_scorer: bool = False,
    test_size: int | float | None = None,
    seed: int = 0,
    limit: int | None = None,
    **config: Any,
) -> Env:
    """`size` generated problems of a reasoning-gym task; any other option is one of the task's own configuration.

    A task whose scorer evaluates text is refused, as that text would be the model's, unless `trust_scorer`.
    """
    options = {**config, "seed": seed, "size": size}
    _check_options(task, options)
    evaluator = evaluating_call(_classes()[task][0])
    if evaluator and not trust_scorer:
        raise DataError(
            f"reasoning_gym:{task}: its scorer calls {evaluator}, which would run what the model writes; "
            "trust_scorer=True accepts that"
        )
    reply = shared_worker().generate(task, options)
    if isinstance(reply, str) or "problem" in reply:
        problem = f"the generator: {reply}" if isinstance(reply, str) else reply["problem"]
        raise DataError(f"reasoning_gym:{task}: {problem}")
    tasks = [_task({"task": task, "options": options, "index": i, **e}, suffix) for i, e in enumerate(reply["entries"])]
    splits, notes = split_tasks(tasks, seed=seed, test_size=test_size, limit=limit)
    return Env(f"reasoning_gym:{task}", splits, reward_names=("envs.reasoning_gym:reasoning_gym_reward",), notes=notes)


def task_names() -> list[str]:
    """Every task of the installed reasoning-gym, sorted."""
    return sorted(name for name in _classes() if name != "composite")


def _classes() -> dict[str, tuple[type, type]]:
    """The class of each task's data set and of its configuration."""
    from reasoning_gym.factory import DATASETS

    return DATASETS


def _check_options(task: str, options: dict[str, Any]) -> None:
    if task not in task_names():
        near = difflib.get_close_matches(task, task_names(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "python -m envs list reasoning_gym shows them"
        raise DataError(f"reasoning_gym has no task {task!r}; {hint}")
    configuration = _classes()[task][1]
    valid = [field.name for field in dataclasses.fields(configuration)]
    for option in options:
        if option not in valid:
            own = "suffix, trust_scorer, test_size, limit"
            raise DataError(f"reasoning_gym:{task} has no option {option!r}; its options are {', '.join(valid)}, {own}")
    try:
        configured = configuration(**options)
        if hasattr(configured, "validate"):
            configured.validate()
    except (AssertionError, TypeError, ValueError) as error:  # what the configurations' own checks raise
        reason = " ".join(str(error).split()) or "its configuration is not valid"
        raise DataError(f"reasoning_gym:{task}: {reason}") from None


def _task(entry: dict[str, Any], suffix: str) -> Task:
    answer = None if entry["answer"] is None else str(entry["answer"])
    columns = {"answer": answer, "language": "en", "entry": entry}
    return Task(f"{entry['task']}:{entry['index']}", entry["question"] + suffix, columns)


def evaluating_call(dataset_class: type) -> str | None:
    """The first name by which a scorer could run text, followed through reasoning-gym's functions; None without one.

    It errs on the side of caution: a scorer that evaluates only its own problem counts as well.
    """
    pending: list[FunctionType] = [dataset_class.score_answer]  # type: ignore[attr-defined]
    seen: set[FunctionType] = set()
    while pending:
        function = pending.pop()
        if function in seen:
            continue
        seen.add(function)
        for name in _names(function.__code__):
            own = [*_own_functions(function.__globals__.get(name)), *_own_functions(getattr(dataset_class, name, None))]
            if name in EVALUATORS and not own:
                return name
            pending.extend(own)
    return None


def _names(code: CodeType) -> set[str]:
    """Every global and attribute name a function uses, those of the functions inside it included."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*(_names(constant) for constant in inner))


def _own_functions(found: Any) -> list[FunctionType]:
    """The function, or the methods of the class, if they are reasoning-gym's."""
    if not str(getattr(found, "__module__", None)).startswith("reasoning_gym"):
        return []
    members = vars(found).values() if isinstance(found, type) else [found]
    plain = [getattr(member, "__func__", member) for member in members]
    return [member for member in plain if isinstance(member, FunctionType)]


def reasoning_gym_reward(
    prompts: Sequence[Completion],
    completions: Sequence[Completion],
    completion_ids: Sequence[Sequence[int]] | None = None,
    **columns: Any,
) -> list[float | None]:
    """The task's own score of each final answer, in [0, 1]; 0 without an answer or when scoring it fails.

    None for tasks that are not reasoning-gym's. What failed is counted by outcome.
    """
    judged = Judged()
    seen, entries = seen_prompts(prompts, columns), column(columns, "entry", len(completions))
    for shown, completion, entry in zip(seen, completions, entries, strict=True):
        answer = final_answer(shown, completion) if entry else None
        if not entry or answer is None:
            judged.append(0.0 if entry else None)
            continue
        score, outcome = shared_worker().score(entry, answer)
        judged.append(score)
        judged.count(outcome, f"{entry['task']}: {answer[:80]!r}" if outcome != "ok" else None)
    return judged
