"""The advantage estimators by name: what a completion, or each of its tokens, is credited with."""

from dataclasses import dataclass

import mlx.core as mx

from grpo.advantages import (
    decoupled_advantages,
    group_advantages,
    leave_one_out_advantages,
    maximum_likelihood_advantages,
    pass_at_k_advantages,
    whitened_advantages,
)
from grpo.types import AdvantageFunction, AdvantageInputs


@dataclass(frozen=True)
class Estimator:
    """An advantage estimator of the table and what a reader wants to know of it."""

    function: AdvantageFunction
    formula: str
    paper: str
    keys: str
    use: str


def _present(inputs: AdvantageInputs) -> mx.array:
    """Rewards with NaN where they are missing, which the formulas leave out of every mean and std."""
    return mx.where(inputs.missing, mx.nan, inputs.rewards)


def _group(inputs: AdvantageInputs) -> mx.array:
    config = inputs.config
    if config.multi_objective_aggregation == "normalize_then_sum" and inputs.by_reward:
        weights = mx.array([config.reward_weights[name] for name in inputs.by_reward])
        return decoupled_advantages(mx.stack(list(inputs.by_reward.values())), weights)
    return group_advantages(_present(inputs), scale=config.scale_rewards)


ADVANTAGES: dict[str, Estimator] = {
    "group": Estimator(
        _group,
        "(r - mean) / (std + 1e-4) over the group; scale_rewards: batch takes the batch's std, none no std",
        "2402.03300; none: 2503.20783; normalize_then_sum: 2601.05242",
        "scale_rewards, multi_objective_aggregation (GDPO: each reward normalised by itself)",
        "the default",
    ),
    "rloo": Estimator(
        lambda inputs: leave_one_out_advantages(_present(inputs)),
        "r - mean of the other samples",
        "2402.14740",
        "",
        "an unbiased baseline without a std: prompts keep their natural weight",
    ),
    "reinforce_pp": Estimator(
        lambda inputs: whitened_advantages(_present(inputs)),
        "(r - mean) / (std + 1e-4) over the batch",
        "2501.03262",
        "",
        "many prompts and few samples of each; easy prompts also teach",
    ),
    "reinforce_pp_baseline": Estimator(
        lambda inputs: whitened_advantages(_present(inputs), baseline=True),
        "x = r - mean of the group; (x - mean) / (std + 1e-4) over the batch",
        "2501.03262",
        "",
        "as reinforce_pp with several samples a prompt",
    ),
    "max_rl": Estimator(
        lambda inputs: maximum_likelihood_advantages(_present(inputs)),
        "(r - mean) / (mean + 1e-4) over the group",
        "2602.02710",
        "",
        "hard prompts: the likelihood of a success instead of its rate; rewards of 0 and more",
    ),
    "pass_at_k": Estimator(
        lambda inputs: pass_at_k_advantages(_present(inputs), inputs.config.pass_k),
        "(E[best of k with it] - E[best of k]) / (std of the best of k + 1e-4)",
        "2508.10751",
        "pass_k",
        "keeping several ways to an answer alive; the accuracy of one sample rises later",
    ),
}
