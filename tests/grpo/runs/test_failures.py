"""What ends a run that can learn nothing, and what it says of why."""

from types import SimpleNamespace

import numpy as np
import pytest

from envs import Task
from grpo.runs.failures import Failures
from grpo.runs.interrupt import TrainingFailed
from grpo.types import Dialogue, Group, Prompt, Rollout


class Log:
    """What a logger is told."""

    def __init__(self):
        self.said, self.log = [], SimpleNamespace(write=lambda text: None, write_once=lambda *texts: None)

    def say(self, text):
        self.said.append(text)


def test_a_run_whose_environment_fails_ends_with_why_it_failed():
    dialogue = Dialogue((), (), (), "error", problem="ConnectionError: no game server")
    rollout = Rollout((1,), (0.0,), (0.0,), "hello", "stop", dialogue=dialogue)
    prompt = Prompt(Task("t", "p"), (1,), "p")
    failures = Failures(Log(), whole_steps=False)
    failures.hear(1, [prompt], [Group(prompt, (rollout,))], [SimpleNamespace(messages={}, tracebacks={})])
    nothing = np.full((1, 1), np.nan)
    failures.require_some(nothing, ["environment"])
    with pytest.raises(TrainingFailed, match="The first failure:\nConnectionError: no game server"):
        failures.require_some(nothing, ["environment"])
