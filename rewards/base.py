"""The signature of a reward, the registry, and how a user's function becomes one.

Signature and calling convention are TRL's (`GRPOTrainer(reward_funcs=...)`): everything is passed by keyword, the
columns are the task's fields repeated once a completion. A function without `**kwargs` gets only the arguments it
names.
"""

import asyncio
import difflib
import functools
import importlib
import inspect
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rewards.imports import user_object

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]
Reward: TypeAlias = Callable[..., "list[float | None]"]

# One line a reward: name -> where its factory is. The module is imported when the reward is asked for.
FACTORIES: dict[str, str | Callable[..., Reward]] = {
    "accuracy": "rewards.maths.accuracy:strict",
    "accuracy_lenient": "rewards.maths.accuracy:lenient",
    "cosine": "rewards.form.length:CosineLengthReward",
    "code": "rewards.code.reward:CodeReward",
    "environment": "rewards.environment:factory",
    "equations": "rewards.form.equations:equations",
    "format": "rewards.form.format:FormatReward",
    "format_similarity": "rewards.form.format:FormatSimilarityReward",
    "format_tag_count": "rewards.form.format:FormatTagCountReward",
    "harmlessness": "rewards.judge.reward:harmlessness",
    "helpfulness": "rewards.judge.reward:helpfulness",
    "judge": "rewards.judge.reward:JudgeReward",
    "language": "rewards.form.language:LanguageReward",
    "len": "rewards.form.length:RelativeLengthReward",
    "overlong": "rewards.form.length:OverlongPenalty",
    "reasoning_steps": "rewards.form.style:ReasoningStepsReward",
    "repetition": "rewards.form.style:RepetitionPenalty",
}


# Arguments that are not columns of the data.
GIVEN = frozenset({"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"})
# Names of TRL's and open-r1's rewards, which stand for the ones here (docs/reward_names.md).
OTHERS: dict[str, str] = {
    "accuracy_reward": "rewards.others:accuracy_reward",
    "reasoning_accuracy_reward": "rewards.others:accuracy_reward",
    "think_format_reward": "rewards.others:think_format_reward",
    "format_reward": "rewards.others:format_reward",
    "tag_count_reward": "rewards.others:tag_count_reward",
    "reasoning_steps_reward": "rewards.others:reasoning_steps_reward",
    "len_reward": "rewards.others:len_reward",
    "code_reward": "rewards.others:VerifiedCode",
    "get_code_format_reward": "rewards.others:code_format_reward",
    "get_cosine_scaled_reward": "rewards.others:cosine_scaled_reward",
    "get_repetition_penalty_reward": "rewards.others:repetition_penalty_reward",
    "get_soft_overlong_punishment": "rewards.others:soft_overlong_punishment_reward",
}


class Judged(list["float | None"]):
    """A list of rewards that also says what happened.

    It counts how many items had which outcome and keeps the first example of each.
    """

    def __init__(
        self,
        values: Iterable[float | None] = (),
        *,
        outcomes: Mapping[str, int] | None = None,
        messages: Mapping[str, str] | None = None,
        tracebacks: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(values)
        self.outcomes: Counter[str] = Counter(outcomes or {})
        self.messages: dict[str, str] = dict(messages or {})
        self.tracebacks: dict[str, str] = dict(tracebacks or {})  # outcome -> that of its first example

    def count(self, outcome: str, message: str | None = None) -> None:  # type: ignore[override]
        """Add one to an outcome; the first message of each outcome is kept."""
        self.outcomes[outcome] += 1
        if message is not None:
            self.messages.setdefault(outcome, message)


def completion_text(completion: Completion) -> str:
    """Return a completion's text: itself, or the joined contents of its messages.

    Where roles are given, of the assistant's messages alone.
    """
    if isinstance(completion, str):
        return completion
    spoken = [message for message in completion if message.get("role", "assistant") == "assistant"]
    return "\n".join(str(message.get("content") or "") for message in spoken)


def prompt_text(prompt: Completion) -> str:
    """The text a completion continues: the prompt string, or the content of its last message."""
    if isinstance(prompt, str):
        return prompt
    return str(prompt[-1].get("content") or "") if prompt else ""


def seen_prompts(prompts: Sequence[Completion], columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """The model's input before each completion; its end may have opened the completion's first tag.

    The column `rendered_prompts` where the trainer gives it, else the texts of the prompts.
    """
    rendered = columns.get("rendered_prompts")
    return list(rendered) if rendered is not None else [prompt_text(prompt) for prompt in prompts]


def register(name: str, factory: Callable[..., Reward]) -> None:
    """Make `get(name, **options)` return `factory(**options)`."""
    if not name or ":" in name:
        raise ValueError(f"a reward's name must be non-empty and without ':', got {name!r}")
    FACTORIES[name] = factory


def names() -> list[str]:
    """The registered rewards, sorted."""
    return sorted(FACTORIES)


def get(name: str, **options: Any) -> Reward:
    """The reward of that name: a registered one, or the user's as "package.module:function".

    Raises ValueError in one line for an unknown name (with the near ones), a module that can't be imported, a missing
    function or an option the reward doesn't have.
    """
    if ":" in name:
        found = _user_function(name)
        if isinstance(found, type):
            found = _build(name, found, options)
        elif options:
            found = functools.partial(found, **options)
        return adapt(found, name)
    if name not in FACTORIES and name not in OTHERS:
        near = difflib.get_close_matches(name, FACTORIES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names())}"
        raise ValueError(f"unknown reward {name!r}: {hint} (your own: 'package.module:function')")
    factory = FACTORIES[name] if name in FACTORIES else OTHERS[name]
    if isinstance(factory, str):
        module, _, attribute = factory.partition(":")
        factory = getattr(importlib.import_module(module), attribute)
    return _build(name, factory, options)


def _build(name: str, factory: Callable[..., Reward], options: Mapping[str, Any]) -> Reward:
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(factory).parameters) or "none"
        raise ValueError(f"reward {name!r}: {error}; its options: {known}") from None
    return factory(**options)


def _user_function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = user_object(name, "reward")
    if not callable(found):
        raise ValueError(f"reward {name!r} must be a function, it is {type(found).__name__} {found!r:.40}")
    return found


def adapt(function: Callable[..., Any], name: str | None = None) -> Reward:
    """Make a reward that calls `function` with the arguments it names, and waits for it if it is async.

    A function with **kwargs gets all of them.
    """
    accepted = _accepted_names(function)

    def reward(
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        arguments = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, **columns}
        if accepted is not None:
            arguments = {key: value for key, value in arguments.items() if key in accepted}
        result = function(**arguments)
        return _awaited(result) if inspect.isawaitable(result) else result

    reward.__name__ = str(name or getattr(function, "__name__", type(function).__name__))
    reward.required_columns = _required_columns(function)  # type: ignore[attr-defined]
    if hasattr(function, "close"):
        reward.close = function.close  # type: ignore[attr-defined]
    return reward


def _accepted_names(function: Callable[..., Any]) -> frozenset[str] | None:
    """The keyword arguments a function takes; None if it takes any or can't be asked."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _required_columns(function: Callable[..., Any]) -> frozenset[str]:
    """The columns a function can't be called without: its arguments that have no default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    needed = {
        p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty
    }
    return frozenset(needed - GIVEN)


async def _wait(result: Awaitable[Any]) -> Any:
    return await result


def _awaited(result: Awaitable[Any]) -> Any:
    """Run an awaitable to its end, in a thread of its own where an event loop is already running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_wait(result))
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(_wait(result)))
        except BaseException as error:  # handed to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
