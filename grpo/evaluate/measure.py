"""Measure the policy on held-out tasks: each reward, pass@1, lengths; sampled, and greedy on request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from grpo.config import Config
from grpo.evaluate.intervals import interval
from grpo.metrics import logged_metrics
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.ranks.sampling import sampled
from grpo.rollout.dialogue import Dialogues
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling
from grpo.rollout.stopping import stops
from grpo.scoring import GroupScores, Scorer, results
from grpo.types import Group, Prompt


@dataclass(frozen=True)
class Measured:
    """Figures of held-out tasks, and the completions they were measured on."""

    figures: dict[str, float]
    groups: Sequence[Group]
    scored: Sequence[GroupScores]


def evaluate(
    policy: Policy,
    prompts: Sequence[Prompt],
    scorer: Scorer,
    config: Config,
    *,
    step: int,
    greedy: bool = False,
    on_tokens: Callable[[int], None] | None = None,
    dialogues: Dialogues | None = None,
) -> Measured:
    """Sample the prompts and score what came; the same step and seed give the same completions again.

    The figures are means over the tasks: reward, every reward by its name, mean_length (tokens), truncated
    (share), tasks, samples; with `accuracy` among the rewards also its 95% interval over tasks, accuracy_low and
    accuracy_high.
    """
    request = Request(
        samples=1 if greedy else config.eval_samples,
        max_tokens=config.max_completion_length,
        sampling=Sampling(0.0) if greedy else Sampling(config.eval_temperature, config.eval_top_p),
        seed=config.seed,
        stream="eval",
        step=step,
        max_rows=max(config.max_rows, config.eval_samples),
        merge_adapter=config.merge_adapter,
        kv_bits=config.kv_bits,
        stops=stops(config, policy.tokenizer),
        dialogues=dialogues,
    )

    def sample(prompts: Sequence[Prompt], request: Request) -> tuple[list[Group], list[GroupScores]]:
        found = dict(generate(policy, prompts, request, on_tokens))
        groups = [found[place] for place in range(len(prompts))]
        asked = groups if here().scores else []
        return groups, results([scorer.submit(group) for group in asked], lambda: on_tokens(0) if on_tokens else None)

    groups, scored = sampled(prompts, request, sample)
    return _figures(groups, scored)


def measured(groups: Sequence[Group], scorer: Scorer, on_tokens: Callable[[int], None] | None = None) -> Measured:
    """Score groups, wherever they come from; the figures are those of `evaluate`."""
    check = lambda: on_tokens(0) if on_tokens else None  # noqa: E731
    return _figures(groups, results([scorer.submit(group) for group in groups], check))


def _figures(groups: Sequence[Group], scored: Sequence[GroupScores]) -> Measured:
    figures: dict[str, float] = {}
    rewarded = [total for group in scored for total in group.totals if total is not None]
    if rewarded:
        figures["reward"] = float(np.mean(rewarded))
    for name in scored[0].values:
        values = [value for group in scored for value in group.values[name] if value is not None]
        if values:
            figures[name] = float(np.mean(values))
    if "accuracy" in figures:
        each = [[value for value in group.values["accuracy"] if value is not None] for group in scored]
        figures["accuracy_low"], figures["accuracy_high"] = interval(
            [float(np.mean(values)) for values in each if values]
        )
    figures |= logged_metrics(scored, figures)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    figures["mean_length"] = float(np.mean([rollout.trained_tokens for rollout in rollouts]))
    figures["truncated"] = float(np.mean([rollout.stop_reason == "length" for rollout in rollouts]))
    return Measured(figures | {"tasks": len(groups), "samples": len(groups[0].rollouts)}, groups, scored)


def before_and_after(figures: dict[str, float], greedy: dict[str, float] | None) -> dict[str, object]:
    """Return the figures of one side, before or after, of summary.json."""
    return {**figures, **({"greedy": greedy} if greedy is not None else {})}
