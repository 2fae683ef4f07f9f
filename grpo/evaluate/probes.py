"""A few prompts that are sampled again and again by the same random numbers: what changes is the policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grpo.config import Config
from grpo.evaluate.measure import evaluate
from grpo.model.policy import Policy
from grpo.rollout.dialogue import Dialogues
from grpo.runs.logger import RunLogger
from grpo.scoring import Scorer
from grpo.types import Prompt


@dataclass(frozen=True)
class Probes:
    """What is needed to sample the probe prompts, the first of `prompts`."""

    prompts: Sequence[Prompt]
    policy: Policy
    scorer: Scorer
    dialogues: Dialogues | None

    def sample(self, config: Config, step: int, logger: RunLogger, check: Callable[[], None]) -> None:
        """Sample, score and write the probes after `step` steps, if it is time to; `check` may end it."""
        if not config.probe_every or step % config.probe_every:
            return
        sampled = evaluate(
            self.policy,
            self.prompts[: config.probe_prompts],
            self.scorer,
            config,
            step=0,  # always: it is part of what the random numbers are made of
            on_tokens=lambda _: check(),
            dialogues=self.dialogues,
        )
        logger.probes(step, sampled.groups, sampled.scored)
