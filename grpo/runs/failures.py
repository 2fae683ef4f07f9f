"""What failed in a step: said once for each kind, with all tracebacks in log.txt."""

from collections.abc import Sequence

import numpy as np

from grpo.runs.interrupt import TrainingFailed
from grpo.runs.logger import RunLogger
from grpo.scoring import GroupScores, failed_dialogues, tool_tracebacks
from grpo.types import Group, Prompt


class Failures:
    """Hears of the failures of rewards and environments."""

    def __init__(self, logger: RunLogger, *, whole_steps: bool) -> None:
        """`whole_steps`: rewards are called with a step's completions, not with a group's."""
        self.logger, self.whole_steps = logger, whole_steps
        self.first_traceback, self._steps_without_reward = "", 0
        self._told: set[str] = set()

    def hear(
        self, step: int, prompts: Sequence[Prompt], groups: Sequence[Group], scored: Sequence[GroupScores]
    ) -> None:
        """Hear of a batch of step `step`, counted from 1."""
        whole = " ".join(prompt.task.id for prompt in prompts)
        for prompt, scores in zip(prompts, scored, strict=True):
            for kind, message in scores.messages.items():
                self._tell(kind, f"  {message}")
            for name, text in scores.tracebacks.items():
                self.first_traceback = self.first_traceback or text
                asked = whole if self.whole_steps else prompt.task.id
                self.logger.log.write(f"step {step}, task {asked}, reward {name}\n{text}")
        for group, dialogue in failed_dialogues(groups):
            task, kind = group.prompt.task.id, (dialogue.problem or "").partition(":")[0]
            self._tell(kind, f"  environment of task {task}: {dialogue.problem} (see log.txt)")
            self.first_traceback = self.first_traceback or dialogue.traceback or dialogue.problem or ""
            self.logger.log.write(f"step {step}, task {task}, environment\n{dialogue.traceback or dialogue.problem}")
        for group, text in tool_tracebacks(groups):
            self.logger.log.write_once(f"step {step}, task {group.prompt.task.id}, tool", text)

    def require_some(self, rewards: np.ndarray, names: Sequence[str]) -> None:
        """End a run that learns nothing: TrainingFailed if every total is missing in two steps running."""
        self._steps_without_reward = self._steps_without_reward + 1 if np.isnan(rewards).all() else 0
        if self._steps_without_reward == 2:
            first = self.first_traceback
            raise TrainingFailed(
                f"no completion of the last two steps has a reward ({', '.join(names)}): nothing can be learned. "
                + (f"The first failure:\n{first}" if first else "They gave no value.")
            )

    def _tell(self, kind: str, text: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self.logger.say(text)
