"""On-policy distillation: the student samples, the teacher scores each of its tokens.

The reverse KL to the teacher along the student's own completions (arXiv 2306.13649), through the trainer's credit seam:

    advantage_t = teacher_logprob_t - sampler_logprob_t

whose mean over the student's draws is -KL(student || teacher) at that place. Sampling, updates, checkpoints, resume and
evaluation are `grpo.trainer.Trainer`'s; rewards are measured and steer nothing.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from distill.student.teacher import require_same_vocabulary
from grpo.config import Config
from grpo.model.forward import completion_logprobs, rows_of
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.scoring import GroupScores
from grpo.trainer import Trainer
from grpo.types import Credit, Group


class OnPolicyTrainer(Trainer):
    """The RL trainer with a teacher in place of group advantages."""

    def __init__(self, config: Config, policy: Policy, *rest: Any, teacher: Policy, **options: Any) -> None:
        require_same_vocabulary(policy.tokenizer, teacher.tokenizer)
        self.teacher = teacher
        super().__init__(config, policy, *rest, **options)

    def credit(
        self, groups: Sequence[Group], scored: Sequence[GroupScores], rewards: np.ndarray
    ) -> tuple[Sequence[Sequence[Credit]], dict[str, float]]:
        """Each token's log-ratio of teacher to sampler, and what they come to."""
        credits: list[list[Credit]] = []
        ratios: list[float] = []
        for rows in here().spread(groups, self._log_ratios):
            credits.append([tuple(row) for row in rows])
            ratios += [ratio for row in rows for ratio in row]
        return credits, {"teacher/reverse_kl": -float(np.mean(ratios)), "teacher/log_ratio_std": float(np.std(ratios))}

    def _log_ratios(self, group: Group) -> list[list[float]]:
        """Return teacher minus sampler logprobs, [samples][time]."""
        self.stop.check()
        teacher = np.array(self._teacher_logprobs(group))  # [samples, time]
        return [
            (row[: len(rollout.tokens)] - np.array(rollout.logprobs)).tolist()
            for row, rollout in zip(teacher, group.rollouts, strict=True)
        ]

    def _teacher_logprobs(self, group: Group) -> mx.array:
        rows = rows_of([group.prompt.tokens], [rollout.tokens for rollout in group.rollouts])
        return mx.stop_gradient(
            completion_logprobs(
                self.teacher,
                rows,
                temperature=self.config.temperature,
                chunk_tokens=self.config.logits_chunk,
                gradient=False,
            )
        )
