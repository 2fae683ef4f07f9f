"""Debugging: a faulty function and its tests; the model rewrites it, hears which tests fail, and tries again."""

import random
import re
from collections.abc import Sequence

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.games.exercises import EXERCISES, Exercise
from envs.splits import cut, seeded
from rewards import get

INSTRUCTION = (
    "This function is meant to {purpose}, but it has a fault:\n```python\n{code}\n```\n"
    "Write the whole function without the fault, in a ```python block. Its tests are then run and you hear what fails."
)


def debugging(*, test_size: int = 4, seed: int = 0, limit: int | None = None) -> Env:
    """One task for every fault of every exercise. 1 for a function that passes all tests, less 0.1 a try before it."""
    tasks = [
        _task(exercise, number, fault)
        for number, exercise in enumerate(EXERCISES)
        for fault in range(len(exercise.faults))
    ]
    if not 0 < test_size < len(tasks):
        raise DataError(f"debugging: test_size must be between 1 and {len(tasks) - 1}, got {test_size}")
    order = seeded(tasks, seed, "debugging")
    splits = cut({"train": order[test_size:], "test": order[:test_size]}, limit)
    return Debugging("debugging", splits, reward_names=("environment",))


class Debugging(Env):
    """Runs the tests of the code reward in its sandbox."""

    def converse(self, task: Task) -> Conversation:
        """A conversation about one faulty function."""
        return Tests(list(task.columns["tests"]))


class Tests:
    """Runs the tests on what the model writes and says what fails."""

    tools: Sequence = ()

    def __init__(self, tests: list[str]) -> None:
        self.tests, self.tried = tests, 0
        self._judge = get("code")

    def reply(self, message: Message) -> Reply:
        """Run the tests."""
        judged = self._judge(prompts=[""], completions=[str(message["content"])], tests=[self.tests])
        value = judged[0]
        self.tried += 1
        if value == 1:
            return Reply(done=True, rewards={"passed": max(0.1, 1.1 - 0.1 * self.tried)})
        said = "; ".join(getattr(judged, "messages", {}).values())
        outcome = ", ".join(getattr(judged, "outcomes", {}))
        return Reply([{"role": "user", "content": f"The tests fail: {said or outcome}. Try again."}])

    def close(self) -> None:
        """Free the sandbox."""
        close = getattr(self._judge, "close", None)
        if close is not None:
            close()


def _task(exercise: Exercise, number: int, fault: int) -> Task:
    sound, wrong = exercise.faults[fault]
    code = exercise.code.replace(sound, wrong, 1)
    prompt = INSTRUCTION.format(purpose=exercise.purpose, code=code)
    shuffled = list(exercise.tests)
    random.Random(f"debugging {number} {fault}").shuffle(shuffled)
    name = re.findall(r"def (\w+)", exercise.code)[0]
    return Task(f"{name}-{fault}", prompt, {"tests": shuffled, "answer": exercise.code})
