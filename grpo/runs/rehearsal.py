"""Call every reward once before a run begins: what can't work is found in seconds, not after the first step."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from envs import Env, Task
from grpo.runs.interrupt import Interrupted
from grpo.scoring import Scorer, results
from grpo.types import Dialogue, Group, Prompt, Rollout
from rewards import RewardSet
from rewards.base import prompt_text

ROWS = 2  # completions in the call: a reward that returns one number for all is found
NO_REWARD = ("not_a_list", "wrong_length", "not_a_number")  # what was returned is none
# what no other completion would cure; anything else a reward raises may be the made-up text's fault, or a server's
CODE_FAULTS = frozenset(
    {"TypeError", "ImportError", "ModuleNotFoundError", "NameError", "UnboundLocalError", "SyntaxError"}
)


@dataclass(frozen=True)
class Rehearsal:
    """Result of the trial call: a line for each reward that can't work or failed this time, and the tracebacks."""

    refused: list[str]
    failed: list[str]
    tracebacks: list[str]


def rehearse(
    rewards: RewardSet,
    task: Task,
    *,
    max_completion_length: int,
    check: Callable[[], None] = lambda: None,
    env: Env | None = None,
) -> Rehearsal:
    """Call each reward on a real task with a made-up completion of it; `check` may raise, to stop a slow one.

    Where `env` answers the completion is a conversation of one turn.
    """
    answer = task.columns.get("answer")
    text = (
        "<think>\nThis completion is made up, to see that the reward can be called.\n</think>\n"
        f"<answer>{'7' if answer is None else answer}</answer>"
    )
    rollout = Rollout((1, 2, 3), (-1.0,) * 3, (1.0,) * 3, text, "stop", dialogue=_dialogue(env, task, text))
    scorer = Scorer(rewards, max_completion_length)
    pending = scorer.submit(Group(Prompt(task, (1,), prompt_text(task.prompt)), (rollout,) * ROWS))
    try:
        (scores,) = results([pending], check)
    except Interrupted:
        scorer.close()
        raise
    scorer.threads.shutdown(wait=False)
    refused: list[str] = []
    failed: list[str] = []
    for kind in scores.failures:
        message = scores.messages.get(kind, kind)
        line = f"{message}. It was called once on the first task, with a made-up completion, before the run begins"
        hopeless = kind.rpartition("/")[2] in NO_REWARD or _raised(message) in CODE_FAULTS
        (refused if hopeless else failed).append(line)
    return Rehearsal(refused, failed, [f"task {task.id}\n{text}" for text in scores.tracebacks.values()])


def _dialogue(env: Env | None, task: Task, text: str) -> Dialogue | None:
    talk = env.converse(task) if env is not None and env.converses else None
    if talk is None:
        return None
    begin = getattr(talk, "begin", None)
    if begin is not None:
        begin()
    environment = getattr(talk, "environment", None)
    said = {"role": "assistant", "content": text}
    return Dialogue((said,), ((0, 3),), ({},), "done", environment=environment)


def _raised(message: str) -> str:
    """Return the name of the exception a message tells of."""
    found = re.search(r": raised (\w+)", message)
    return found[1] if found else ""
