"""Several processes train one run: `mlx.launch -n 2 -- python -m grpo.train ...`.

Every rank samples and scores its share of a step's prompts, all ranks get all groups, so that whatever is decided from
a whole batch (advantages, dynamic sampling, replay, metrics) is decided alike. Then every rank learns from its share of
the rows, the gradient is summed over the ranks, and all make the same update. Rank 0 writes and prints. Nothing else in
the project calls `mx.distributed`.
"""

from grpo.ranks.alone import Alone, here
from grpo.ranks.launch import world

__all__ = ["Alone", "here", "world"]
