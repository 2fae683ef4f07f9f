"""Sum an update's gradient, loss and metric sums over the ranks, and keep their weights equal."""

from collections import Counter
from collections.abc import Mapping

import mlx.core as mx

from grpo.learner.optimizer import Optimizer
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.ranks.digest import digest


def over_ranks(
    policy: Policy, optimizer: Optimizer, gradient: dict[str, mx.array] | None, loss: float, sums: Mapping[str, float]
) -> tuple[dict[str, mx.array] | None, float, Counter[str]]:
    """Return the sums over the ranks of gradient, loss and metric sums; no gradient where no rank has one.

    Ranks on different machines may have rounded the last update differently: all go on with rank 0's weights then.
    """
    ranks, total, weights = here(), Counter[str](), policy.trainable()
    parts = ranks.meet([gradient is not None, loss, dict(sums), digest(weights)])
    counted = parts[:1] if ranks.sharded else parts  # of a sharded model every rank has the whole loss
    for _, _, part, _ in counted:
        total.update(part)
    if len({seen for _, _, _, seen in parts}) > 1:
        policy.load_trainable(ranks.of_first(weights))
        optimizer.load_state(ranks.of_first(optimizer.state()))
        total.update({"ranks_corrected": 1})
    if not any(there for there, _, _, _ in parts):
        return None, 0.0, total
    mine = gradient or {name: mx.zeros_like(leaf) for name, leaf in weights.items()}
    return ranks.add(mine), sum(part for _, part, _, _ in counted), total
