"""The rows of a completions file: what was asked, what is right, what was said, what it was worth."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from grpo.scoring import GroupScores
from grpo.types import Credit, Dialogue, Group, Rollout

LONG = 4000  # characters of a column as JSON, from which on only the first row of a group holds it
DIGITS = 3  # of logprobs and entropies, after the point

TextsOf = Callable[[Sequence[int]], list[str]]  # tokens -> the text of each, see `grpo.runs.token_texts`


def completion_rows(
    group: Group,
    scores: GroupScores,
    advantages: Sequence[Credit] | None,
    texts: TextsOf | None = None,
) -> list[dict[str, Any]]:
    """One row for each completion of a group.

    Beside the completion stand its task's columns (the gold answer and all others) under their own names, `column/NAME`
    where the row has that name itself. A long column, such as tests, stands in the group's first row only. `logprobs`
    (the sampler's) and `entropies` (nats) are [time], the stop token included, to three digits. `messages` are there
    where there are several: the prompt's and what was said since. `advantages` is None where nothing is learned.
    `texts` gives `token_texts`, the text of each token; None leaves them out.
    """
    return [
        _row(group, scores, advantages, sample, rollout, texts, whole=sample == 0)
        for sample, rollout in enumerate(group.rollouts)
    ]


def to_line(row: dict[str, Any]) -> str:
    """The row as one line of JSON; what JSON has no word for, such as a set, is written as its text."""
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _row(
    group: Group,
    scores: GroupScores,
    advantages: Sequence[Credit] | None,
    sample: int,
    rollout: Rollout,
    texts: TextsOf | None,
    *,
    whole: bool,
) -> dict[str, Any]:
    task = group.prompt.task
    said: dict[str, Any] = {"completion": rollout.text}
    if not isinstance(task.prompt, str) or rollout.dialogue is not None:
        said["messages"] = _messages(group, rollout)
    said |= {
        "rewards": {name: values[sample] for name, values in scores.values.items()},
        "reward": scores.totals[sample],
        **({} if advantages is None else {"advantage": advantages[sample]}),
        "tokens": rollout.length,
        "stop_reason": rollout.stop_reason,
        "logprobs": [round(value, DIGITS) for value in rollout.logprobs],
        "entropies": [round(value, DIGITS) for value in rollout.entropies],
        **({} if texts is None else {"token_texts": texts(rollout.tokens)}),
        **_logprobs(rollout),
    }
    if rollout.version is not None:
        said["version"] = rollout.version
    if scores.columns:  # of log_extra
        said["logged"] = {name: values[sample] for name, values in scores.columns.items() if sample < len(values)}
    if rollout.dialogue is not None:
        said |= _turns(rollout.dialogue)
    asked = {"task": task.id, "prompt": group.prompt.text}
    columns = {
        f"column/{name}" if name in asked or name in said else name: value
        for name, value in task.columns.items()
        if whole or not _is_long(value)
    }
    return {**asked, **columns, **said}


def _logprobs(rollout: Rollout) -> dict[str, list[float]]:
    """What policy and reference think of the tokens after the step, where that was computed."""
    both = {"policy_logprobs": rollout.policy_logprobs, "reference_logprobs": rollout.reference_logprobs}
    return {name: [round(value, DIGITS) for value in values] for name, values in both.items() if values is not None}


def _messages(group: Group, rollout: Rollout) -> list[dict[str, Any]]:
    """The prompt's messages and those since; what the model went on with is one message with its beginning."""
    prompt = group.prompt.task.prompt
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if rollout.dialogue is not None:
        return [*before, *rollout.dialogue.messages]
    begun = before.pop()["content"] if before[-1]["role"] == "assistant" else ""
    return [*before, {"role": "assistant", "content": begun + rollout.text}]


def _turns(dialogue: Dialogue) -> dict[str, Any]:
    """Return the model's turns among the tokens, each reply's rewards and info, and the reason it ended."""
    turns = zip(dialogue.turns, dialogue.rewards, dialogue.info, strict=True)
    found = {"turns": [{"tokens": place, "rewards": gave, "info": info} for place, gave, info in turns]}
    return found | {"ended": dialogue.ended, **({"problem": dialogue.problem} if dialogue.problem else {})}


def _is_long(value: Any) -> bool:
    return len(value) > LONG if isinstance(value, str) else len(json.dumps(value, default=str)) > LONG
