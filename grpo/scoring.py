"""Rewards of groups, worked out while the rest of the batch is still being decoded."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs import Message, Task
from grpo.config import Config
from grpo.types import Dialogue, Group, Rollout
from rewards import CallState, RewardSet

LOOK_SECONDS = 0.2  # between two looks at whether the run was told to stop


@dataclass(frozen=True)
class GroupScores:
    """Rewards of one group; every list is [samples], None = no value for that completion."""

    values: dict[str, list[float | None]]  # as measured
    totals: list[float | None]
    failures: dict[str, int]  # "NAME/KIND" -> completions
    messages: dict[str, str]  # "NAME/OUTCOME" -> one line
    counted: dict[str, list[float | None]] = field(default_factory=dict)  # clipped and gated: what the totals sum
    applied: dict[str, int] = field(default_factory=dict)  # "NAME/clipped", "NAME/gated" -> completions
    columns: dict[str, list[Any]] = field(default_factory=dict)  # by a reward's log_extra
    metrics: dict[str, list[float]] = field(default_factory=dict)  # by a reward's log_metric
    tracebacks: dict[str, str] = field(default_factory=dict)  # reward -> where it raised, hung or crashed


def hand_over(
    task: Task, rendered: str, texts: Sequence[str], *, max_completion_length: int | None
) -> tuple[list[Any], list[Any], dict[str, list[Any]]]:
    """Return the prompts, completions and columns as rewards get them.

    As from TRL: the task's prompt as it is, completions as strings, or as messages where the prompt is messages; a
    last message of the assistant, which the model went on with, begins the completion. `rendered_prompts` is what the
    model saw; `max_completion_length`, if not None, is what the length rewards measure against.
    """
    columns = {**task.columns, "rendered_prompts": rendered}
    if max_completion_length is not None:
        columns = {"max_completion_length": max_completion_length, **columns}
    repeated = {name: [value] * len(texts) for name, value in columns.items()}
    prompt: Any = task.prompt
    if isinstance(prompt, str):
        return [prompt] * len(texts), list(texts), repeated
    begun = ""
    if prompt[-1]["role"] == "assistant":
        begun, prompt = prompt[-1]["content"], prompt[:-1]
        repeated["rendered_prompts"] = [rendered.removesuffix(begun)] * len(texts)
    completions = [[{"role": "assistant", "content": begun + text}] for text in texts]
    return [prompt] * len(texts), completions, repeated


class Scorer:
    """Hands finished groups to the rewards in threads of its own; rewards that need processes have theirs.

    `state` is what rewards get as trainer_state.
    """

    def __init__(self, rewards: RewardSet, max_completion_length: int | None = None) -> None:
        self.rewards, self.max_completion_length = rewards, max_completion_length
        self.state = CallState()
        self.threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="rewards")

    def submit(self, group: Group, state: CallState | None = None) -> "Future[GroupScores]":
        """Score a group in the background; rewards get `state`, the scorer's own if None."""
        return self.threads.submit(self.score, group, state)

    def submit_all(self, groups: Sequence[Group], state: CallState | None = None) -> "list[Future[GroupScores]]":
        """Score all groups in the background, each reward called once."""
        whole = self.threads.submit(self.score_all, groups, state)
        return [self.threads.submit(lambda place: whole.result()[place], place) for place in range(len(groups))]

    def score(self, group: Group, state: CallState | None = None) -> GroupScores:
        """The rewards of a group's completions."""
        return self.score_all([group], state)[0]

    def score_all(self, groups: Sequence[Group], state: CallState | None = None) -> list[GroupScores]:
        """The rewards of several groups, each reward called once for all of them.

        Counts, messages and metrics of the call stand with the first group.
        """
        handed = [handed_over(group, self.max_completion_length) for group in groups]
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        without_ids = any(rollout.counted is not None for rollout in rollouts)  # from a server
        names = dict.fromkeys(name for _, _, columns in handed for name in columns)
        scores = self.rewards.score(
            [prompt for prompts, _, _ in handed for prompt in prompts],
            [completion for _, completions, _ in handed for completion in completions],
            completion_ids=None if without_ids else [list(rollout.trained(rollout.tokens)) for rollout in rollouts],
            columns={
                name: [value for rows, _, columns in handed for value in columns.get(name, [None] * len(rows))]
                for name in names
            },
            state=state or self.state,
            groups=[len(group.rollouts) for group in groups],
        )
        found: list[GroupScores] = []
        start = 0
        for group in groups:
            part = slice(start, start := start + len(group.rollouts))
            found.append(
                GroupScores(
                    {name: values[part] for name, values in scores.values.items()},
                    _of_sound(group, scores.totals[part]),
                    *((scores.failures, scores.messages) if not found else ({}, {})),
                    {name: values[part] for name, values in scores.counted.items()},
                    {} if found else scores.applied,
                    {name: values[part] for name, values in scores.logged.columns.items()},
                    {} if found else scores.logged.metrics,
                    {} if found else scores.tracebacks,
                )
            )
        return found

    def close(self) -> None:
        """Drop pending groups and free the rewards' workers."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.rewards.close()


def results(pending: "Sequence[Future[GroupScores]]", check: Callable[[], None]) -> list[GroupScores]:
    """Wait for scores; `check` is called meanwhile and may raise, for a run that is told to stop."""
    while wait(pending, LOOK_SECONDS).not_done:
        check()
    return [future.result() for future in pending]


def handed_over(group: Group, max_completion_length: int | None) -> tuple[list[Any], list[Any], dict[str, list[Any]]]:
    """Return the prompts, completions and columns of a group as rewards get them, see `hand_over`.

    A completion of several turns is handed over whole, as the messages after the prompt, with `turn_rewards`, what each
    reply gave, as a column.
    """
    task, rollouts = group.prompt.task, group.rollouts
    texts = [rollout.text for rollout in rollouts]
    prompts, completions, columns = hand_over(
        task, group.prompt.text, texts, max_completion_length=max_completion_length
    )
    if any(rollout.dialogue is not None for rollout in rollouts):
        if isinstance(task.prompt, str):
            prompts = [[{"role": "user", "content": task.prompt}]] * len(rollouts)
        completions = [as_messages(rollout) for rollout in rollouts]
        columns["turn_rewards"] = [
            [dict(turn) for turn in rollout.dialogue.rewards] if rollout.dialogue else [] for rollout in rollouts
        ]
        made = [rollout.dialogue.environment if rollout.dialogue else None for rollout in rollouts]
        if any(environment is not None for environment in made):
            columns["environments"] = made
    return prompts, completions, columns


def failed_dialogues(groups: Sequence[Group]) -> list[tuple[Group, Dialogue]]:
    """Return the conversations whose environment failed, each with its group."""
    return [
        (group, rollout.dialogue)
        for group in groups
        for rollout in group.rollouts
        if rollout.dialogue is not None and rollout.dialogue.failed
    ]


def tool_tracebacks(groups: Sequence[Group]) -> list[tuple[Group, str]]:
    """Return the tracebacks of tools that raised, each with its group."""
    return [
        (group, text)
        for group in groups
        for rollout in group.rollouts
        if rollout.dialogue is not None
        for text in rollout.dialogue.tool_tracebacks
    ]


def _of_sound(group: Group, totals: Sequence[float | None]) -> list[float | None]:
    """Return the totals without those of completions whose environment failed."""
    return [
        None if rollout.dialogue is not None and rollout.dialogue.failed else total
        for rollout, total in zip(group.rollouts, totals, strict=True)
    ]


def as_messages(rollout: Rollout) -> list[Message]:
    """Return what was said after the prompt."""
    if rollout.dialogue is not None:
        return [dict(message) for message in rollout.dialogue.messages]
    return [{"role": "assistant", "content": rollout.text}]


def coin_flips(config: Config, step: int, draw: int = 0) -> np.ndarray:
    """The control's rewards, [prompts, samples]: 0 or 1 whatever a completion says; others for each draw of a step."""
    seeds = np.random.SeedSequence((config.seed, 99, step, draw) if draw else (config.seed, 99, step))
    return (
        np.random.default_rng(seeds)
        .integers(0, 2, (config.prompts_per_step, config.num_generations))
        .astype(np.float32)
    )


def totals(scored: Sequence[GroupScores]) -> np.ndarray:
    """Return summed rewards, [prompts, samples]; NaN where a completion has none."""
    return np.array(
        [[np.nan if value is None else value for value in group.totals] for group in scored], dtype=np.float32
    )


def counted_rewards(
    scored: Sequence[GroupScores], weights: Mapping[str, float]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, [rewards, prompts, samples] of what counts, NaN where there is no value, and the weights [rewards].

    Rewards of weight 0 are left out.
    """
    names = [name for name in scored[0].counted if weights[name]]
    values = [[group.counted[name] for group in scored] for name in names]
    return names, np.array(values, dtype=np.float32), np.array([weights[name] for name in names], dtype=np.float32)
